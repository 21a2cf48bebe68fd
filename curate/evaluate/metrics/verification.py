"""Is it the same person? ROC, TAR at FAR, EER, AUC and the ten-fold accuracy of LFW.

One rule for thresholds: a pair is accepted where `score >= threshold`, and thresholds are the scores that occur, so
tied scores are accepted together. FAR is the accepted share of pairs of two people, TAR that of pairs of one. What
needs pairs of a kind that there is none of is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.evaluate.metrics.arrays import Floats, vector


@dataclass(frozen=True)
class Roc:
    """Every operating point, from accepting nothing to accepting all.

    Attributes:
        far, tar: float64 [T], rising; the first is (0, 0).
        thresholds: float64 [T], falling; the first is infinite.
    """

    far: Floats
    tar: Floats
    thresholds: Floats


def roc(scores: ArrayLike, same: ArrayLike) -> Roc:
    """The ROC of scores [N] (higher: more alike) and whether each pair is one person, bool [N]; no point is dropped.

    Raises:
        ValueError: lengths differ, a score is not finite, or `same` holds anything but 0 and 1.
    """
    s, y = _scored(scores, same)
    order = np.argsort(-s, kind="stable")
    s, y = s[order], y[order]
    last = np.flatnonzero(np.diff(s, append=-np.inf))  # the last pair of each run of ties
    tp, fp = np.cumsum(y)[last], np.cumsum(~y)[last]
    positives, negatives = int(y.sum()), int((~y).sum())
    with np.errstate(invalid="ignore"):
        tar = np.concatenate([[0], tp]) / np.float64(positives)
        far = np.concatenate([[0], fp]) / np.float64(negatives)
    return Roc(far, tar, np.concatenate([[np.inf], s[last]]))


def tar_at_far(scores: ArrayLike, same: ArrayLike, far: float | ArrayLike) -> Floats:
    """The largest TAR among operating points whose FAR is at most `far`; no interpolation.

    Returns:
        float64 of the shape of `far`. A `far` below 1 / (number of impostor pairs) asks for a threshold above every
        impostor: defined, but with a resolution that these pairs cannot give.
    """
    curve = roc(scores, same)
    wanted = np.asarray(far, dtype=np.float64)
    if not curve.far.size or np.isnan(curve.far[-1]) or np.isnan(curve.tar[-1]):
        return np.full(wanted.shape, np.nan)
    return curve.tar[np.maximum(np.searchsorted(curve.far, wanted, side="right") - 1, 0)]


def eer(scores: ArrayLike, same: ArrayLike) -> float:
    """Equal error rate: where the polyline through the operating points meets FAR = 1 - TAR."""
    curve = roc(scores, same)
    gap = curve.far - (1 - curve.tar)  # rises from -1 to 1
    if np.isnan(gap).any():
        return float("nan")
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0:
        return float(curve.far[after])
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def roc_auc(scores: ArrayLike, same: ArrayLike) -> float:
    """Area under the ROC: the chance that a pair of one person scores above one of two, ties counting half."""
    curve = roc(scores, same)
    if np.isnan(curve.far[-1]) or np.isnan(curve.tar[-1]):
        return float("nan")
    return float(np.trapezoid(curve.tar, curve.far))


def best_threshold(scores: ArrayLike, same: ArrayLike) -> float:
    """The threshold of highest accuracy among the scores that occur and infinity; the lowest of equally good ones."""
    s, y = _scored(scores, same)
    if not s.size:
        return float("nan")
    candidates, place = np.unique(s, return_inverse=True)
    ones = np.bincount(place, weights=y, minlength=candidates.size)
    others = np.bincount(place, weights=~y, minlength=candidates.size)
    # right decisions at threshold i: same pairs at or above it, others below it
    right = np.cumsum(ones[::-1])[::-1] + (np.cumsum(others) - others)
    right = np.append(right, others.sum())
    return float(np.append(candidates, np.inf)[int(np.argmax(right))])


def fold_accuracies(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> Floats:
    """Accuracy of every fold, float64 [F] by sorted fold, at the threshold that is best on the *other* folds.

    Args:
        scores: float [N].
        same: bool [N].
        folds: int or string [N]: the fold of each pair (ten in LFW).

    Raises:
        ValueError: there are fewer than two folds.
    """
    wrong, f = fold_errors(scores, same, folds), np.asarray(folds)
    return np.array([(~wrong[f == k]).mean() for k in np.unique(f)])


def fold_errors(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs are judged wrongly at the threshold that is best on the other folds, bool [N]; see `fold_accuracies`.

    Raises:
        ValueError: there are fewer than two folds.
    """
    s, y = _scored(scores, same)
    f = np.asarray(folds)
    if f.shape != s.shape:
        raise ValueError(f"scores has {s.size} values, folds has shape {f.shape}")
    names = np.unique(f)
    if names.size < 2:
        raise ValueError("folds: at least two are needed, to choose each one's threshold on the others")
    wrong = np.zeros(s.shape, dtype=bool)
    for name in names:
        own = f == name
        wrong[own] = (s[own] >= best_threshold(s[~own], y[~own])) != y[own]
    return wrong


def ten_fold_accuracy(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> float:
    """Mean over folds of `fold_accuracies`: the accuracy that LFW, CFP-FP and AgeDB-30 report."""
    return float(fold_accuracies(scores, same, folds).mean())


def _scored(scores: ArrayLike, same: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    s, y = vector(scores, "scores"), np.asarray(same)
    if y.shape != s.shape:
        raise ValueError(f"scores has {s.size} values, same has shape {y.shape}")
    if y.dtype != bool and not np.isin(y, (0, 1)).all():
        raise ValueError("same: only 0 and 1 are known")
    return s, y.astype(bool)
