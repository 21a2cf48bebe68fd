"""SimSiam: predict the other crop, with gradients through one side alone (Chen & He 2021, "Exploring Simple Siamese
Representation Learning")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, mlp


def negative_cosine(prediction: Tensor, projection: Tensor) -> Tensor:
    """Mean of -cos (eq. 1): float [n, d] each; no gradient flows to `projection` (eq. 3)."""
    return -F.cosine_similarity(prediction, projection.detach(), dim=1).mean()


class Simsiam(Method):
    """SimSiam; the learning rate of the prediction does not fall, as the paper advises."""

    constant_rate = ("prediction.",)

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.simsiam
        self.backbone = backbone
        width = backbone.feature_dim
        self.projection = mlp(width, width, width, self.recipe.dim, last_norm=True, last_affine=False)
        self.prediction = mlp(self.recipe.dim, self.recipe.hidden, self.recipe.dim)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`projection` and `prediction`, both [n, 2, dim]; each crop is a batch of its own to batch norm."""
        projection = [self.projection(self.backbone(crop)) for crop in crops]
        prediction = [self.prediction(z).float() for z in projection]
        return {"projection": torch.stack(projection, 1).float(), "prediction": torch.stack(prediction, 1)}

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """The mean of both directions (eq. 4)."""
        p, z = outputs["prediction"], outputs["projection"]
        return (negative_cosine(p[:, 0], z[:, 1]) + negative_cosine(p[:, 1], z[:, 0])) / 2
