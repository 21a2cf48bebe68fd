"""How good a crop is, and its perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.records import Pixels

Float = NDArray[np.float32]

SIDE = 112
"""Sharpness is judged on crops of this side, so that it compares between builds with different crop sizes."""
FULL_SIZE = 112.0
"""Box side in pixels, shorter one, from which size gains little."""


@dataclass(frozen=True)
class Measures:
    """What `measure` found, float32 [n] each.

    Attributes:
        sharpness: energy of fine detail as a share of contrast, 0 (smooth) to about 1; independent of brightness.
        brightness: mean luma in [0, 1] of the face itself.
        quality: in [0, 1], the geometric mean of what size, sharpness, pose, exposure and score are worth.
    """

    sharpness: Float
    brightness: Float
    quality: Float


def measure(crops: Pixels, scores: Float, yaw: Float, pitch: Float, box_sizes: Float) -> Measures:
    """Judges crops.

    Args:
        crops: uint8 [n, side, side, 3], RGB.
        scores: the detector's, float32 [n] in [0, 1].
        yaw, pitch: float32 [n], degrees.
        box_sizes: shorter side of the face's box in its frame, float32 [n], pixels.
    """
    luma = np.stack([_face(crop) for crop in crops]) if len(crops) else np.zeros((0, SIDE, SIDE), np.float32)
    brightness = luma.mean((1, 2), dtype=np.float64).astype(np.float32)
    sharpness = np.array([_sharpness(face) for face in luma], np.float32)
    worth = np.stack(
        [
            _saturating(box_sizes / FULL_SIZE),
            _saturating(sharpness / 0.25),
            np.exp(-((yaw / 60) ** 2) - (pitch / 50) ** 2),
            np.clip(1 - ((brightness - 0.5) / 0.5) ** 4, 0, 1),
            np.clip(scores, 0, 1),
        ]
    )
    quality = np.prod(worth, 0) ** (1 / len(worth))
    return Measures(sharpness, brightness, quality.astype(np.float32))


def phash(crops: Pixels) -> NDArray[np.uint64]:
    """The 64-bit perceptual hash of each crop (imagehash.phash), uint64 [n]; the first bit is the highest."""
    bits = [imagehash.phash(Image.fromarray(crop)).hash.ravel() for crop in crops]
    packed = np.packbits(np.array(bits, bool).reshape(-1, 64), axis=1)
    return packed.view(">u8").ravel().astype(np.uint64)


def _saturating(ratio: Float) -> Float:
    """0 at 0, 0.63 at 1, towards 1 beyond."""
    return np.asarray(1 - np.exp(-np.maximum(ratio, 0)), np.float32)


def _face(crop: Pixels) -> Float:
    """Luma in [0, 1] of the middle of a crop, float32 [SIDE, SIDE]."""
    edge = len(crop) // 6
    middle = cv2.cvtColor(crop[edge : len(crop) - edge, edge : len(crop) - edge], cv2.COLOR_RGB2GRAY)
    way = cv2.INTER_AREA if len(middle) > SIDE else cv2.INTER_LINEAR
    small: Float = cv2.resize(middle, (SIDE, SIDE), interpolation=way).astype(np.float32)
    return small / np.float32(255)


def _sharpness(luma: Float) -> float:
    """Gradient energy over contrast; the Gaussian keeps noise of single pixels out."""
    smooth = cv2.GaussianBlur(luma, (0, 0), 0.8)
    gradient = float(np.square(np.diff(smooth, axis=0)).mean() + np.square(np.diff(smooth, axis=1)).mean())
    return float(np.sqrt(gradient / (float(luma.var()) + 1e-4)))
