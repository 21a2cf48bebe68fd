"""Frames made small, as they are compared with each other."""

from __future__ import annotations

import cv2
import numpy as np

from curate.records import Pixels

SIDE = 160
"""Longest side at which frames are compared, pixels."""


def thumbnail(pixels: Pixels) -> Pixels:
    """uint8 [height, width, 3]: a frame whose longest side is `SIDE` at most."""
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
