"""Augmentation picture by picture in bytes, by Pillow and OpenCV on all cores: how a CPU renders `Draws`.

Resizing is Pillow's own, as in the paper's code, and so is rounding to bytes after each step. A picture's crops do not
depend on the number of threads.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from curate.pretrain.augment.draws import JITTER_OPS, LUMA, Draws
from curate.pretrain.config import Augment
from curate.records import Pixels

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Choice:
    """One row of `Draws` as plain numbers.

    Attributes:
        box: top, left, height, width in pixels of the picture.
        flip: mirrored left to right.
        jitter: operations and their factors, in order; none where colours stay.
        grey: loses its colour.
        sigma: of the blur, pixels of the crop; none where it stays sharp.
        solarize: bright half inverted.
    """

    box: tuple[int, int, int, int]
    flip: bool
    jitter: list[tuple[str, float]]
    grey: bool
    sigma: float | None
    solarize: bool


def crops(images: Tensor, draws: list[Draws], sizes: list[int], augment: Augment) -> list[Tensor]:
    """See `curate.pretrain.augment.crops`; the results lie in memory as channels-last."""
    views = [_choices(view) for view in draws]
    made = [np.empty((len(images), size, size, 3), np.float32) for size in sizes]
    normal = normalisation(augment)

    def one(index: int) -> None:
        picture = Image.fromarray(images[index].numpy())
        for choices, size, out in zip(views, sizes, made, strict=True):
            pixels = render(picture, choices[index], size, augment.interpolation)
            cv2.transform(pixels.astype(np.float32), normal, dst=out[index])

    with ThreadPoolExecutor(min(torch.get_num_threads(), max(1, len(images)))) as pool:
        list(pool.map(one, range(len(images))))
    return [torch.from_numpy(out).permute(0, 3, 1, 2) for out in made]


def render(picture: Image.Image, choice: Choice, size: int, interpolation: str) -> Pixels:
    """One crop of one picture, before normalisation: uint8 [size, size, 3]."""
    top, left, height, width = choice.box
    cut = picture.crop((left, top, left + width, top + height))
    x: Pixels = np.asarray(cut.resize((size, size), RESAMPLING[interpolation]))
    if choice.flip:
        x = _bytes(cv2.flip(x, 1))
    for op, factor in choice.jitter:
        x = adjust(op, x, factor)
    if choice.grey:
        x = _bytes(cv2.transform(x, np.tile(LUMA, (3, 1))))
    if choice.sigma is not None:
        x = gaussian_blur(x, choice.sigma)
    return np.where(x >= 128, 255 - x, x) if choice.solarize else x


def normalisation(augment: Augment) -> NDArray[np.float32]:
    """The 3 x 4 matrix that takes the mean off a colour in bytes and divides by the deviation."""
    mean, std = np.array(augment.mean), np.array(augment.std)
    return np.column_stack((np.diag(1 / (255 * std)), -mean / std)).astype(np.float32)


def adjust(op: str, x: Pixels, factor: float) -> Pixels:
    """One jitter of `JITTER_OPS` of uint8 [h, w, 3]; hue turns by `factor` of a whole turn."""
    if op == "brightness":
        return _bytes(cv2.addWeighted(x, factor, x, 0, 0))
    if op == "contrast":
        mean = cv2.mean(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY))[0]
        return _bytes(cv2.addWeighted(x, factor, x, 0, (1 - factor) * mean))
    if op == "saturation":
        return _bytes(cv2.transform(x, factor * np.eye(3) + (1 - factor) * np.array(LUMA)))
    hsv = _bytes(cv2.cvtColor(x, cv2.COLOR_RGB2HSV_FULL))
    # OpenCV writes hues in 256ths of a turn and reads them in 255ths
    turned = np.round((np.arange(256) + factor * 256) % 256 * (255 / 256)).astype(np.uint8)
    hsv[:, :, 0] = turned[hsv[:, :, 0]]
    return _bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


def gaussian_blur(x: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of uint8 [h, w, 3]; the border pixels are continued outwards, as Pillow does."""
    side = 2 * math.ceil(4 * sigma) + 1
    return _bytes(cv2.GaussianBlur(x, (side, side), sigma, borderType=cv2.BORDER_REPLICATE))


def _choices(draws: Draws) -> list[Choice]:
    found = []
    for row in range(len(draws.box)):
        top, left, height, width = draws.box[row].int().tolist()
        factors = draws.factors[row].tolist()
        order = draws.order[row].int().tolist() if draws.jitter[row] else []
        found.append(
            Choice(
                box=(top, left, height, width),
                flip=bool(draws.flip[row]),
                jitter=[(JITTER_OPS[op], factors[op]) for op in order],
                grey=bool(draws.grey[row]),
                sigma=float(draws.sigma[row]) if draws.blur[row] else None,
                solarize=bool(draws.solarize[row]),
            )
        )
    return found


def _bytes(x: object) -> Pixels:
    """OpenCV's results are bytes where its input is; its type stubs do not say so."""
    return np.asarray(x, np.uint8)
