"""ConvNeXts with timm's parameter names (Liu et al. 2022, "A ConvNet for the 2020s")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain.backbones.base import Backbone

SCALE = 1e-6
"""Where the scale of a block's branch begins."""


class Norm2d(nn.LayerNorm):
    """Layer norm over the channels of maps."""

    def forward(self, x: Tensor) -> Tensor:
        """float [n, channels, H, W] -> the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """float [..., width] -> the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A 7x7 convolution of each channel, layer norm, two layers, and a learned scale (fig. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.gamma = nn.Parameter(SCALE * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """float [n, width, H, W] -> the same shape."""
        branch: Tensor = self.gamma * self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        return x + branch.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, after a step down where there is one."""

    def __init__(self, inner: int, width: int, depth: int) -> None:
        super().__init__()
        down = inner != width
        self.downsample = (
            nn.Sequential(Norm2d(inner, eps=1e-6), nn.Conv2d(inner, width, 2, 2)) if down else nn.Identity()
        )
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """float [n, inner, H, W] -> float [n, width, H / 2, W / 2], the same size where the width stays."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class ConvNeXt(Backbone):
    """A ConvNeXt; the feature is the layer norm of the mean of the last map.

    Args:
        depths: blocks in each of the four stages.
        widths: channels of each.
    """

    can_recompute = True
    map_strides = (4, 8, 16, 32)

    def __init__(self, depths: tuple[int, int, int, int], widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), Norm2d(widths[0], eps=1e-6))
        inner = (widths[0], *widths[:3])
        self.stages = nn.Sequential(*map(Stage, inner, widths, depths))
        self.head = nn.ModuleDict({"norm": Norm2d(widths[3], eps=1e-6)})
        self.feature_dim, self.map_channels = widths[3], widths
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The feature, and the outputs of the four stages."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = self.run(stage, x)
            maps.append(x)
        pooled: Tensor = self.head["norm"](x.mean((2, 3), keepdim=True))
        return pooled.flatten(1), maps
