"""SimCLR: tell the other crop of a picture from those of all other pictures (Chen et al. 2020, "A Simple Framework for
Contrastive Learning of Visual Representations")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, features, mlp, per_crop


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

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.simclr
        self.backbone = backbone
        self.projection = mlp(backbone.feature_dim, self.recipe.hidden, self.recipe.dim, last_norm=True)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`embedding` [n, 2, dim]."""
        return {"embedding": per_crop(self.projection, features(self.backbone, crops))}

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """NT-Xent of the two crops."""
        return nt_xent(outputs["embedding"][:, 0], outputs["embedding"][:, 1], self.recipe.temperature)
