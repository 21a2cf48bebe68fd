"""Barlow Twins: features of two crops correlate each with itself and with no other (Zbontar et al. 2021, "Barlow Twins:
Self-Supervised Learning via Redundancy Reduction")."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, features, mlp, per_crop
from curate.recipe_files import Section

EPSILON = 1e-5
"""Keeps a column without variance finite, as batch norm does."""


class BarlowTwinsSettings(Section):
    """Zbontar et al. 2021."""

    dim: int = Field(8192, ge=2, description="width of the projection's three layers, and length of embeddings")
    redundancy: float = Field(0.0051, ge=0, description="weight of correlations between different numbers (lambda)")


def barlow_twins_loss(first: Tensor, second: Tensor, redundancy: float = 0.0051) -> Tensor:
    """Distance of the cross-correlation of two crops' embeddings from the identity (eq. 1), over all processes.

    Args:
        first, second: float [n, d].
        redundancy: weight of what is off the diagonal.
    """
    a, b = (_standardised(distributed.gather(x)) for x in (first, second))
    correlation = a.T @ b / len(a)
    diagonal = correlation.diagonal()
    on = (diagonal - 1).square().sum()
    off = correlation.square().sum() - diagonal.square().sum()
    return on + redundancy * off


def _standardised(x: Tensor) -> Tensor:
    """Each column less its mean, over its standard deviation (of the batch, without Bessel's correction)."""
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0) + EPSILON).sqrt()


class BarlowTwins(Method):
    """Barlow Twins with a projection of three layers."""

    section = BarlowTwinsSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 300,
        "crops": [
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
        ],
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
    remedy = "lower optimiser.lr, or a larger batch"

    settings: BarlowTwinsSettings

    def __init__(self, backbone: Backbone, settings: BarlowTwinsSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.projection = mlp(backbone.feature_dim, settings.dim, settings.dim, settings.dim)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`embedding` [n, 2, dim]."""
        return {"embedding": per_crop(self.projection, features(self.backbone, crops))}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """See `barlow_twins_loss`."""
        first, second = outputs["embedding"].unbind(1)
        return barlow_twins_loss(first, second, self.settings.redundancy)
