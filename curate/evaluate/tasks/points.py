"""Points of a face in the coordinates of its crop, and back: what landmarks (x, y) and shapes (x, y, z) share.

Coordinates are shares of the crop's side, 0 and 1 being its outer edges; z counts from the mean depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.evaluate.crops import Matrix, apply, invert, scale_of
from curate.evaluate.tasks.task import Floats, Predictions


def in_crop(points: Floats, matrix: Matrix, size: int, partners: Sequence[int] | None = None) -> Floats:
    """Points float64 [P, 2 or 3] of a picture as shares of its crop, flattened: x0, y0, (z0,) x1, ...

    Args:
        matrix: pixels of the picture -> pixels of the crop of side `size`.
        partners: of a mirrored crop, the index of each point's partner.
    """
    found = (apply(matrix, points[:, :2]) + 0.5) / size
    if points.shape[1] == 3:
        depth = (points[:, 2:] - points[:, 2:].mean()) * scale_of(matrix) / size
        found = np.concatenate([found, depth], axis=1)
    if partners is not None:
        found = found[list(partners)]
        found[:, 0] = 1 - found[:, 0]
    return found.ravel()


def unmirror(values: Floats, partners: Sequence[int], dims: int) -> Floats:
    """Shares [n, P * dims] found in mirrored crops as they are in the crops themselves."""
    found = values.reshape(len(values), -1, dims)[:, list(partners)].copy()
    found[..., 0] = 1 - found[..., 0]
    return found.reshape(len(values), -1)


def in_pictures(predictions: Predictions, dims: int) -> Floats:
    """Predicted shares [n, P * dims] as points float64 [n, P, dims] in pixels of the pictures."""
    size, matrices = predictions.size, predictions.matrices
    found = predictions.values.reshape(len(predictions.values), -1, dims)
    flat = apply(invert(matrices), found[..., :2] * size - 0.5)
    return np.concatenate([flat, found[..., 2:] * size / scale_of(matrices)[:, None, None]], axis=2)
