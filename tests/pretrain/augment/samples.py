"""What the tests of augmentation share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from curate.pretrain.augment.draws import NUMBERS
from curate.pretrain.config import Augment, View

PAPER = Augment()
VIEW = View(scale=(0.14, 1.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniforms(n: int, seed: int = 0) -> torch.Tensor:
    """What `draw` makes its choices of."""
    return torch.rand(n, NUMBERS, generator=generator(seed))


def random_images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator(seed))


def planar(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Cut:
    """A random picture, uint8 [1, H, W, 3], and how to cut it; the box is top, left, height, width."""

    image: torch.Tensor
    box: tuple[int, int, int, int]
    size: int
    flip: bool
    kind: str


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    height, width = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    top, left = draw(st.integers(0, height - h)), draw(st.integers(0, width - w))
    size, flip = draw(st.integers(1, 48)), draw(st.booleans())
    kind = draw(st.sampled_from(["bilinear", "bicubic"]))
    return Cut(random_images(1, height, width, draw(st.integers(0, 99))), (top, left, h, w), size, flip, kind)
