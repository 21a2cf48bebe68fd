"""Supervised pre-training: name the class of a face, with or without a margin.

Softmax; CosFace (Wang et al. 2018, "Large Margin Cosine Loss for Deep Face Recognition"); ArcFace (Deng et al. 2019,
"Additive Angular Margin Loss for Deep Face Recognition").
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, full_precision, mlp
from curate.recipe_files import Section


class SupervisedSettings(Section):
    """Softmax, CosFace (Wang et al. 2018) or ArcFace (Deng et al. 2019)."""

    loss: Literal["softmax", "cosface", "arcface"] = Field("cosface", description="kind of margin")
    scale: float = Field(64.0, gt=0, description="of the cosines (cosface, arcface)")
    embedding: int | None = Field(
        512,
        ge=2,
        description="length of the embedding with batch norm between backbone and classes; null: the feature itself",
    )
    margin: float | None = Field(None, ge=0, description="null: 0.35 for cosface (a cosine), 0.5 for arcface (radians)")


MARGINS = {"softmax": 0.0, "cosface": 0.35, "arcface": 0.5}


def cosface(cosines: Tensor, labels: Tensor, margin: float = 0.35) -> Tensor:
    """Cosines float [n, classes] with the margin taken off each sample's own class (Wang et al., eq. 4)."""
    return cosines.scatter_add(1, labels[:, None], torch.full_like(cosines[:, :1], -margin))


def arcface(cosines: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """Cosines float [n, classes] with the margin added to the angle to each sample's own class (Deng et al., eq. 3).

    Beyond an angle of pi - margin the cosine would rise again; there it goes on falling in a line, as in the authors'
    code.
    """
    own = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
    turned = own * math.cos(margin) - (1 - own.square()).sqrt() * math.sin(margin)
    turned = torch.where(own > math.cos(math.pi - margin), turned, own - margin * math.sin(margin))
    return cosines.scatter(1, labels[:, None], turned)


class Supervised(Method):
    """A classifier on an embedding of the feature; with a margin, on the cosine between embedding and class.

    The embedding (512 numbers after a linear layer and batch norm, as in the ArcFace authors' code) is of the head.
    """

    section = SupervisedSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 24,
        "crops": [{"count": 1, "scale": [0.5, 1.0], "blur_p": 0.0}],
        "augment": {"jitter_p": 0.0, "grey_p": 0.2},
        "optimiser": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0005},
    }
    least_crops, most_crops = 1, 1
    needs_labels = True

    settings: SupervisedSettings

    def __init__(self, backbone: Backbone, settings: SupervisedSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.margin = MARGINS[settings.loss] if settings.margin is None else settings.margin
        width, length = backbone.feature_dim, settings.embedding
        self.embedding: nn.Module = mlp(width, length, last_norm=True) if length else nn.Identity()
        self.classifier = nn.Linear(length or width, setup.classes, bias=settings.loss == "softmax")
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`scores` float [n, classes], logits or cosines, and `labels`."""
        if labels is None:
            raise ValueError("supervised pre-training needs labels")
        feature = self.embedding(self.backbone(crops[0])).float()
        with full_precision(feature):
            if self.settings.loss == "softmax":
                scores = self.classifier(feature)
            else:
                scores = F.linear(F.normalize(feature, dim=1), F.normalize(self.classifier.weight, dim=1))
        return {"scores": scores, "labels": labels}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """Cross-entropy of the scores, with the margin and the scale."""
        scores, labels = outputs["scores"], outputs["labels"]
        if self.settings.loss == "softmax":
            return F.cross_entropy(scores, labels)
        margin = cosface if self.settings.loss == "cosface" else arcface
        return F.cross_entropy(self.settings.scale * margin(scores, labels, self.margin), labels)

    @classmethod
    def chance_loss(cls, settings: SupervisedSettings, setup: Setup) -> float | None:
        """All classes equally likely, as far as there is no margin."""
        return math.log(setup.classes) if settings.loss == "softmax" and setup.classes > 1 else None
