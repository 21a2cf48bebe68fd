"""MoCo v2: tell the other crop of a picture from a queue of earlier pictures (He et al. 2020, "Momentum Contrast for
Unsupervised Visual Representation Learning"; Chen et al. 2020, "Improved Baselines with Momentum Contrastive
Learning")."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Recipe
from curate.pretrain.methods.base import Method, Moment, Outputs, follow, freeze, mlp


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """Cross-entropy of finding each query's key among it and the queue (He et al., eq. 1).

    Args:
        queries, keys: float [n, d], unit length.
        queue: float [m, d], unit length.
        temperature: of the softmax.
    """
    positive = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat((positive, queries @ queue.T), 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.int64, device=queries.device))


class Moco(Method):
    """MoCo v2. Keys come from a network that follows slowly and are remembered for many steps.

    Over several processes without synchronised batch norm, pictures are shuffled among them before the key encoder
    (He et al., sec. 3.3), so that batch statistics do not betray which key belongs to which query.
    """

    queue: Tensor
    place: Tensor

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe.moco
        self.shuffles = distributed.size() > 1 and not recipe.sync_bn
        self.backbone = backbone
        self.projection = mlp(backbone.feature_dim, self.recipe.hidden, self.recipe.dim, norm=False)
        self.key_backbone = copy.deepcopy(backbone)
        self.key_projection = copy.deepcopy(self.projection)
        freeze(self.key_backbone)
        freeze(self.key_projection)
        length = max(recipe.batch, self.recipe.queue - self.recipe.queue % recipe.batch)
        self.register_buffer("queue", F.normalize(torch.randn(length, self.recipe.dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None) -> Outputs:
        """`queries` of the first crops and `keys` of the second, both [n, dim] of unit length."""
        queries = F.normalize(self.projection(self.backbone(crops[0])).float(), dim=1)
        with torch.no_grad():
            keys = self._shuffled_keys(crops[1]) if self.shuffles else self._keys(crops[1])
        return {"queries": queries, "keys": keys}

    def _keys(self, crop: Tensor) -> Tensor:
        return F.normalize(self.key_projection(self.key_backbone(crop)).float(), dim=1)

    def _shuffled_keys(self, crop: Tensor) -> Tensor:
        """Keys of this process's pictures, each made in a process that chance picks."""
        n, rank = len(crop), distributed.rank()
        order = torch.randperm(n * distributed.size(), device=crop.device)
        torch.distributed.broadcast(order, 0)
        mixed = distributed.gather(crop)[order[rank * n : (rank + 1) * n]]
        keys = distributed.gather(self._keys(mixed))
        return keys[order.argsort()[rank * n : (rank + 1) * n]]

    def loss(self, outputs: Outputs, moment: Moment) -> Tensor:
        """InfoNCE against the queue as earlier steps left it."""
        return info_nce(outputs["queries"], outputs["keys"].detach(), self.queue.clone(), self.recipe.temperature)

    @torch.no_grad()
    def remember(self, outputs: Outputs, moment: Moment) -> None:
        """Writes the keys of all processes over the oldest ones."""
        keys = distributed.gather(outputs["keys"].detach())
        place = int(self.place)
        self.queue[place : place + len(keys)] = keys
        self.place.fill_((place + len(keys)) % len(self.queue))

    def after_update(self, moment: Moment) -> None:
        """The key encoder follows."""
        follow(self.key_backbone, self.backbone, self.recipe.momentum)
        follow(self.key_projection, self.projection, self.recipe.momentum)
