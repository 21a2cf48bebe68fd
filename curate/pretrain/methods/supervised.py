"""Supervised pre-training: name the class of a face, with or without a margin.

Softmax; CosFace (Wang et al. 2018, "Large Margin Cosine Loss for Deep Face Recognition"); ArcFace (Deng et al. 2019,
"Additive Angular Margin Loss for Deep Face Recognition").
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs

MARGINS = {"softmax": 0.0, "cosface": 0.35, "arcface": 0.5}


def cosface(cosines: Tensor, labels: Tensor, margin: float = 0.35) -> Tensor:
    """Cosines float [n, classes] with the margin taken off each sample's own class (Wang et al., eq. 4)."""
    return cosines - margin * F.one_hot(labels, cosines.shape[1]).to(cosines.dtype)


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
    """A classifier on the feature; with a margin, on the cosine between feature and class."""

    def __init__(self, backbone: Backbone, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.recipe = recipe.supervised
        self.margin = MARGINS[self.recipe.loss] if self.recipe.margin is None else self.recipe.margin
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.feature_dim, classes, bias=self.recipe.loss == "softmax")
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`scores` float [n, classes], logits or cosines, and `labels`."""
        if labels is None:
            raise ValueError("supervised pre-training needs labels")
        feature = self.backbone(crops[0]).float()
        with torch.autocast(feature.device.type, enabled=False):
            if self.recipe.loss == "softmax":
                scores = self.classifier(feature)
            else:
                scores = F.linear(F.normalize(feature, dim=1), F.normalize(self.classifier.weight, dim=1))
        return {"scores": scores, "labels": labels}

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """Cross-entropy of the scores, with the margin and the scale."""
        scores, labels = outputs["scores"], outputs["labels"]
        if self.recipe.loss == "softmax":
            return F.cross_entropy(scores, labels)
        margin = cosface if self.recipe.loss == "cosface" else arcface
        return F.cross_entropy(self.recipe.scale * margin(scores, labels, self.margin), labels)
