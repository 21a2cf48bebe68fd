"""BYOL: predict what a slowly following network says of the other crop (Grill et al. 2020, "Bootstrap Your Own Latent:
A New Approach to Self-Supervised Learning")."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, follow, freeze, mlp, rising_momentum


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of unit vectors, 2 - 2 cos (eq. 2): float [n, d] each; no gradient flows to `target`."""
    return (2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1)).mean()


class Byol(Method):
    """BYOL; the loss is the sum of both directions."""

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.byol
        self.backbone = backbone
        self.projection = mlp(backbone.feature_dim, self.recipe.hidden, self.recipe.dim)
        self.prediction = mlp(self.recipe.dim, self.recipe.hidden, self.recipe.dim)
        self.target_backbone = copy.deepcopy(backbone)
        self.target_projection = copy.deepcopy(self.projection)
        freeze(self.target_backbone)
        freeze(self.target_projection)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`prediction` and `target`, both [n, 2, dim], a column a crop."""
        online = [self.prediction(self.projection(self.backbone(crop))).float() for crop in crops]
        with torch.no_grad():
            target = [self.target_projection(self.target_backbone(crop)).float() for crop in crops]
        return {"prediction": torch.stack(online, 1), "target": torch.stack(target, 1)}

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """Each crop's prediction against the other's target."""
        prediction, target = outputs["prediction"], outputs["target"]
        return byol_loss(prediction[:, 0], target[:, 1]) + byol_loss(prediction[:, 1], target[:, 0])

    def after_update(self, moment: Moment) -> None:
        """The target follows."""
        momentum = rising_momentum(self.recipe.momentum, moment.step, moment.steps)
        follow(self.target_backbone, self.backbone, momentum)
        follow(self.target_projection, self.projection, momentum)
