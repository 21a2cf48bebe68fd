"""BYOL: predict what a slowly following network says of the other crop (Grill et al. 2020, "Bootstrap Your Own Latent:
A New Approach to Self-Supervised Learning")."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, ema_update, follower, mlp, momentum_schedule
from curate.recipe_files import Section


class ByolSettings(Section):
    """Grill et al. 2020."""

    hidden: int = Field(4096, ge=1, description="width of the hidden layers of projection and prediction")
    dim: int = Field(256, ge=1, description="length of embeddings")
    momentum: float = Field(0.996, ge=0, lt=1, description="of the target network at the start; rises to 1 by a cosine")


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of unit vectors, 2 - 2 cos (eq. 2): float [n, d] each; no gradient flows to `target`."""
    return (2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1)).mean()


class Byol(Method):
    """BYOL; the loss is the sum of both directions."""

    section = ByolSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 300,
        "crops": [
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
        ],
        "augment": {"jitter": [0.4, 0.4, 0.2, 0.1]},
        "optimiser": {"name": "lars", "lr": 0.3, "weight_decay": 1e-6, "warmup_epochs": 10, "exclude_1d": True},
        "byol": {"momentum": 0.99},
    }
    cost = 1.4

    settings: ByolSettings

    def __init__(self, backbone: Backbone, settings: ByolSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.projection = mlp(backbone.feature_dim, settings.hidden, settings.dim)
        self.prediction = mlp(settings.dim, settings.hidden, settings.dim)
        self.target_backbone, self.target_projection = follower(backbone), follower(self.projection)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`prediction` and `target`, both [n, 2, dim], a column a crop."""
        online = [self.prediction(self.projection(self.backbone(crop))).float() for crop in crops]
        with torch.no_grad():
            target = [self.target_projection(self.target_backbone(crop)).float() for crop in crops]
        return {"prediction": torch.stack(online, 1), "target": torch.stack(target, 1)}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """Each crop's prediction against the other's target."""
        prediction, target = outputs["prediction"], outputs["target"]
        return byol_loss(prediction[:, 0], target[:, 1]) + byol_loss(prediction[:, 1], target[:, 0])

    def after_update(self, info: StepInfo) -> None:
        """The target follows."""
        momentum = momentum_schedule(self.settings.momentum, info.step, info.steps)
        ema_update(self.target_backbone, self.backbone, momentum)
        ema_update(self.target_projection, self.projection, momentum)
