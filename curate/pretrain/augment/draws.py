"""The random choices of augmentation: which box, which colours, how much blur, for each picture of a batch.

They are made of uniform numbers that belong to a picture of a step (`numbers`): the same whatever renders them and
however many processes there are, and a process makes those of its own pictures alone. Each choice has the distribution
of torchvision's function of that name. All of a batch travel to the device as one table (`Draws.pack`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.pretrain.config import Augment, View

JITTER_OPS = ("brightness", "contrast", "saturation", "hue")
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (ITU-R BT.601), as Pillow's mode L."""
TRIES = 10
"""How often a box of random area and shape is tried before the largest central one is taken (as torchvision does)."""


NUMBERS = 2 * TRIES + 2 + 1 + 1 + 4 + 4 + 1 + 1 + 1 + 1
"""Uniform numbers of which the choices of one crop are made, in the order of `draw`."""
COLUMNS = {"box": 4, "flip": 1, "jitter": 1, "factors": 4, "order": 4, "grey": 1, "blur": 1, "sigma": 1, "solarize": 1}
"""Columns of each choice in a packed table."""
WIDTH = sum(COLUMNS.values())
BLOCK = 4
"""Numbers that Philox makes at once."""


@dataclass(frozen=True)
class Draws:
    """The random choices of one view of n pictures; every tensor has n rows.

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

    def pack(self) -> Tensor:
        """All choices side by side: float32 [n, WIDTH]."""
        return torch.cat([getattr(self, name).float().reshape(-1, width) for name, width in COLUMNS.items()], 1)

    @classmethod
    def unpack(cls, table: Tensor) -> Draws:
        """The choices of a packed table, on its device."""
        parts = dict(zip(COLUMNS, torch.split(table, list(COLUMNS.values()), 1), strict=True))
        chosen = {name: parts[name][:, 0] > 0.5 for name in ("flip", "jitter", "grey", "blur", "solarize")}
        return cls(**(parts | chosen | {"sigma": parts["sigma"][:, 0]}))


def side_by_side(views: list[Draws]) -> Draws:
    """The choices of several views of n pictures as n * views rows, those of a picture side by side."""
    if len(views) == 1:
        return views[0]
    parts = {name: torch.stack([getattr(view, name) for view in views], 1).flatten(0, 1) for name in COLUMNS}
    return Draws(**parts)


def numbers(seed: int, step: int, rows: range, count: int) -> NDArray[np.float32]:
    """The uniform numbers of some pictures of a step: float32 [rows, count] in [0, 1).

    They come from a generator that counts (Philox; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
    those of any picture can be had without making those before it.

    Args:
        seed: of the run.
        step: from 0.
        rows: places in the whole batch, one after another.
        count: numbers of each picture.
    """
    blocks = -(-count // BLOCK)
    key = np.random.SeedSequence((seed, 1, step)).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key, counter=[rows.start * blocks, 0, 0, 0])
    raw = bits.random_raw(len(rows) * blocks * BLOCK).reshape(len(rows), -1)[:, :count]
    return ((raw >> np.uint64(40)) * np.float64(2**-24)).astype(np.float32)


def draw(uniforms: Tensor, height: int, width: int, view: View, augment: Augment) -> Draws:
    """Picks the parameters of one view of pictures of `height` x `width` pixels.

    Args:
        uniforms: float32 [n, NUMBERS] in [0, 1), of each picture.
        height, width: of the pictures.
        view: kind of crop.
        augment: chances and strengths.
    """
    left = iter(torch.split(uniforms, [TRIES, TRIES, 2, 1, 1, 4, 4, 1, 1, 1, 1], 1))

    def uniform() -> Tensor:
        part: Tensor = next(left)
        return part[:, 0] if part.shape[1] == 1 else part

    strengths = torch.tensor(augment.jitter)
    low = torch.cat((1 - strengths[:3], -strengths[3:])).clamp_min(torch.tensor([0.0, 0.0, 0.0, -0.5]))
    high = torch.cat((1 + strengths[:3], strengths[3:]))
    small, large = augment.blur_sigma
    return Draws(
        box=_draw_boxes((uniform(), uniform(), uniform()), height, width, view.scale, augment.ratio),
        flip=uniform() < augment.flip_p,
        jitter=uniform() < augment.jitter_p,
        factors=low + (high - low) * uniform(),
        order=uniform().argsort(1),
        grey=uniform() < augment.grey_p,
        blur=uniform() < view.blur_p,
        sigma=small + (large - small) * uniform(),
        solarize=uniform() < view.solarize_p,
    )


def _draw_boxes(
    uniforms: tuple[Tensor, Tensor, Tensor],
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Boxes of random area (uniform) and shape (uniform in the logarithm) at a random place: float32 [n, 4]."""
    areas, shapes, place = uniforms
    area = height * width * (scale[0] + (scale[1] - scale[0]) * areas)
    flattest, tallest = math.log(ratio[0]), math.log(ratio[1])
    shape = (flattest + (tallest - flattest) * shapes).exp()
    w, h = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    top, left = (place[:, 0] * (height - h + 1)).floor(), (place[:, 1] * (width - w + 1)).floor()
    drawn = torch.stack((top, left, h, w), 1)
    return torch.where(fits.any(1, keepdim=True), drawn, _central_box(height, width, ratio))


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> Tensor:
    """The largest central box whose shape lies in `ratio`: float32 [4]."""
    shape = min(max(width / height, ratio[0]), ratio[1])
    h, w = (height, round(height * shape)) if width / height > shape else (round(width / shape), width)
    return torch.tensor([(height - h) // 2, (width - w) // 2, h, w], dtype=torch.float32)
