"""What a face does, measured on its aligned crop: by it two pictures of one person are known to be different ones.

From the 68 landmarks of dlib's predictor (ibug's scheme, counted from 0), which every installation has. The landmarks
tremble; `CHANGED` lies beyond what copies of one picture change by (measured: `benchmarks/near_duplicates.py`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.records import Pixels
from curate.stages import pose
from curate.stages.backend_dlib import FIVE_OF_68, landmarks_68

Float = NDArray[np.float32]

CHANGED = {"mouth": 0.12, "eyes": 0.12, "smile": 0.11, "brows": 0.10, "gaze": 0.15, "yaw": 12.0, "pitch": 12.0}
"""Changes from which it is a new picture: see `measures` for what they are and in which units."""
FRONTAL = 35.0
"""Degrees of yaw from which landmarks are guesses, and only a change of yaw or pitch counts."""
SMALLEST = 64.0
"""Shorter side of a face's box, pixels, from which its expression can be judged."""
OPEN, AGREE = 0.2, 0.08
"""Opening of the lids from which an iris is seen, and how far both eyes' gaze may differ; else gaze is unknown."""
EYE = 40, 20
"""Width and height of the upright picture of an eye in which its iris is looked for, pixels; corners at its sides."""
BROWS = list(range(17, 22)), list(range(22, 27))
EYES = slice(36, 42), slice(42, 48)


def openings(points: Float) -> tuple[Float, Float]:
    """How far lips and lids are open, float32 [n] each, of landmarks [n, 68, 2].

    Lips in distances between the eyes, lids as a share of the eyes' width: see `measures`.
    """
    lids = [(37, 41, 36, 39), (38, 40, 36, 39), (43, 47, 42, 45), (44, 46, 42, 45)]
    open_ = [_apart(points, up, low) / np.maximum(_apart(points, in_, out), 1e-6) for up, low, in_, out in lids]
    lips = (_apart(points, 61, 67) + _apart(points, 62, 66) + _apart(points, 63, 65)) / 3 / _eyes(points)
    return np.asarray(lips, np.float32), np.asarray(np.mean(open_, axis=0), np.float32)


def seen_openings(crops: Pixels, margin: float, yaw: Float, sizes: Float) -> tuple[Float, Float]:
    """`openings` of crops, NaN where landmarks are guesses: of faces that are turned, small, or of no contrast.

    Args:
        crops: uint8 [n, side, side, 3], RGB, aligned. margin: theirs, see `align.template`.
        yaw: float32 [n], degrees. sizes: float32 [n], shorter side of the box, pixels.
    """
    lips, lids = np.full((2, len(crops)), np.nan, np.float32)
    rows = np.flatnonzero((np.abs(yaw) <= FRONTAL) & (sizes >= SMALLEST))
    if len(rows):
        lips[rows], lids[rows] = openings(landmarks_68(crops[rows], margin))
    return lips, lids


def _apart(points: Float, first: int, second: int) -> Float:
    return np.asarray(np.linalg.norm(points[:, first] - points[:, second], axis=1), np.float32)


def _eyes(points: Float) -> Float:
    """Distance between the middles of both eyes, never 0."""
    apart = np.linalg.norm(points[:, 36:42].mean(1) - points[:, 42:48].mean(1), axis=1)
    return np.asarray(np.maximum(apart, 1e-6), np.float32)


def measures(crops: Pixels, margin: float) -> dict[str, Float]:
    """What each crop shows, float32 [n] each.

    mouth, smile, brows: opening of the lips, distance of the mouth's corners, height of the brows over the eyes; in
    distances between the eyes. eyes: opening of the lids as a share of the eyes' width. gaze: how far the irises are to
    the right of the eyes' middles in the picture, in widths of an eye; NaN where that is unknown. yaw, pitch:
    degrees.

    Args:
        crops: uint8 [n, side, side, 3], RGB, aligned.
        margin: theirs, see `align.template`.
    """
    points = landmarks_68(crops, margin)
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    eyes, (lips, lids) = _eyes(points), openings(points)
    brows = [np.linalg.norm(points[:, row].mean(1) - eye, axis=1) for row, eye in ((BROWS[0], left), (BROWS[1], right))]
    five = np.stack([points[:, list(part)].mean(1) for part in FIVE_OF_68], 1)
    yaw, pitch, _ = pose.angles(five)
    found = {
        "mouth": lips,
        "eyes": lids,
        "smile": _apart(points, 48, 54) / eyes,
        "brows": (brows[0] + brows[1]) / 2 / eyes,
        "gaze": np.array([_gaze(crop, face) for crop, face in zip(crops, points, strict=True)]),
        "yaw": yaw,
        "pitch": pitch,
    }
    found["gaze"] = np.where(found["eyes"] >= OPEN, found["gaze"], np.nan)
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def _gaze(crop: Pixels, points: Float) -> float:
    """Where both irises are, the mean of the eyes; NaN where they do not agree."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    left, right = (_iris(grey, points[part].astype(np.float64)) for part in EYES)
    return (left + right) / 2 if abs(left - right) <= AGREE else np.nan


def _iris(grey: NDArray[np.uint8], lids: NDArray[np.float64]) -> float:
    """How far the darkest of an eye is to the right of its middle, in its widths; NaN where nothing is darker.

    Pixels between the lids weigh by how much darker than their median they are: white and skin do not count.

    Args:
        lids: [6, 2], corners first and fourth, in pixels of `grey`.
    """
    width, height = EYE
    middle, axis = (lids[0] + lids[3]) / 2, lids[3] - lids[0]
    across, down = axis * width / max(float(axis @ axis), 1e-6), axis[::-1] * (-1, 1) * width / max(axis @ axis, 1e-6)
    matrix = np.stack([across, down])
    shift = (np.array(EYE) - 1) / 2 - matrix @ middle
    upright = cv2.warpAffine(grey, np.column_stack([matrix, shift]), EYE, borderMode=cv2.BORDER_REPLICATE)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [np.round((lids @ matrix.T + shift) * 16).astype(np.int32)], 1, shift=4)
    if not inside.any():
        return np.nan
    values = upright[inside > 0].astype(np.float64)
    dark = np.clip(np.median(values) - values, 0, None)
    columns = np.nonzero(inside)[1] - (width - 1) / 2
    return float(dark @ columns / dark.sum() / width) if dark.any() else np.nan


def changed(
    found: dict[str, Float], first: NDArray[np.int64], second: NDArray[np.int64]
) -> dict[str, NDArray[np.bool_]]:
    """Whether each measure differs by `CHANGED` or more between faces `first` and `second`, bool [pairs] each.

    What is NaN for one of them has not changed for certain.
    """
    turned = np.abs(found["yaw"]) > FRONTAL
    seen = ~(turned[first] | turned[second])
    return {
        name: (np.abs(found[name][first] - found[name][second]) >= limit) & (seen | (name in ("yaw", "pitch")))
        for name, limit in CHANGED.items()
    }
