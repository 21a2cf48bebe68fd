"""Which way a head points, from its five landmarks.

The landmarks are seen as the weak-perspective picture of an average head: two rows of a scaled rotation, found by least
squares for all faces at once (DeMenthon and Davis 1995, one step of POS), and made orthogonal by a polar decomposition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

HEAD = np.array([[-32.0, -34.0, -9.0], [32.0, -34.0, -9.0], [0.0, 0.0, 30.0], [-26.0, 34.0, -6.0], [26.0, 34.0, -6.0]])
"""An average head, about millimetres: x to image-right, y down, z towards the camera; order of the landmarks."""


def angles(landmarks: Float) -> tuple[Float, Float, Float]:
    """Yaw, pitch and roll, float32 [n] each, degrees.

    Args:
        landmarks: float32 [n, 5, 2], pixels, y down.

    Returns:
        yaw > 0: turned towards image-right; pitch > 0: looking up; roll > 0: tilted clockwise as seen.
        Yaw lies in [-90, 90], pitch and roll in [-180, 180].
    """
    points = np.asarray(landmarks, np.float64).reshape(-1, 5, 2)
    centred = points - points.mean(1, keepdims=True)
    model = HEAD - HEAD.mean(0)
    affine = np.einsum("nij,ki->njk", centred, np.linalg.pinv(model))
    u, _, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    facing = np.cross(rows[:, 0], rows[:, 1])  # third row: the camera's axis in the head's coordinates
    # rotation = [rows; facing]: the head's own axes are its columns
    yaw = np.arcsin(np.clip(rows[:, 0, 2], -1, 1))
    pitch = np.arctan2(-rows[:, 1, 2], facing[:, 2])
    roll = np.arctan2(-rows[:, 0, 1], rows[:, 0, 0])
    yaw, pitch, roll = (np.degrees(angle).astype(np.float32) for angle in (yaw, pitch, roll))
    return yaw, pitch, roll
