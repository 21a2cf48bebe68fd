"""MoCo v3: find the other crop, as a slowly following network sees it, among those of the batch (Chen et al. 2021, "An
Empirical Study of Training Self-Supervised Vision Transformers")."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone, VisionTransformer, init_xavier, sincos_positions
from curate.pretrain.methods.base import (
    Method,
    Outputs,
    Setup,
    StepInfo,
    ema_update,
    follower,
    freeze,
    mlp,
    momentum_schedule,
)
from curate.recipe_files import Section


class Mocov3Settings(Section):
    """Chen et al. 2021."""

    hidden: int = Field(4096, ge=1, description="width of the hidden layers of projection and prediction")
    dim: int = Field(256, ge=1, description="length of embeddings")
    momentum: float = Field(0.99, ge=0, lt=1, description="of the key network at the start; rises to 1 by a cosine")
    temperature: float = Field(0.2, gt=0, description="of the softmax (the authors take 1.0 for a ResNet)")


def contrast(queries: Tensor, keys: Tensor, temperature: float = 0.2) -> Tensor:
    """Cross-entropy of finding each query's key among the keys of all processes, times 2 temperature (alg. 1).

    Args:
        queries, keys: float [n, d]; need not have unit length. No gradient flows to the keys.
        temperature: of the softmax over cosines.
    """
    everyone = distributed.gather(F.normalize(keys.detach(), dim=1))
    logits = F.normalize(queries, dim=1) @ everyone.T / temperature
    own = torch.arange(len(queries), device=queries.device) + len(queries) * distributed.rank()
    return 2 * temperature * F.cross_entropy(logits, own)


class Mocov3(Method):
    """MoCo v3. Of our transformers, positions and the cut into patches stay fixed, as the authors found stable."""

    section = Mocov3Settings
    defaults: ClassVar[dict[str, Any]] = {
        "arch": "vit_s",
        "epochs": 300,
        "crops": [
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 1.0},
            {"count": 1, "scale": [0.08, 1.0], "blur_p": 0.1, "solarize_p": 0.2},
        ],
        "augment": {"jitter": [0.4, 0.4, 0.2, 0.1], "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 1.5e-4,
            "weight_decay": 0.1,
            "warmup_epochs": 40,
        },
    }
    cost = 1.4

    settings: Mocov3Settings

    def __init__(self, backbone: Backbone, settings: Mocov3Settings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        if isinstance(backbone, VisionTransformer):
            if setup.fresh:
                begin(backbone)
            freeze(backbone.patch_embed)
            backbone.pos_embed.requires_grad_(False)
        width, hidden, dim = backbone.feature_dim, settings.hidden, settings.dim
        depth = 3 if isinstance(backbone, VisionTransformer) else 2
        plain = {"last_norm": True, "last_affine": False, "bias": False}
        self.projection = mlp(width, *[hidden] * (depth - 1), dim, **plain)
        self.prediction = mlp(dim, hidden, dim, **(plain if depth == 3 else {"bias": False}))
        self.key_backbone, self.key_projection = follower(backbone), follower(self.projection)

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`queries` and `keys`, both [n, 2, dim], a column a crop; each crop is a batch of its own to batch norm."""
        queries = [self.prediction(self.projection(self.backbone(crop))).float() for crop in crops]
        with torch.no_grad():
            keys = [self.key_projection(self.key_backbone(crop)).float() for crop in crops]
        return {"queries": torch.stack(queries, 1), "keys": torch.stack(keys, 1)}

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """Each crop's queries against the other's keys."""
        queries, keys, temperature = outputs["queries"], outputs["keys"], self.settings.temperature
        return contrast(queries[:, 0], keys[:, 1], temperature) + contrast(queries[:, 1], keys[:, 0], temperature)

    def after_update(self, info: StepInfo) -> None:
        """The key network follows."""
        momentum = momentum_schedule(self.settings.momentum, info.step, info.steps)
        ema_update(self.key_backbone, self.backbone, momentum)
        ema_update(self.key_projection, self.projection, momentum)

    @classmethod
    def chance_loss(cls, settings: Mocov3Settings, setup: Setup) -> float | None:
        """All keys of the batch equally likely, for both crops."""
        return 4 * settings.temperature * math.log(setup.batch)


def begin(backbone: VisionTransformer) -> None:
    """The authors' fresh weights: positions of sines and cosines, and Glorot's rule for query, key and value apart."""
    width = backbone.feature_dim
    with torch.no_grad():
        backbone.pos_embed.copy_(sincos_positions(backbone.grid, width))
    backbone.apply(init_xavier)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("qkv"):
            bound = math.sqrt(6 / (module.weight.shape[0] // 3 + module.weight.shape[1]))
            nn.init.uniform_(module.weight, -bound, bound)
    nn.init.normal_(backbone.cls_token, std=1e-6)
    bound = math.sqrt(6 / (3 * backbone.patch**2 + width))
    nn.init.uniform_(backbone.patch_embed.proj.weight, -bound, bound)
    nn.init.zeros_(backbone.patch_embed.get_parameter("proj.bias"))
