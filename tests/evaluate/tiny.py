"""Backbones so small that a test may train them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from curate.pretrain.backbones import BasicBlock, ResNet


def tiny(seed: int = 0) -> ResNet:
    """A residual network of four blocks, 8 to 64 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet(BasicBlock, (1, 1, 1, 1), width=8).eval()


class Means(nn.Module):
    """A backbone whose map is the picture itself, smaller, and whose feature is its mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images * self.gain, 8)
