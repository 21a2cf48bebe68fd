"""What a face picture looks like, as a vector: the embedding space in which near-duplicates are judged."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from curate.records import Pixels

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """An embedding space, as `build.json` describes it."""

    name: str
    version: str
    dimension: int
    preprocessing: str


SIDE = 56
KEPT = 16
APPEARANCE = Space(
    "appearance",
    "1",
    KEPT * KEPT - 1,
    f"luma of the middle at {SIDE} px, local contrast normalised, {KEPT} x {KEPT} lowest DCT coefficients, whitened",
)


def describe(crops: Pixels) -> Float:
    """float32 [n, D], unit rows."""
    vectors = (
        np.stack([_describe(crop) for crop in crops]) if len(crops) else np.zeros((0, APPEARANCE.dimension), np.float32)
    )
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _describe(crop: Pixels) -> Float:
    edge = len(crop) // 6
    luma = cv2.cvtColor(crop[edge : len(crop) - edge, edge : len(crop) - edge], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    mean = cv2.GaussianBlur(small, (0, 0), SIDE / 8)
    deviation = np.sqrt(cv2.GaussianBlur(np.square(small - mean), (0, 0), SIDE / 8))
    flat = (small - mean) / (deviation + 8)
    spectrum = dctn(flat, norm="ortho")[:KEPT, :KEPT]
    row, column = np.mgrid[:KEPT, :KEPT]
    return np.asarray((spectrum * np.sqrt(row**2 + column**2)).ravel()[1:], np.float32)
