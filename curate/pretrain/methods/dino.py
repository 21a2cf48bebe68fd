"""DINO: agree with a slowly following teacher on soft classes (Caron et al. 2021, "Emerging Properties in
Self-Supervised Vision Transformers")."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone, init_linear
from curate.pretrain.methods.base import (
    Method,
    Outputs,
    Setup,
    StepInfo,
    ema_update,
    features,
    follower,
    full_precision,
    momentum_schedule,
    per_crop,
)
from curate.recipe_files import Section


class DinoSettings(Section):
    """Caron et al. 2021."""

    hidden: int = Field(2048, ge=1, description="width of the head's hidden layers")
    bottleneck: int = Field(256, ge=1, description="width before the last layer")
    prototypes: int = Field(65536, ge=2, description="outputs of the head")
    student_temperature: float = Field(0.1, gt=0, description="of the student")
    teacher_temperature: float = Field(0.07, gt=0, description="of the teacher after its warm-up")
    teacher_warmup_temperature: float = Field(0.04, gt=0, description="of the teacher at the start")
    teacher_warmup_epochs: float = Field(30, ge=0, description="passes over which it rises in a line")
    center_momentum: float = Field(0.9, ge=0, lt=1, description="of the centre taken off the teacher's outputs")
    momentum: float = Field(0.996, ge=0, lt=1, description="of the teacher at the start; rises to 1 by a cosine")
    freeze_last_epochs: float = Field(1, ge=0, description="passes for which the last layer stays as it is")
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the student (transformers)")


TEACHER_CROPS = 2
"""The teacher sees so many of the first crops."""


def dino_loss(
    student: Tensor, teacher: Tensor, center: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy of the student on every crop with the teacher on every other crop (eq. 3 and alg. 1).

    Args:
        student: float [n, crops, K], logits.
        teacher: float [n, teacher crops, K], logits of the first crops; no gradient flows to it.
        center: float [K], taken off the teacher's logits.
        student_temperature, teacher_temperature: sharper is smaller.
    """
    q = F.softmax((teacher.detach() - center) / teacher_temperature, 2)
    log_p = F.log_softmax(student / student_temperature, 2)
    crossed = -torch.einsum("ntk,nsk->ts", q, log_p) / len(student)
    same = crossed.diagonal()
    return (crossed.sum() - same.sum()) / (crossed.numel() - len(same))


class DinoHead(nn.Module):
    """Three layers with GELU, unit length, then cosines with directions that are learned."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last = nn.Linear(bottleneck, outputs, bias=False)
        self.mlp.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """float [n, width] -> float [n, outputs]."""
        x = F.normalize(self.mlp(x).float(), dim=1)
        with full_precision(x):
            return F.linear(x, F.normalize(self.last.weight, dim=1))


class Dino(Method):
    """DINO with multi-crop; the teacher's backbone is what is saved."""

    section = DinoSettings
    defaults: ClassVar[dict[str, Any]] = {
        "arch": "vit_s",
        "epochs": 100,
        "crops": [
            {"count": 1, "scale": [0.4, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.4, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
            {"count": 8, "size": 96, "scale": [0.05, 0.4], "blur_p": 0.5},
        ],
        "augment": {"jitter": [0.4, 0.4, 0.2, 0.1], "interpolation": "bicubic", "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 0.0005,
            "final_lr": 1e-6,
            "scale_final_lr": False,
            "warmup_epochs": 10,
            "weight_decay": 0.04,
            "final_weight_decay": 0.4,
            "exclude_1d": True,
            "clip_grad": 3.0,
        },
    }
    least_crops, most_crops = 2, None
    cost = 1.4
    remedy = "lower dino.teacher_temperature or lengthen dino.teacher_warmup_epochs, or lower optimiser.lr"

    settings: DinoSettings
    center: Tensor

    def __init__(self, backbone: Backbone, settings: DinoSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.head = DinoHead(backbone.feature_dim, settings.hidden, settings.bottleneck, settings.prototypes)
        self.teacher_backbone, self.teacher_head = follower(backbone), follower(self.head)
        self.register_buffer("center", torch.zeros(settings.prototypes))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`student` [n, crops, K] and `teacher` [n, 2, K], logits."""
        student = per_crop(self.head, features(self.backbone, crops))
        with torch.no_grad():
            teacher = per_crop(self.teacher_head, features(self.teacher_backbone, crops[:TEACHER_CROPS]))
        return {"student": student, "teacher": teacher}

    def teacher_temperature(self, info: StepInfo) -> float:
        """Rises in a line, pass by pass; the last pass of the warm-up has the final one, as in the authors' code."""
        low, high = self.settings.teacher_warmup_temperature, self.settings.teacher_temperature
        if info.epoch >= self.settings.teacher_warmup_epochs:
            return high
        return low + (high - low) * min(1.0, int(info.epoch) / max(self.settings.teacher_warmup_epochs - 1, 1))

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """See `dino_loss`."""
        return dino_loss(
            outputs["student"],
            outputs["teacher"],
            self.center.clone(),
            self.settings.student_temperature,
            self.teacher_temperature(info),
        )

    @torch.no_grad()
    def update_memory(self, outputs: Outputs, info: StepInfo) -> None:
        """Moves the centre towards the mean of the teacher's outputs over all processes (eq. 4)."""
        mean = distributed.total(outputs["teacher"].detach().mean((0, 1))) / distributed.size()
        self.center.lerp_(mean, 1 - self.settings.center_momentum)

    def before_update(self, info: StepInfo) -> None:
        """Keeps the last layer as it is for the first passes."""
        if info.epoch < self.settings.freeze_last_epochs:
            self.head.last.weight.grad = None

    def after_update(self, info: StepInfo) -> None:
        """The teacher follows."""
        momentum = momentum_schedule(self.settings.momentum, info.step, info.steps)
        ema_update(self.teacher_backbone, self.backbone, momentum)
        ema_update(self.teacher_head, self.head, momentum)

    def exported(self) -> Backbone:
        """The teacher's."""
        return self.teacher_backbone

    @classmethod
    def chance_loss(cls, settings: DinoSettings, setup: Setup) -> float | None:
        """All outputs of the head equally likely."""
        return math.log(settings.prototypes)

    @classmethod
    def frozen_steps(cls, settings: DinoSettings, steps_per_epoch: int) -> tuple[int, str]:
        """Of the last layer."""
        return math.ceil(settings.freeze_last_epochs * steps_per_epoch), "dino.freeze_last_epochs"

    @classmethod
    def drop_path(cls, settings: DinoSettings) -> float:
        """The student's; the teacher has none."""
        return settings.drop_path
