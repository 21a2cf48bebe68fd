"""SimSiam: predict the other crop, with gradients through one side alone (Chen & He 2021, "Exploring Simple Siamese
Representation Learning")."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, mlp
from curate.recipe_files import Section


class SimsiamSettings(Section):
    """Chen & He 2021."""

    dim: int = Field(2048, ge=1, description="length of embeddings")
    hidden: int = Field(512, ge=1, description="width of the prediction's hidden layer")


def negative_cosine(prediction: Tensor, projection: Tensor) -> Tensor:
    """Mean of -cos (eq. 1): float [n, d] each; no gradient flows to `projection` (eq. 3)."""
    return -F.cosine_similarity(prediction, projection.detach(), dim=1).mean()


class Simsiam(Method):
    """SimSiam; the learning rate of the prediction does not fall, as the paper advises."""

    section = SimsiamSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.2, 1.0]}],
        "augment": {"jitter": [0.4, 0.4, 0.4, 0.1]},
        "optimiser": {"name": "sgd", "lr": 0.05, "weight_decay": 0.0001},
    }

    settings: SimsiamSettings
    constant_rate = ("prediction.",)

    def __init__(self, backbone: Backbone, settings: SimsiamSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        width = backbone.feature_dim
        self.projection = mlp(width, width, width, settings.dim, last_norm=True, last_affine=False)
        self.prediction = mlp(settings.dim, settings.hidden, settings.dim)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`projection` and `prediction`, both [n, 2, dim]; each crop is a batch of its own to batch norm."""
        projection = [self.projection(self.backbone(crop)) for crop in crops]
        prediction = [self.prediction(z).float() for z in projection]
        return {"projection": torch.stack(projection, 1).float(), "prediction": torch.stack(prediction, 1)}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """The mean of both directions (eq. 4)."""
        p, z = outputs["prediction"], outputs["projection"]
        return (negative_cosine(p[:, 0], z[:, 1]) + negative_cosine(p[:, 1], z[:, 0])) / 2
