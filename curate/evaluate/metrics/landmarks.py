"""How far predicted landmarks are from the true ones: NME and its normalisers, failure rate, CED and its area."""

from __future__ import annotations

import numpy as np
import scipy.integrate
from numpy.typing import ArrayLike, NDArray

from curate.evaluate.metrics.arrays import Floats

EYES: dict[int, tuple[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]] = {
    5: ((0, 1), ((0,), (1,))),
    29: ((8, 9), ((16,), (17,))),  # COFW
    49: ((19, 28), (tuple(range(19, 25)), tuple(range(25, 31)))),  # 68 without contour and inner mouth corners
    51: ((19, 28), (tuple(range(19, 25)), tuple(range(25, 31)))),  # 68 without contour
    68: ((36, 45), (tuple(range(36, 42)), tuple(range(42, 48)))),  # ibug
    98: ((60, 72), ((96,), (97,))),  # WFLW
}
"""By number of points: the outer eye corners, and the points whose means are the pupils."""


def inter_ocular(target: ArrayLike) -> Floats:
    """Distance of the outer eye corners, float64 [N], of landmarks [N, P, 2].

    Raises:
        ValueError: where the eye corners lie is not known for P points (`EYES` lists the schemes).
    """
    points = _points(target, "target")
    (left, right), _ = _scheme(points)
    return distances(points[:, left], points[:, right])


def inter_pupil(target: ArrayLike) -> Floats:
    """Distance of the pupils (each the mean of its eye's points), float64 [N], of landmarks [N, P, 2].

    Raises:
        ValueError: where the eyes lie is not known for P points.
    """
    points = _points(target, "target")
    _, (left, right) = _scheme(points)
    return distances(points[:, list(left)].mean(axis=1), points[:, list(right)].mean(axis=1))


def box_size(boxes: ArrayLike) -> Floats:
    """`sqrt(width * height)`, float64 [N], of boxes x0, y0, x1, y1 [N, 4]."""
    b = _boxes(boxes)
    return np.sqrt((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]))


def diagonal(boxes: ArrayLike) -> Floats:
    """Length of the diagonal, float64 [N], of boxes x0, y0, x1, y1 [N, 4]."""
    b = _boxes(boxes)
    return np.hypot(b[:, 2] - b[:, 0], b[:, 3] - b[:, 1])


def tight_boxes(target: ArrayLike) -> Floats:
    """The smallest boxes around landmarks [N, P, 2], NaN points left out: float64 [N, 4], x0, y0, x1, y1."""
    points = _points(target, "target")
    return np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1)


def distances(a: Floats, b: Floats) -> Floats:
    """Euclidean distances along the last axis: float64 [..., D] twice -> [...]."""
    return np.asarray(np.linalg.norm(a - b, axis=-1), dtype=np.float64)


def nme_each(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike) -> Floats:
    """Normalised error of every face: the mean distance of its points, divided by its normaliser.

    Args:
        predicted: float [N, P, D], the unit of `target`.
        target: float [N, P, D]; a point with NaN is unknown and left out of its face's mean.
        normaliser: float [N], the same unit (`inter_ocular`, `inter_pupil`, `box_size`, `diagonal`).

    Returns:
        float64 [N], a ratio (0.03 is 3 %); NaN for a face without any known point.

    Raises:
        ValueError: shapes do not fit, a prediction is not finite, or a normaliser is not positive (the face is named).
    """
    p, t = _points(predicted, "predicted"), _points(target, "target")
    d = np.asarray(normaliser, dtype=np.float64)
    if p.shape != t.shape or d.shape != p.shape[:1]:
        raise ValueError(f"shapes do not fit: predicted {p.shape}, target {t.shape}, normaliser {d.shape}")
    if not np.isfinite(p).all():
        raise ValueError("predicted: NaN or infinite values")
    bad = np.flatnonzero(~(np.isfinite(d) & (d > 0)))
    if bad.size:
        raise ValueError(f"normaliser of face {bad[0]} is {d[bad[0]]}: it must be positive ({bad.size} such faces)")
    distance = distances(p, t)
    known = ~np.isnan(distance)
    count = known.sum(axis=1)
    total = np.where(known, distance, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean / d


def nme(predicted: ArrayLike, target: ArrayLike, normaliser: ArrayLike) -> float:
    """Mean over faces of `nme_each`, a ratio; faces without a known point are left out; NaN where none is left."""
    return mean_error(nme_each(predicted, target, normaliser))


def mean_error(errors: ArrayLike) -> float:
    """Mean of per-face errors, NaN ones left out; NaN where none is left."""
    e = _errors(errors)
    return float(e.mean()) if e.size else float("nan")


def failure_rate(errors: ArrayLike, threshold: float) -> float:
    """Share of faces whose error exceeds `threshold` (0.08 and 0.10 are usual); NaN where there are none."""
    e = _errors(errors)
    return float((e > threshold).mean()) if e.size else float("nan")


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Cumulative error distribution: the share of faces with error <= each threshold, float64 [T]."""
    e, at = np.sort(_errors(errors)), np.asarray(thresholds, dtype=np.float64)
    if not e.size:
        return np.full(at.shape, np.nan)
    return np.searchsorted(e, at, side="right") / e.size


def auc(errors: ArrayLike, threshold: float, step: float | None = None, overshoot: bool = False) -> float:
    """Area under the CED from 0 to `threshold`, divided by `threshold`: 1 is perfect, 0 is none below it.

    The CED is a staircase, so the area is exact: the mean of `max(0, 1 - error / threshold)`.

    Args:
        step: instead, Simpson's rule over the CED at 0, `step`, ..., `threshold`, as most published code on 300-W has
            it (usually 0.0001); it differs from the exact area by about the step's share of the threshold.
        overshoot: with `step`, the grid of FaRL's and STAR's scorers, `arange(0, threshold + step, step)`: where
            rounding has it so (at 0.05 and 0.07), it goes one step beyond the threshold.

    Raises:
        ValueError: `threshold` or `step` is not positive, or `overshoot` is without a `step`.
    """
    if not threshold > 0 or (step is not None and not step > 0):
        raise ValueError(f"threshold and step: must be positive, got {threshold} and {step}")
    if overshoot and step is None:
        raise ValueError("overshoot: is of a grid; give its step")
    e = _errors(errors)
    if not e.size:
        return float("nan")
    if step is None:
        return float(np.clip(1 - e / threshold, 0, None).mean())
    grid = np.arange(0, threshold + step, step) if overshoot else np.linspace(0, threshold, round(threshold / step) + 1)
    return float(scipy.integrate.simpson(ced(e, grid), x=grid) / threshold)


def _errors(errors: ArrayLike) -> Floats:
    e = np.asarray(errors, dtype=np.float64)
    if e.ndim != 1:
        raise ValueError(f"errors: expected [N], got shape {e.shape}")
    return e[~np.isnan(e)]


def _points(values: ArrayLike, name: str) -> Floats:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 3:
        raise ValueError(f"{name}: expected [N, P, D], got shape {points.shape}")
    return points


def _boxes(values: ArrayLike) -> Floats:
    boxes = np.asarray(values, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected [N, 4], got shape {boxes.shape}")
    return boxes


def _scheme(points: NDArray[np.float64]) -> tuple[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]:
    count = points.shape[1]
    if count not in EYES:
        raise ValueError(f"where the eyes lie among {count} points is not known; use box_size or diagonal")
    return EYES[count]
