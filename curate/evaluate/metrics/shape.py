"""How far reconstructed faces are from the true ones: the mean NME of AFLW2000-3D, and by yaw."""

from __future__ import annotations

import itertools

import numpy as np
import scipy.spatial
from numpy.typing import ArrayLike

from curate.evaluate.metrics.arrays import Floats
from curate.evaluate.metrics.landmarks import box_size, mean_error, nme_each, tight_boxes

YAW_BINS = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
"""Degrees of absolute yaw; the upper bound belongs to the bin. Faces beyond 90 are in the last, as in 3DDFA's code."""


def shape_nme_each(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike | None = None) -> Floats:
    """Normalised error of every shape, float64 [N].

    Args:
        predicted: float [N, V, 2 or 3], pixels.
        target: the same shape. With three coordinates the mean depth of both is taken off first: a picture from a weak
            perspective camera does not hold the distance.
        normaliser: float [N]; by default `sqrt(width * height)` of the true points' box, as the benchmark's authors do.

    Raises:
        ValueError: shapes do not fit, a prediction is not finite, or a normaliser is not positive.
    """
    p, t = np.array(predicted, dtype=np.float64), np.array(target, dtype=np.float64)
    if p.ndim != 3 or p.shape != t.shape or p.shape[2] not in (2, 3):
        raise ValueError(f"expected [N, V, 2 or 3] twice, got shapes {p.shape} and {t.shape}")
    if p.shape[2] == 3:
        p[..., 2] -= p[..., 2].mean(axis=1, keepdims=True)
        t[..., 2] -= t[..., 2].mean(axis=1, keepdims=True)
    size = box_size(tight_boxes(t[..., :2])) if normaliser is None else normaliser
    return nme_each(p, t, size)


def shape_nme(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike | None = None) -> float:
    """Mean of `shape_nme_each`: the mean 3D NME (three coordinates) or the NME of projected points (two)."""
    return mean_error(shape_nme_each(predicted, target, normaliser))


def surface_error(points: ArrayLike, surface: ArrayLike, iterations: int = 30) -> float:
    """Mean distance of points to a surface without landmarks, after they have been brought together.

    Iterated closest points (Besl and McKay, 1992) with a similarity (Umeyama, 1991): turned, scaled and moved until the
    pairs no longer change; the start is the coordinates as they are, but for the mean depth.

    Args:
        points: float [P, 3].
        surface: float [M, 3], a dense cloud in the same coordinates.

    Returns:
        The mean distance to the nearest vertex, divided by the root of the area of the surface's box in x and y.
    """
    p, s = np.array(points, dtype=np.float64), np.asarray(surface, dtype=np.float64)
    size = float(box_size(tight_boxes(s[None, :, :2]))[0])
    tree = scipy.spatial.cKDTree(s)
    flat = scipy.spatial.cKDTree(s[:, :2])
    p[:, 2] += s[flat.query(p[:, :2])[1], 2].mean() - p[:, 2].mean()
    moved, previous = p, None
    for _ in range(iterations):
        nearest = tree.query(moved)[1]
        if previous is not None and (nearest == previous).all():
            break
        moved, previous = similar(p, s[nearest]), nearest
    return float(tree.query(moved)[0].mean() / size)


def icp_error(points: ArrayLike, target: ArrayLike, normaliser: float, iterations: int = 50) -> float:
    """Mean distance of reconstructed points to the nearest true ones, after a rigid alignment, over `normaliser`.

    Iterated closest points (Besl and McKay, 1992): turned and moved, not scaled, until the pairs no longer change; the
    start is the coordinates as they are, but for their means. As PRNet's evaluation (Feng et al. 2018, sec. 4.3), which
    divides by the outer inter-ocular distance of the true points in three dimensions.

    Args:
        points: float [V, 3].
        target: float [M, 3], the same unit.
        normaliser: in that unit.
    """
    p, t = np.array(points, dtype=np.float64), np.asarray(target, dtype=np.float64)
    tree = scipy.spatial.cKDTree(t)
    moved, previous = p + t.mean(axis=0) - p.mean(axis=0), None
    for _ in range(iterations):
        nearest = tree.query(moved)[1]
        if previous is not None and (nearest == previous).all():
            break
        moved, previous = similar(p, t[nearest], scaled=False), nearest
    return float(tree.query(moved)[0].mean() / normaliser)


def similar(points: Floats, target: Floats, scaled: bool = True) -> Floats:
    """`points` [P, 3] turned, scaled (or not) and moved closest to `target` [P, 3] (Umeyama, 1991, eq. 40 to 42)."""
    a, b = points - points.mean(axis=0), target - target.mean(axis=0)
    u, values, v = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    spread = float(np.square(a).sum())
    scale = float(values @ signs) / spread if spread > 0 and scaled else 1.0
    return np.asarray(scale * a @ (u * signs @ v).T + target.mean(axis=0), dtype=np.float64)


def by_yaw(errors: ArrayLike, yaw: ArrayLike, beyond: bool = True) -> tuple[Floats, float]:
    """Mean error in each bin of |yaw| and the mean over bins (which weighs every bin alike).

    Args:
        errors: float [N].
        yaw: float [N], degrees; NaN belongs to no bin.
        beyond: whether faces beyond 90 degrees are in the last bin, as in 3DDFA's code; the paper's bins end at 90.

    Returns:
        float64 [3] by `YAW_BINS`, NaN for an empty bin; and the mean of the bins that are not empty.
    """
    e, angle = np.asarray(errors, dtype=np.float64), np.abs(np.asarray(yaw, dtype=np.float64))
    if e.ndim != 1 or e.shape != angle.shape:
        raise ValueError(f"errors and yaw: expected [N] twice, got shapes {e.shape} and {angle.shape}")
    edges = [-1.0, *(high for _, high in YAW_BINS[:-1]), np.inf if beyond else YAW_BINS[-1][1]]
    inside = [(angle > low) & (angle <= high) for low, high in itertools.pairwise(edges)]
    means = np.array([mean_error(e[mask]) for mask in inside])
    return means, mean_error(means)
