"""What the tests of augmentation share."""

from __future__ import annotations

import torch

from curate.pretrain.config import Augment, View

PAPER = Augment()
VIEW = View(scale=(0.14, 1.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator(seed))


def planar(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float() / 255
