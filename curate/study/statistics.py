"""Statistics of a study, as plain functions of numbers: nothing here knows of files, tasks or manifests.

Seeds pair the arms of a study: with one seed, the choice of faces, the training and the few-shot subset are drawn the
same way in each. So two arms are compared by their differences seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curate.evaluate.results import Summary, summarise

LEVEL = 0.95
DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """An arm less its reference over the seeds that both have.

    Attributes:
        summary: mean, standard deviation (n - 1) and percentile bootstrap interval of the differences.
        half_width: of the 95 % t interval of the mean difference: what could not have been seen; None below two seeds.
        p: two-sided p of the paired t test; None below two seeds, or where all differences are the same and not zero.
    """

    summary: Summary
    half_width: float | None
    p: float | None


def difference(arm: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """Compares two arms over their common seeds; measurements that are NaN are left out, with their pair."""
    seeds = sorted(seed for seed in arm.keys() & reference.keys() if np.isfinite([arm[seed], reference[seed]]).all())
    found = np.array([arm[seed] - reference[seed] for seed in seeds])
    summary = summarise(found.tolist(), LEVEL, DRAWS)
    if len(found) < 2:
        return Difference(summary, None, None)
    deviation = float(found.std(ddof=1))
    error = deviation / np.sqrt(len(found))
    half_width = float(stats.t.ppf((1 + LEVEL) / 2, len(found) - 1) * error)
    if deviation <= 1e-12 * max(1.0, float(np.abs(found).max())):  # no noise to compare with
        return Difference(summary, half_width, 1.0 if not found.any() else None)
    return Difference(summary, half_width, float(2 * stats.t.sf(abs(found.mean()) / error, len(found) - 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for being several (Holm 1979), in their order; None stays None and does not count.

    The k-th smallest of n (from 0) is multiplied by n - k, then made no smaller than those before it, at most 1.
    """
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    largest = 0.0
    for k, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - k) * p))
        found[place] = largest
    return found


@dataclass(frozen=True)
class Smallest:
    """The smallest share of the data that does as well as all of it, within seed noise.

    Attributes:
        share: the smallest tested one; 1 where no smaller one does.
        low, high: 95 % bootstrap interval over seeds.
        noise: standard deviation of the full data's scores over seeds: what counts as noise.
        tested: all shares.
    """

    share: float
    low: float
    high: float
    noise: float
    tested: tuple[float, ...]


def smallest_share(
    scores: Mapping[float, Mapping[int, float]], full: Mapping[int, float], lower_is_better: bool
) -> Smallest | None:
    """The smallest share from which on every larger tested share is within seed noise of the full data.

    A share is within noise if its mean is not worse than that of the full data by more than the standard deviation of
    the full data's scores over seeds. For the interval, seeds are drawn again (10,000 times, from generator 0), the
    same for all shares; the noise is not.

    Args:
        scores: share in (0, 1) -> seed -> score.
        full: seed -> score of all data.
        lower_is_better: for errors.

    Returns:
        None where fewer than two seeds are common to all, or no share was tested.
    """
    shares = tuple(sorted(share for share in scores if share < 1))
    common = set(full)
    for share in shares:
        common &= set(scores[share])
    seeds = sorted(common)
    if len(seeds) < 2 or not shares:
        return None
    sign = 1.0 if lower_is_better else -1.0
    reference = np.array([full[seed] for seed in seeds])
    worse = sign * (np.array([[scores[share][seed] for seed in seeds] for share in shares]) - reference)
    if not np.isfinite(worse).all():
        return None
    noise = float(reference.std(ddof=1))
    chosen = np.random.default_rng(0).integers(0, len(seeds), (DRAWS, len(seeds)))
    drawn = worse[:, chosen].mean(axis=2).T  # [draws, shares]
    steps = np.array([*shares, 1.0])
    found = steps[_first_good(drawn, noise)]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    point = steps[_first_good(worse.mean(axis=1)[None], noise)[0]]
    return Smallest(float(point), float(low), float(high), noise, shares)


def _first_good(worse: NDArray[np.float64], noise: float) -> NDArray[np.int64]:
    """int64 [draws]: the first share from which on none is worse than `noise`; the number of shares where none is.

    Args:
        worse: float64 [draws, shares], by how much each mean is worse; shares rising.
    """
    good = worse[:, ::-1] <= noise
    return np.asarray(worse.shape[1] - np.cumprod(good, axis=1).sum(axis=1), dtype=np.int64)
