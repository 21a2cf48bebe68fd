"""What a face does, measured on its aligned crop: by it two pictures of one person are known to be different ones.

From the 68 landmarks of dlib's predictor (ibug's scheme, counted from 0), which every installation has. The landmarks
tremble; `CHANGED` lies beyond what copies of one picture change by (measured: `benchmarks/near_duplicates.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.records import Pixels
from curate.stages import pose
from curate.stages.backend_dlib import FIVE_OF_68, landmarks_68

Float = NDArray[np.float32]

CHANGED = {"mouth": 0.12, "eyes": 0.12, "smile": 0.11, "brows": 0.10, "yaw": 12.0, "pitch": 12.0}
"""Changes from which it is a new picture: see `measures` for what they are and in which units."""
FRONTAL = 35.0
"""Degrees of yaw from which landmarks are guesses, and only a change of yaw or pitch counts."""
BROWS = list(range(17, 22)), list(range(22, 27))


def measures(crops: Pixels, margin: float) -> dict[str, Float]:
    """What each crop shows, float32 [n] each.

    mouth, smile, brows: opening of the lips, distance of the mouth's corners, height of the brows over the eyes; in
    distances between the eyes. eyes: opening of the lids as a share of the eyes' width. yaw, pitch: degrees.

    Args:
        crops: uint8 [n, side, side, 3], RGB, aligned.
        margin: theirs, see `align.template`.
    """
    points = landmarks_68(crops, margin)

    def apart(first: int, second: int) -> Float:
        return np.asarray(np.linalg.norm(points[:, first] - points[:, second], axis=1), np.float32)

    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    eyes = np.maximum(np.linalg.norm(left - right, axis=1), 1e-6)
    lids = [(37, 41, 36, 39), (38, 40, 36, 39), (43, 47, 42, 45), (44, 46, 42, 45)]
    brows = [np.linalg.norm(points[:, row].mean(1) - eye, axis=1) for row, eye in ((BROWS[0], left), (BROWS[1], right))]
    five = np.stack([points[:, list(part)].mean(1) for part in FIVE_OF_68], 1)
    yaw, pitch, _ = pose.angles(five)
    found = {
        "mouth": (apart(61, 67) + apart(62, 66) + apart(63, 65)) / 3 / eyes,
        "eyes": sum(apart(up, low) / np.maximum(apart(in_, out), 1e-6) for up, low, in_, out in lids) / 4,
        "smile": apart(48, 54) / eyes,
        "brows": (brows[0] + brows[1]) / 2 / eyes,
        "yaw": yaw,
        "pitch": pitch,
    }
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def changed(
    found: dict[str, Float], first: NDArray[np.int64], second: NDArray[np.int64]
) -> dict[str, NDArray[np.bool_]]:
    """Whether each measure differs by `CHANGED` or more between faces `first` and `second`, bool [pairs] each."""
    turned = np.abs(found["yaw"]) > FRONTAL
    seen = ~(turned[first] | turned[second])
    return {
        name: (np.abs(found[name][first] - found[name][second]) >= limit) & (seen | (name in ("yaw", "pitch")))
        for name, limit in CHANGED.items()
    }
