"""Distillation: say of every crop what a larger, frozen network says of it.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; here of features, by their cosine (Gou et al. 2021,
"Knowledge Distillation: A Survey", sec. 2.2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.errors import UsageError
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, features, freeze, mlp, per_crop
from curate.pretrain.normalisation import normalisation_of
from curate.pretrain.weights import load_backbone
from curate.recipe_files import Section


class DistillationSettings(Section):
    """A frozen teacher."""

    teacher: Path | None = Field(None, description="weights of the teacher: what --init takes; must be given")
    teacher_arch: str | None = Field(None, description="its backbone; null: as the file's shapes say")
    hidden: int = Field(2048, ge=1, description="width of the hidden layer between the two features")


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cos: float [n, crops, d] each; no gradient flows to `teacher`."""
    return (1 - F.cosine_similarity(student, teacher.detach(), dim=2)).mean()


class Distillation(Method):
    """The student's feature, through two layers, against the teacher's; the teacher never learns and sees no batch."""

    section = DistillationSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.2, 1.0]}],
        "augment": {"jitter": [0.4, 0.4, 0.4, 0.1]},
        "optimiser": {
            "name": "adamw",
            "lr": 0.0005,
            "weight_decay": 0.05,
            "warmup_epochs": 5,
            "exclude_1d": True,
        },
    }
    least_crops, most_crops = 1, None
    cost = 2.0

    settings: DistillationSettings
    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, settings: DistillationSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        (path,) = self.files(settings)
        self.teacher = load_backbone(path, settings.teacher_arch).eval()
        freeze(self.teacher)
        self.projection = mlp(backbone.feature_dim, settings.hidden, self.teacher.feature_dim)
        theirs = [torch.tensor(values)[:, None, None] for values in normalisation_of(path)]
        ours = [torch.tensor(values)[:, None, None] for values in setup.normalisation]
        self.register_buffer("scale", ours[1] / theirs[1], persistent=False)
        self.register_buffer("shift", (ours[0] - theirs[0]) / theirs[1], persistent=False)

    def train(self, mode: bool = True) -> Distillation:
        """The teacher stays as it was trained, its batch norms too."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`student` and `teacher` [n, crops, d]; the teacher's crops are normalised as its own pictures were."""
        student = per_crop(self.projection, features(self.backbone, crops))
        with torch.no_grad():
            seen = [torch.addcmul(self.shift, crop, self.scale) for crop in crops]
            teacher = features(self.teacher, seen).float()
        return {"student": student, "teacher": teacher}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """See `cosine_loss`."""
        return cosine_loss(outputs["student"], outputs["teacher"])

    @classmethod
    def files(cls, settings: DistillationSettings) -> list[Path]:
        """The teacher's weights.

        Raises:
            UsageError: none are named.
        """
        if settings.teacher is None:
            raise UsageError("distillation.teacher: name the weights of a teacher, for example RUN/backbone.pt")
        return [settings.teacher]
