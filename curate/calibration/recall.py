"""From pairs whose answer is known to a threshold: how many copies are recalled, at which precision.

Both sides weigh the same, however many pairs they have, so that the figures compare between collections: with recall r
(share of copies at or above the threshold) and false matches f (share of the others there), precision is r / (r + f).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]

PRECISION = 0.995
"""Precision at which near-duplicates are called, unless something else is asked for."""


ROUNDING = 1e-12
"""By how much sums of weights may miss what they are."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does.

    Attributes:
        recall: share of the same pictures at or above it; false: share of the others there.
    """

    threshold: float
    recall: float
    false: float

    @property
    def precision(self) -> float:
        """Of as many same pictures as others; 1 where nothing is called the same."""
        return self.recall / (self.recall + self.false) if self.recall + self.false else 1.0


@dataclass(frozen=True)
class RecallCurve:
    """Recall and false matches at every threshold where either changes, from the highest down, float64 [points]."""

    threshold: NDArray[np.float64]
    recall: NDArray[np.float64]
    false: NDArray[np.float64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """float64 [points]."""
        return self.recall / np.maximum(self.recall + self.false, 1e-300)

    def at(self, precision: float) -> OperatingPoint:
        """The highest recall that is had at this precision or more; recall 0 where it never is."""
        holds = np.flatnonzero((self.precision >= precision - ROUNDING) & (self.recall > 0))
        if not len(holds):
            return OperatingPoint(np.inf, 0.0, 0.0)
        best = holds[-1]
        return OperatingPoint(float(self.threshold[best]), float(self.recall[best]), float(self.false[best]))

    def equal_error(self) -> float:
        """The error where as large a share of copies is missed as of others is matched."""
        missed = 1 - self.recall
        place = int(np.argmax(self.false >= missed)) if (self.false >= missed).any() else len(missed) - 1
        return float((missed[place] + self.false[place]) / 2)


def recall_curve(
    same: Float, other: Float, weigh_same: Float | None = None, weigh_other: Float | None = None
) -> RecallCurve:
    """Judges similarities of pairs that are the same picture against those of pairs that are not.

    Args:
        same, other: [pairs], higher for more alike.
        weigh_same, weigh_other: weights of the pairs, for example so that each video counts alike; None: all alike.
    """
    scores = np.concatenate([same, other]).astype(np.float64)
    parts = [
        np.full(len(values), 1 / max(len(values), 1)) if weights is None else weights / weights.sum()
        for values, weights in ((same, weigh_same), (other, weigh_other))
    ]
    gains = np.concatenate([parts[0], np.zeros(len(other))])
    losses = np.concatenate([np.zeros(len(same)), parts[1]])
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else np.empty(0, np.int64)
    return RecallCurve(scores[order][ends], np.cumsum(gains[order])[ends], np.cumsum(losses[order])[ends])


def measured_at(threshold: float, same: Float, other: Float) -> OperatingPoint:
    """What a given threshold does on pairs."""
    shares = [float((values >= threshold).mean()) if len(values) else 0.0 for values in (same, other)]
    return OperatingPoint(threshold, *shares)
