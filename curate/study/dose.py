"""How many different faces are enough? Covers of one size, trained alike, against the different faces that they hold.

Two answers, neither of which needs the other. In order, from the most different faces down, each number is tested for
doing no worse than the most by the margin, and from the fewest up for being beyond it (`statistics.smallest_enough`).
And the errors are fitted by a line that falls with the logarithm of the number and is level from the knee on
(`bend`), whose interval holds the knees that the data do not reject.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curate.study.arms import Arm, Question, Score
from curate.study.evidence import Evidence
from curate.study.statistics import LEVEL, Smallest, smallest_enough

FEWEST = 4
"""Numbers of different faces from which on a line with a knee can be fitted."""
STEPS = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Knee:
    """Where more different faces stop to help.

    Attributes:
        at: different faces.
        low, high: its 95 % interval; None: it may lie below the fewest faces, or above the most.
        fit: p of the fit; small: the errors do not follow such a line.
    """

    at: float
    low: float | None
    high: float | None
    fit: float


@dataclass(frozen=True)
class DoseCurve:
    """Covers that differ in redundancy alone.

    Attributes:
        arm: with `redundancy` None.
        points: from the fewest different faces to the most.
        smallest: which numbers are enough and too few.
        worst: one-sided p of the fewest being worse than the most; None without noise or seeds.
        bends: whether the fewest are shown to be worse than the most.
        knee: None where nothing bends, or where there are too few numbers (`FEWEST`) to say where.
    """

    question: Question
    arm: Arm
    points: tuple[Score, ...]
    smallest: Smallest | None
    worst: float | None
    bends: bool
    knee: Knee | None


def grouped(scores: Sequence[Score]) -> dict[tuple[Question, Arm], list[Score]]:
    """Covers of one question that differ in redundancy alone, three or more, by their different faces."""
    groups: dict[tuple[Question, Arm], list[Score]] = defaultdict(list)
    for score in scores:
        if score.arm.rule == "cover" and score.unique is not None:
            groups[score.question, replace(score.arm, redundancy=None)].append(score)
    return {key: sorted(own, key=_unique) for key, own in groups.items() if len({_unique(one) for one in own}) > 2}


def dose_curves(scores: Sequence[Score], margin: float, known: Evidence, level: float) -> list[DoseCurve]:
    """Errors against the number of different faces.

    Args:
        level: of each direction of tests along a curve, and of the test whether there is anything to bend.
    """
    found = []
    for (question, arm), points in grouped(scores).items():
        most = points[-1]
        smallest = smallest_enough({_unique(p): known.exceeds(p, most, margin) for p in points[:-1]}, level)
        tests = known.exceeds(points[0], most, 0.0)
        worst = None if tests is None else tests[1]
        bends = worst is not None and worst < level
        knee = None
        spread = known.covariance(points)
        if bends and spread is not None and len(points) >= FEWEST:
            errors = np.array([np.mean(list(point.errors.values())) for point in points])
            knee = bend(np.array([_unique(point) for point in points]), errors, *spread)
        found.append(DoseCurve(question, arm, tuple(points), smallest, worst, bends, knee))
    return found


def bend(doses: Floats, errors: Floats, covariance: Floats, df: float) -> Knee:
    """Fits `a + b max(0, log knee - log dose)`, b at least 0, by generalised least squares.

    The interval is that of the profile: knees whose fit is worse than the best by less than the F quantile.

    Args:
        doses: [K], rising.
        errors: [K], means.
        covariance: [K, K], of the errors.
        df: degrees of freedom of the covariance.
    """
    at = np.log(doses)
    knees = np.linspace(at[0], at[-1], STEPS + 1)[1:]
    misfit = _misfits(at, errors, np.linalg.inv(np.linalg.cholesky(covariance)), knees)
    best = int(misfit.argmin())
    inside = np.flatnonzero(misfit - misfit[best] <= stats.f.ppf(LEVEL, 1, df))
    free = len(doses) - 3
    low = None if inside[0] == 0 else float(np.exp(knees[inside[0]]))
    high = None if inside[-1] == len(knees) - 1 else float(np.exp(knees[inside[-1]]))
    return Knee(
        float(np.exp(knees[best])), low, high, float(stats.f.sf(max(0.0, float(misfit[best])) / free, free, df))
    )


def _misfits(at: Floats, errors: Floats, whiten: Floats, knees: Floats) -> Floats:
    """Squared distance of the errors to the nearest line with each knee, in their own spread."""
    level = whiten @ np.ones_like(at)
    level /= np.linalg.norm(level)
    falls = np.maximum(0.0, knees[:, None] - at) @ whiten.T
    falls -= (falls @ level)[:, None] * level
    wanted = whiten @ errors
    wanted = wanted - (wanted @ level) * level
    explained = np.maximum(0.0, falls @ wanted) / np.linalg.norm(falls, axis=1)
    return np.asarray(wanted @ wanted - explained**2)


def _unique(score: Score) -> float:
    return float(score.unique or 0)
