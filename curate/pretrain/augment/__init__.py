"""Augmentation: the list and the order of SwAV and SimCLR, seeded, on whatever device the pictures are.

Resized crop, flip, colour jitter, grey, blur, solarisation, normalisation. `draw` picks the parameters of every picture
(`draws.py`); `crops` applies them without any randomness: a CPU picture by picture in bytes, as the paper's code does
(`bytewise.py`), a GPU batch by batch in floats (`tensors.py`). The two agree but for the rounding to bytes.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from curate.pretrain.augment import bytewise, tensors
from curate.pretrain.augment.draws import NUMBERS, WIDTH, Draws, draw, numbers, side_by_side
from curate.pretrain.config import Augment

__all__ = ["NUMBERS", "WIDTH", "Draws", "batchwise", "crops", "draw", "numbers", "plain"]


def crops(images: Tensor, draws: list[Draws], sizes: list[int], augment: Augment) -> list[Tensor]:
    """The augmented crops of pictures, one tensor a view.

    Args:
        images: uint8 [n, H, W, 3].
        draws: n rows for each view, on the device of the pictures.
        sizes: side of each view's crops, pixels.
        augment: interpolation and normalisation.

    Returns:
        float32 [n, 3, s, s] each, normalised.
    """
    if images.device.type == "cpu":
        return bytewise.crops(images, draws, sizes, augment)
    return batchwise(images, draws, sizes, augment)


def batchwise(images: Tensor, draws: list[Draws], sizes: list[int], augment: Augment) -> list[Tensor]:
    """`crops` as a GPU renders them: neighbouring views of one size together."""
    prepared = tensors.prepare(images)
    made: list[Tensor] = []
    for size, alike in itertools.groupby(zip(draws, sizes, strict=True), key=lambda pair: pair[1]):
        views = [view for view, _ in alike]
        rendered = tensors.render(prepared, side_by_side(views), size, augment)
        made.extend(rendered.reshape(-1, len(views), *rendered.shape[1:]).unbind(1))
    return made


def plain(images: Tensor, size: int, augment: Augment) -> Tensor:
    """Whole pictures without augmentation, as probes see them: uint8 [n, H, W, 3] -> float32 [n, 3, size, size]."""
    n, height, width, _ = images.shape
    nothing = torch.zeros(n, dtype=torch.bool)
    whole = Draws(
        box=torch.tensor([0.0, 0.0, height, width]).expand(n, 4),
        flip=nothing,
        jitter=nothing,
        factors=torch.zeros(n, 4),
        order=torch.zeros(n, 4, dtype=torch.int64),
        grey=nothing,
        blur=nothing,
        sigma=torch.ones(n),
        solarize=nothing,
    )
    if images.device.type != "cpu":
        whole = Draws.unpack(whole.pack().to(images.device))
    return crops(images, [whole], [size], augment)[0]
