"""Pictures as a build stores them."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image


def decode(stored: bytes) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB of a stored picture: a JPEG, or whatever else Pillow reads.

    Raises:
        ValueError: the bytes are a damaged JPEG.
        OSError: they are no picture.
    """
    if simplejpeg.is_jpeg(stored):
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stored, colorspace="RGB")
        return pixels
    with Image.open(io.BytesIO(stored)) as picture:
        return np.asarray(picture.convert("RGB"), np.uint8)
