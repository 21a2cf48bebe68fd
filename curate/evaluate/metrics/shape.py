"""How far reconstructed faces are from the true ones: the mean NME of AFLW2000-3D, and by yaw."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from curate.evaluate.metrics.arrays import Floats
from curate.evaluate.metrics.landmarks import box_size, mean_error, nme_each, tight_boxes

YAW_BINS = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
"""Degrees of absolute yaw; the lower bound belongs to the bin, the upper one only in the last."""


def shape_nme_each(predicted: ArrayLike, truth: ArrayLike, normaliser: ArrayLike | None = None) -> Floats:
    """Normalised error of every shape, float64 [N].

    Args:
        predicted: float [N, V, 2 or 3], pixels.
        truth: the same shape. With three coordinates the mean depth of both is taken off first: a picture from a weak
            perspective camera does not hold the distance.
        normaliser: float [N]; by default `sqrt(width * height)` of the true points' box, as the benchmark's authors do.
    """
    p, t = np.array(predicted, dtype=np.float64), np.array(truth, dtype=np.float64)
    if p.ndim != 3 or p.shape != t.shape or p.shape[2] not in (2, 3):
        raise ValueError(f"expected [N, V, 2 or 3] twice, got shapes {p.shape} and {t.shape}")
    if p.shape[2] == 3:
        p[..., 2] -= p[..., 2].mean(axis=1, keepdims=True)
        t[..., 2] -= t[..., 2].mean(axis=1, keepdims=True)
    size = box_size(tight_boxes(t[..., :2])) if normaliser is None else normaliser
    return nme_each(p, t, size)


def shape_nme(predicted: ArrayLike, truth: ArrayLike, normaliser: ArrayLike | None = None) -> float:
    """Mean of `shape_nme_each`: the mean 3D NME (three coordinates) or the NME of projected points (two)."""
    return mean_error(shape_nme_each(predicted, truth, normaliser))


def by_yaw(errors: ArrayLike, yaw: ArrayLike) -> tuple[Floats, float]:
    """Mean error in each bin of |yaw| and the mean over bins (which weighs every bin alike).

    Args:
        errors: float [N].
        yaw: float [N], degrees; beyond 90 belongs to no bin.

    Returns:
        float64 [3] by `YAW_BINS`, NaN for an empty bin; and the mean of the bins that are not empty.
    """
    e, angle = np.asarray(errors, dtype=np.float64), np.abs(np.asarray(yaw, dtype=np.float64))
    if e.ndim != 1 or e.shape != angle.shape:
        raise ValueError(f"errors and yaw: expected [N] twice, got shapes {e.shape} and {angle.shape}")
    last = YAW_BINS[-1][1]
    inside = [(angle >= low) & ((angle < high) | ((high == last) & (angle == last))) for low, high in YAW_BINS]
    means = np.array([mean_error(e[mask]) for mask in inside])
    return means, mean_error(means)
