"""Residual networks with torchvision's parameter names (He et al. 2016, "Deep Residual Learning")."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain.backbones.base import Backbone


def _conv3(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, stride, 1, bias=False)


def _conv1(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 5 left)."""

    expansion = 1

    def __init__(self, inner: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv3(inner, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """float [n, inner, H, W] -> float [n, planes, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x.add_(shortcut), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, the stride in the 3x3 (torchvision's "v1.5")."""

    expansion = 4

    def __init__(self, inner: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv1(inner, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3(planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv1(planes, planes * self.expansion)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """float [n, inner, H, W] -> float [n, 4 * planes, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(x.add_(shortcut), inplace=True)


class ResNet(Backbone):
    """A residual network for pictures of any size; the feature is the mean of the last map.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: blocks in each of the four stages.
        width: channels of the first stage.
    """

    map_strides = (4, 8, 16, 32)

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: tuple[int, int, int, int], width: int = 64
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inner = width
        for stage, count in enumerate(layers):
            planes = width * 2**stage
            blocks: list[nn.Module] = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                outer = planes * block.expansion
                down = (
                    nn.Sequential(_conv1(inner, outer, stride), nn.BatchNorm2d(outer))
                    if stride > 1 or inner != outer
                    else None
                )
                blocks.append(block(inner, planes, stride, down))
                inner = outer
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.feature_dim = inner
        self.map_channels = tuple(width * 2**stage * block.expansion for stage in range(4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The feature, and the outputs of the four stages."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return x.mean((2, 3)), maps
