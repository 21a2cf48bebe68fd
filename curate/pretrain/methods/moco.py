"""MoCo v2: tell the other crop of a picture from a queue of earlier pictures (He et al. 2020, "Momentum Contrast for
Unsupervised Visual Representation Learning"; Chen et al. 2020, "Improved Baselines with Momentum Contrastive
Learning")."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo, ema_update, follower, mlp
from curate.recipe_files import Section


class MocoSettings(Section):
    """MoCo v2: He et al. 2020, Chen et al. 2020."""

    hidden: int = Field(2048, ge=1, description="width of the projection's hidden layer")
    dim: int = Field(128, ge=1, description="length of embeddings")
    queue: int = Field(65536, ge=1, description="keys that are remembered; cut to whole batches")
    momentum: float = Field(0.999, ge=0, lt=1, description="of the key encoder")
    temperature: float = Field(0.2, gt=0, description="of the softmax")


def queue_length(wish: int, batch: int) -> int:
    """Keys that are remembered: whole batches, one at least."""
    return max(batch, wish - wish % batch)


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

    section = MocoSettings
    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 200,
        "crops": [{"count": 2, "scale": [0.2, 1.0]}],
        "augment": {"jitter": [0.4, 0.4, 0.4, 0.1]},
        "optimiser": {"name": "sgd", "lr": 0.03, "weight_decay": 0.0001},
    }
    cost = 1.4

    settings: MocoSettings
    queue: Tensor

    def __init__(self, backbone: Backbone, settings: MocoSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        self.shuffles = distributed.size() > 1 and not setup.sync_bn
        self.projection = mlp(backbone.feature_dim, settings.hidden, settings.dim, norm=False)
        self.key_backbone, self.key_projection = follower(backbone), follower(self.projection)
        length = queue_length(settings.queue, setup.batch)
        self.register_buffer("queue", F.normalize(torch.randn(length, settings.dim), dim=1))

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
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

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """InfoNCE against the queue as earlier steps left it."""
        return info_nce(outputs["queries"], outputs["keys"].detach(), self.queue.clone(), self.settings.temperature)

    @torch.no_grad()
    def update_memory(self, outputs: Outputs, info: StepInfo) -> None:
        """Writes the keys of all processes over the oldest ones."""
        keys = distributed.gather(outputs["keys"].detach())
        place = info.step * len(keys) % len(self.queue)
        self.queue[place : place + len(keys)] = keys

    def after_update(self, info: StepInfo) -> None:
        """The key encoder follows."""
        ema_update(self.key_backbone, self.backbone, self.settings.momentum)
        ema_update(self.key_projection, self.projection, self.settings.momentum)

    @classmethod
    def chance_loss(cls, settings: MocoSettings, setup: Setup) -> float | None:
        """The key and the whole queue equally likely."""
        return math.log(1 + queue_length(settings.queue, setup.batch))
