"""How far each sample moves a metric that is no mean over samples: CCC, ICC, F1, TAR at a FAR.

Each function gives a number a sample (of pairs: a person), whose mean is the metric and whose standard error is the
metric's: the metric plus the sample's influence on it, the derivative by its weight (the infinitesimal jackknife,
Jaeckel 1972; Efron 1982). To first order that is the bootstrap in closed form, so whatever compares means over samples
compares these metrics too: in pairs, and by people or clips. Where a metric is NaN, so are all its numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.evaluate.metrics.agreement import ccc, icc
from curate.evaluate.metrics.arrays import Floats, centred, pair
from curate.evaluate.metrics.classes import macro_f1
from curate.evaluate.metrics.verification import tar_at_far

REACH = 2.0
"""The slope of the ROC is taken between FAR / REACH and FAR * REACH."""


def ccc_each(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """Of `ccc`, float64 [N]."""
    p, t = pair(predicted, target)
    cp, ct = centred(p), centred(t)
    apart = float(p.mean() - t.mean()) if p.size else 0.0
    # the mean gap moves by cp - ct, and stands squared in the denominator
    return _ratio_each(2 * cp * ct, cp**2 + ct**2 + apart**2 + 2 * apart * (cp - ct), ccc(p, t))


def icc_each(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """Of `icc`, float64 [N]; of two raters it is `2 cov / (var + var)`."""
    p, t = pair(predicted, target)
    cp, ct = centred(p), centred(t)
    return _ratio_each(2 * cp * ct, cp**2 + ct**2, icc(p, t))


def f1_each(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """Of `f1`, float64 [N]."""
    p, t = np.asarray(predicted, dtype=bool), np.asarray(target, dtype=bool)
    total = float(p.sum() + t.sum())
    return _ratio_each(2.0 * (p & t), 1.0 * p + t, 2 * float((p & t).sum()) / total if total else float("nan"))


def macro_f1_each(predicted: ArrayLike, target: ArrayLike) -> Floats:
    """Of `macro_f1`, float64 [N]."""
    p, t = np.asarray(predicted), np.asarray(target)
    if not p.size:
        return np.full(p.shape, np.nan)
    classes = [f1_each(p == name, t == name) for name in np.union1d(p, t)]
    return np.asarray(np.mean(classes, axis=0) + (macro_f1(p, t) - np.mean(classes)))


def tar_each(scores: ArrayLike, same: ArrayLike, people: NDArray[np.generic], far: float) -> Floats:
    """Of `tar_at_far`, float64 [number of people], by their sorted names; all NaN where the metric is.

    A person's number has the influences of all pairs that show the person, so a pair of two people counts with both:
    the standard error errs on the safe side. One more impostor above the threshold raises it, by as much as the ROC is
    steep there.

    Args:
        scores, same: as for `tar_at_far`, [M].
        people: [M, 2], whom each pair shows.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    names, member = np.unique(people, return_inverse=True)
    member = member.reshape(people.shape)
    rate, low, high = tar_at_far(s, y, [far, far / REACH, min(1.0, far * REACH)])
    if np.isnan(rate):
        return np.full(len(names), np.nan)
    accepted = s >= _threshold(s[~y], far)
    slope = (high - low) / np.log(min(1.0, far * REACH) / (far / REACH)) / far  # the ROC is straight over log FAR
    moved = np.empty(len(s))
    moved[y] = (accepted[y] - accepted[y].mean()) / y.sum()
    moved[~y] = -slope * (accepted[~y] - accepted[~y].mean()) / (~y).sum()
    sums = np.bincount(member[:, 0], moved, len(names))
    two = member[:, 0] != member[:, 1]
    sums += np.bincount(member[two, 1], moved[two], len(names))
    return np.asarray(rate + len(names) * (sums - sums.mean()))


def _threshold(impostors: Floats, far: float) -> float:
    """The lowest score that occurs among impostors, or just above them all, at which their share is at most `far`."""
    falling = np.sort(impostors)[::-1]
    least = int(np.floor(far * falling.size))  # so many may be accepted
    return float(np.nextafter(falling[least], np.inf)) if least < falling.size else -np.inf


def _ratio_each(upper: Floats, lower: Floats, value: float) -> Floats:
    """Of a ratio of two means over samples [N]."""
    mean = float(np.mean(lower)) if lower.size else 0.0
    if not np.isfinite(value) or mean == 0:
        return np.full(lower.shape, np.nan)
    moved = (upper - value * lower) / mean
    return np.asarray(value + moved - moved.mean())
