"""Vectors that covers are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.recipe import CropSettings
from curate.stages import appearance

Vectors = NDArray[np.float16]


def walks(count: int, width: int = 256, length: int = 100, step: float = 0.168, seed: int = 0) -> Vectors:
    """Videos whose faces take small random steps on the sphere."""
    rng = np.random.default_rng(seed)
    videos = -(-count // length)
    out = np.empty((videos, length, width), np.float16)
    place = unit(rng.standard_normal((videos, width), np.float32))
    for k in range(length):
        out[:, k] = place
        place = unit(place + step * unit(rng.standard_normal((videos, width), np.float32)))
    return out.reshape(-1, width)[:count]


def grown(base: NDArray[np.float32], count: int, most: float = 0.45, seed: int = 0) -> Vectors:
    """Real vectors, each many times over with jitter of random size up to `most`."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(base)), -(-count // len(base)))[:count]
    out = np.empty((count, base.shape[1]), np.float16)
    for start in range(0, count, 8192):
        chosen = base[which[start : start + 8192]]
        jitter = unit(rng.standard_normal(chosen.shape, np.float32)) * rng.uniform(0, most, (len(chosen), 1))
        out[start : start + 8192] = unit(chosen + jitter)
    return out


def unique(count: int, width: int = 256, seed: int = 0) -> Vectors:
    """Vectors in all directions."""
    return unit(np.random.default_rng(seed).standard_normal((count, width), np.float32)).astype(np.float16)


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filmed(count: int = 1000) -> NDArray[np.float32]:
    """Appearance vectors of faces in pictures of scikit-image and insightface, under a moving, dimming camera."""
    import insightface
    import skimage

    folder = Path(insightface.__file__).parent / "data" / "images"
    pictures = [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))]
    pictures.append(skimage.data.astronaut()[:, :, ::-1])
    rng = np.random.default_rng(0)
    crops = []
    for index in range(count):
        picture = pictures[index * len(pictures) // count]
        if index % 10 == 0:  # a new place now and then, small moves in between
            x, y = rng.uniform(0.2, 0.8, 2) * (picture.shape[1], picture.shape[0])
            size = rng.uniform(80, 200)
        x, y, size = x + rng.normal(0, 2), y + rng.normal(0, 2), size * rng.uniform(0.98, 1.02)
        turn = cv2.getRotationMatrix2D((float(x), float(y)), rng.normal(0, 1), 224 / size)
        turn[:, 2] += 112 - x, 112 - y
        crop = cv2.warpAffine(picture, turn, (224, 224), borderMode=cv2.BORDER_REFLECT)
        crops.append(np.clip(crop * rng.uniform(0.9, 1.1), 0, 255).astype(np.uint8)[:, :, ::-1])
    return appearance.describe(np.stack(crops), CropSettings().margin)
