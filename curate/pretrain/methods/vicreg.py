"""VICReg: embeddings of two crops agree, vary, and do not repeat each other (Bardes et al. 2022, "VICReg:
Variance-Invariance-Covariance Regularization for Self-Supervised Learning")."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, features, mlp, per_crop
from curate.recipe_files import Section

EPSILON = 1e-4
"""Under the root of the variance, as in the authors' code."""


class VicregSettings(Section):
    """Bardes et al. 2022."""

    dim: int = Field(8192, ge=2, description="width of the expander's three layers, and length of embeddings")
    invariance: float = Field(25.0, ge=0, description="weight of the distance between the crops' embeddings")
    variance: float = Field(25.0, ge=0, description="weight of standard deviations below 1")
    covariance: float = Field(1.0, ge=0, description="weight of covariances between different numbers")


def variance_loss(x: Tensor) -> Tensor:
    """Mean over the columns of float [n, d] of how far their standard deviation is below 1 (eq. 1)."""
    return F.relu(1 - (x.var(0) + EPSILON).sqrt()).mean()


def covariance_loss(x: Tensor) -> Tensor:
    """Sum of the squared covariances of different columns of float [n, d], over d (eq. 3 and 4)."""
    x = x - x.mean(0)
    covariance = x.T @ x / (len(x) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]


class Vicreg(Method):
    """VICReg with an expander of three layers; variance and covariance are of the batch of all processes."""

    section = VicregSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.08, 1.0], "blur_p": 0.5, "solarize_p": 0.1}],
        "augment": {"jitter": [0.4, 0.4, 0.2, 0.1]},
        "optimiser": {
            "name": "lars",
            "lr": 0.2,
            "final_lr": 0.0002,
            "weight_decay": 1e-6,
            "warmup_epochs": 10,
            "exclude_1d": True,
        },
    }

    settings: VicregSettings

    def __init__(self, backbone: Backbone, settings: VicregSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.expander = mlp(backbone.feature_dim, settings.dim, settings.dim, settings.dim)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`embedding` [n, 2, dim]."""
        return {"embedding": per_crop(self.expander, features(self.backbone, crops))}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """The three terms (eq. 6), as the authors' code weighs them: variance is averaged over the two crops."""
        first, second = outputs["embedding"].unbind(1)
        invariance = F.mse_loss(first, second)
        first, second = distributed.gather(first), distributed.gather(second)
        variance = (variance_loss(first) + variance_loss(second)) / 2
        covariance = covariance_loss(first) + covariance_loss(second)
        weights = self.settings
        return weights.invariance * invariance + weights.variance * variance + weights.covariance * covariance
