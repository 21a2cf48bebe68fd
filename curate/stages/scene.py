"""The whole frame around a face, so small that nobody is to be known in it, as a signature that copies keep.

A face of few pixels hardly moves once it was compressed; shoulders, hands and whatever else is in the frame still do.
"""

from __future__ import annotations

import cv2
import numpy as np

from curate.records import Pixels

SIDE = 16
"""Cells of the frame in a row, and rows; a view is one byte a cell."""
SAMPLES = 16
"""Pixels of a cell's side, at least, that are looked at where there are more: 256 of them say what it is like."""


def view(pixels: Pixels) -> bytes:
    """Mean luma of each cell of a frame, `SIDE` x `SIDE` bytes by row."""
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // (SIDE * SAMPLES))
    if step > 1:
        pixels = np.asarray(cv2.resize(pixels, (width // step, height // step), interpolation=cv2.INTER_NEAREST))
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8).tobytes()
