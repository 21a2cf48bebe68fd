"""SimCLR: tell the other crop of a picture from those of all other pictures (Chen et al. 2020, "A Simple Framework for
Contrastive Learning of Visual Representations")."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, features, mlp, per_crop
from curate.recipe_files import Section


class SimclrSettings(Section):
    """Chen et al. 2020."""

    hidden: int = Field(2048, ge=1, description="width of the projection's hidden layer")
    dim: int = Field(128, ge=1, description="length of embeddings")
    temperature: float = Field(0.1, gt=0, description="of the softmax over pairs")


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """The normalised, temperature-scaled cross-entropy (eq. 1), against the samples of all processes.

    Args:
        first, second: float [n, d], embeddings of the two crops of each picture; need not have unit length.
        temperature: of the softmax over cosines.
    """
    n, start = len(first), len(first) * distributed.rank()
    anchors = F.normalize(torch.cat((first, second)), dim=1)
    everyone = torch.cat([distributed.gather(part) for part in anchors.chunk(2)])  # all first crops, all second
    logits = anchors @ everyone.T / temperature
    row = torch.arange(n, device=first.device)
    whole = len(everyone) // 2
    own = torch.cat((start + row, start + row + whole))
    partner = torch.cat((start + row + whole, start + row))
    logits = logits.scatter(1, own[:, None], float("-inf"))
    return F.cross_entropy(logits, partner)


class Simclr(Method):
    """SimCLR with a projection of two layers."""

    section = SimclrSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 100,
        "crops": [{"count": 2, "scale": [0.08, 1.0]}],
        "optimiser": {"name": "lars", "lr": 0.3, "weight_decay": 1e-06, "warmup_epochs": 10, "exclude_1d": True},
    }

    settings: SimclrSettings

    def __init__(self, backbone: Backbone, settings: SimclrSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.projection = mlp(backbone.feature_dim, settings.hidden, settings.dim, last_norm=True)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`embedding` [n, 2, dim]."""
        return {"embedding": per_crop(self.projection, features(self.backbone, crops))}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """NT-Xent of the two crops."""
        return nt_xent(outputs["embedding"][:, 0], outputs["embedding"][:, 1], self.settings.temperature)

    @classmethod
    def chance_loss(cls, settings: SimclrSettings, setup: Setup) -> float | None:
        """All other crops of the batch equally likely."""
        return math.log(2 * setup.batch - 1)
