"""The random choices of augmentation: which box, which colours, how much blur, for each picture of a batch.

They are drawn apart from the pictures, on the CPU: the same numbers whatever renders them, whatever the number of
processes or the micro-batch. Each has the distribution of torchvision's function of that name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.pretrain.config import Augment, View

JITTER_OPS = ("brightness", "contrast", "saturation", "hue")
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (ITU-R BT.601), as Pillow's mode L."""
TRIES = 10
"""How often a box of random area and shape is tried before the largest central one is taken (as torchvision does)."""


@dataclass(frozen=True)
class Draws:
    """The random choices of one view of n pictures; every tensor has n rows and lies on the CPU.

    There they stay, so that which pictures an operation concerns is known without waiting for the device.

    Attributes:
        box: float32 [n, 4]: top, left, height, width in pixels of the picture, whole numbers.
        flip: bool [n]: mirrored left to right.
        jitter: bool [n]: colours jittered.
        factors: float32 [n, 4]: brightness, contrast, saturation (factors) and hue (turns in [-0.5, 0.5]).
        order: int64 [n, 4]: the order in which these four are applied.
        grey, blur, solarize: bool [n].
        sigma: float32 [n]: of the blur, pixels of the crop.
    """

    box: Tensor
    flip: Tensor
    jitter: Tensor
    factors: Tensor
    order: Tensor
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    solarize: Tensor

    def __getitem__(self, rows: slice) -> Draws:
        return Draws(**{name: value[rows] for name, value in vars(self).items()})


def draw(n: int, height: int, width: int, view: View, augment: Augment, generator: torch.Generator) -> Draws:
    """Picks the parameters of one view of `n` pictures of `height` x `width` pixels."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    strengths = torch.tensor(augment.jitter)
    low = torch.cat((1 - strengths[:3], -strengths[3:])).clamp_min(torch.tensor([0.0, 0.0, 0.0, -0.5]))
    high = torch.cat((1 + strengths[:3], strengths[3:]))
    small, large = augment.blur_sigma
    return Draws(
        box=_draw_boxes(n, height, width, view.scale, augment.ratio, generator),
        flip=uniform(n) < augment.flip_p,
        jitter=uniform(n) < augment.jitter_p,
        factors=low + (high - low) * uniform(n, 4),
        order=uniform(n, 4).argsort(1),
        grey=uniform(n) < augment.grey_p,
        blur=uniform(n) < view.blur_p,
        sigma=small + (large - small) * uniform(n),
        solarize=uniform(n) < view.solarize_p,
    )


def _draw_boxes(
    n: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Boxes of random area (uniform) and shape (uniform in the logarithm) at a random place: float32 [n, 4]."""
    area = height * width * torch.empty(n, TRIES).uniform_(*scale, generator=generator)
    shape = torch.empty(n, TRIES).uniform_(math.log(ratio[0]), math.log(ratio[1]), generator=generator).exp()
    w, h = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    place = torch.rand(2, n, generator=generator)
    top, left = (place[0] * (height - h + 1)).floor(), (place[1] * (width - w + 1)).floor()
    drawn = torch.stack((top, left, h, w), 1)
    return torch.where(fits.any(1, keepdim=True), drawn, _central_box(height, width, ratio))


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> Tensor:
    """The largest central box whose shape lies in `ratio`: float32 [4]."""
    shape = min(max(width / height, ratio[0]), ratio[1])
    h, w = (height, round(height * shape)) if width / height > shape else (round(width / shape), width)
    return torch.tensor([(height - h) // 2, (width - w) // 2, h, w], dtype=torch.float32)
