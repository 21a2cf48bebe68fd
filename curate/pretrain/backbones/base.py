"""What every backbone offers, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Pool = Literal["token", "mean"]
"""What of a transformer's tokens is the feature."""


class Backbone(nn.Module):
    """What every backbone offers.

    Attributes:
        feature_dim: length of the vector that `forward` gives of a picture.
        map_channels: channels of each feature map that `maps` gives, the finest map first.
        map_strides: pixels of the picture a cell of each of these maps covers.
    """

    can_recompute = False
    """Whether `recompute` does anything."""
    recompute = False
    """Compute blocks again in the backward pass instead of keeping what they made."""
    feature_dim: int
    map_channels: tuple[int, ...]
    map_strides: tuple[int, ...]

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward` and `maps` give, of one pass."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """float [n, 3, H, W], normalised -> float [n, feature_dim]."""
        return self.both(images)[0]

    def maps(self, images: Tensor) -> list[Tensor]:
        """float [n, 3, H, W] -> a float [n, channels, H / stride, W / stride] for each of `map_channels`."""
        return self.both(images)[1]

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        """A block on `x`, recomputed in the backward pass where that is wanted."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, x, use_reentrant=False))
        out: Tensor = block(x)
        return out

    def plain(self) -> nn.Module:
        """The module whose parameters `backbone.pt` holds, by their plain names."""
        return self


def parameter_count(module: nn.Module, where: Callable[[nn.Parameter], bool] = lambda _: True) -> int:
    """How many numbers the parameters of `module` hold that `where` is true of."""
    return sum(math.prod(parameter.shape) for parameter in module.parameters() if where(parameter))
