"""How well classes are distinguished: accuracy, balanced accuracy, macro F1, confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def accuracy(predicted: ArrayLike, target: ArrayLike) -> float:
    """Share of samples whose class is right; NaN where there are none."""
    p, t = _labels(predicted, target)
    return float((p == t).mean()) if p.size else float("nan")


def confusion(predicted: ArrayLike, target: ArrayLike) -> NDArray[np.int64]:
    """Counts int64 [C, C], rows by target, columns by prediction; classes are those that occur in either, sorted."""
    p, t = _labels(predicted, target)
    classes, index = np.unique(np.concatenate([t, p]), return_inverse=True)
    count = len(classes)
    cell = index[: t.size] * count + index[t.size :]
    return np.bincount(cell, minlength=count * count).reshape(count, count).astype(np.int64)


def macro_f1(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean over classes of `2 TP / (2 TP + FP + FN)`; classes are those in the target or the prediction.

    A class that occurs in one of them only counts with 0. NaN where there are no samples.
    """
    table = confusion(predicted, target)
    if not table.size:
        return float("nan")
    hits = np.diag(table)
    return float((2 * hits / (table.sum(axis=0) + table.sum(axis=1))).mean())


def f1(predicted: ArrayLike, target: ArrayLike) -> float:
    """F1 of what is there or not, bool [N] twice: `2 TP / (2 TP + FP + FN)`; NaN where nothing is or is predicted."""
    p, t = (values.astype(bool) for values in _labels(predicted, target))
    total = int(p.sum() + t.sum())
    return float(2 * (p & t).sum() / total) if total else float("nan")


def balanced_accuracy(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean over the classes of the target of the share that is right; NaN where there are no samples."""
    table = confusion(predicted, target)
    there = table.sum(axis=1)
    if not there.any():
        return float("nan")
    return float((np.diag(table)[there > 0] / there[there > 0]).mean())


def _labels(predicted: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    p, t = np.asarray(predicted), np.asarray(target)
    if p.ndim != 1 or p.shape != t.shape:
        raise ValueError(f"predicted and target: expected [N] twice, got shapes {p.shape} and {t.shape}")
    return p, t
