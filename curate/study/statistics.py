"""Statistics of a study, as plain functions of numbers: nothing here knows of files, tasks or manifests.

Three seeds an arm say little of its noise, many arms together say much. So the variance of a run is estimated from
what is left when arms and seeds have been fitted (a seed that moves all arms alike costs nothing then), arm by arm, and
each arm's estimate is drawn towards that of all by as much as they agree (Smyth 2004, moderated variances).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from curate.evaluate.results import Summary

LEVEL = 0.95
POWER = 0.8
"""A difference counts as one that a study can see if it would be shown this often."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How much a run of an arm varies.

    Attributes:
        variance: of one run, moderated over the arms.
        df: degrees of freedom of that estimate.
        most: what no sum of degrees of freedom may exceed: those of all arms together.
    """

    variance: float
    df: float
    most: float


@dataclass(frozen=True)
class Difference:
    """An arm less its reference over the seeds that both have.

    Attributes:
        summary: mean of the differences, their standard deviation (n - 1), the 95 % t interval of the mean, seeds.
        error: standard error of the mean, by the moderated variances; None below two seeds or without any noise.
        df: its degrees of freedom.
        p: two-sided; None where `error` is, unless nothing differs at all.
    """

    summary: Summary
    error: float | None
    df: float | None
    p: float | None


def noise(scores: Mapping[Hashable, Mapping[int, float]]) -> dict[Hashable, Noise]:
    """Moderated variances of the arms of one question.

    Args:
        scores: arm -> seed -> score; what is not a number is left out.

    Returns:
        Of the arms of which anything can be said.
    """
    cells = [(arm, seed, value) for arm, own in scores.items() for seed, value in own.items() if np.isfinite(value)]
    arms, seeds = list(dict.fromkeys(c[0] for c in cells)), list(dict.fromkeys(c[1] for c in cells))
    free = len(cells) - len(arms) - len(seeds) + 1
    if len(arms) < 2 or free < 1:
        return {}
    design = np.zeros((len(cells), len(arms) + len(seeds)))
    for row, (arm, seed, _) in enumerate(cells):
        design[row, arms.index(arm)] = design[row, len(arms) + seeds.index(seed)] = 1
    values = np.array([c[2] for c in cells])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    left[np.abs(left) < 1e-12 * max(1.0, float(np.abs(values).max()))] = 0.0
    count = design[:, : len(arms)].sum(axis=0)
    variance = (design[:, : len(arms)].T @ left**2) / count * len(cells) / free
    df = count * free / len(cells)
    moderated, prior = _moderated(variance, df)
    return {
        arm: Noise(float(v), float(min(d + prior, free)), float(free))
        for arm, v, d in zip(arms, moderated, df, strict=True)
    }


def _moderated(variance: Floats, df: Floats) -> tuple[Floats, float]:
    """Variances drawn towards their common one, and the degrees of freedom that it brings (empirical Bayes)."""
    pooled = float(np.average(variance, weights=df))
    sound = variance > 1e-8 * pooled
    if pooled == 0 or sound.sum() < 2:
        return np.full_like(variance, pooled), float("inf") if pooled else 0.0
    z = np.log(variance[sound]) - special.digamma(df[sound] / 2) + np.log(df[sound] / 2)
    spread = float(z.var(ddof=1) - special.polygamma(1, df[sound] / 2).mean())
    if spread <= 1e-6:  # they differ by no more than chance: one variance for all
        return np.full_like(variance, pooled), float("inf")
    prior = 2 * float(optimize.brentq(lambda x: special.polygamma(1, x) - spread, 1e-6, 1e7))
    common = float(np.exp(z.mean() + special.digamma(prior / 2) - np.log(prior / 2)))
    return (prior * common + df * variance) / (prior + df), prior


def difference(
    arm: Mapping[int, float], reference: Mapping[int, float], own: Noise | None, other: Noise | None
) -> Difference:
    """Compares two arms over their common seeds; measurements that are not numbers are left out, with their pair."""
    first, second = _paired(arm, reference)
    found = first - second
    count = len(found)
    mean = float(found.mean()) if count else float("nan")
    deviation = float(found.std(ddof=1)) if count > 1 else None
    error, df = _error(own, other, count, 1.0)
    if error is None or df is None:
        same = 1.0 if count > 1 and not found.any() else None
        return Difference(Summary(mean, deviation, None, None, count), None, None, same)
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, df))
    return Difference(Summary(mean, deviation, mean - half, mean + half, count), error, df, p)


def exceeds(
    arm: Mapping[int, float], reference: Mapping[int, float], margin: float, own: Noise | None, other: Noise | None
) -> tuple[float, float] | None:
    """Is an error larger than that of the reference by more than a margin?

    Args:
        arm, reference: seed -> error, lower is better.
        margin: share of the reference's error.

    Returns:
        p of "it is not larger by so much" (small: the arm stays within the margin) and p of "it is" (small: it is
        beyond); of the t test of `arm - (1 + margin) reference`. None below two common seeds or without noise.
    """
    first, second = _paired(arm, reference)
    error, df = _error(own, other, len(first), 1 + margin)
    if error is None or df is None:
        return None
    t = float((first - (1 + margin) * second).mean()) / error
    return float(stats.t.cdf(t, df)), float(stats.t.sf(t, df))


def _paired(arm: Mapping[int, float], reference: Mapping[int, float]) -> tuple[Floats, Floats]:
    seeds = sorted(seed for seed in arm.keys() & reference.keys() if np.isfinite([arm[seed], reference[seed]]).all())
    return np.array([arm[seed] for seed in seeds]), np.array([reference[seed] for seed in seeds])


def _error(own: Noise | None, other: Noise | None, count: int, factor: float) -> tuple[float | None, float | None]:
    """Standard error of the mean of `arm - factor * reference` over `count` seeds, and its degrees of freedom."""
    if own is None or other is None or count < 2:
        return None, None
    first, second = own.variance / count, factor**2 * other.variance / count
    if first + second <= 0:
        return None, None
    df = (first + second) ** 2 / (first**2 / own.df + second**2 / other.df)
    return float(np.sqrt(first + second)), min(float(df), own.most)


def detectable(error: float, df: float, family: int) -> float:
    """The true difference that would be shown with probability `POWER` as the first of a family of comparisons."""
    return error * float(stats.t.ppf(1 - (1 - LEVEL) / (2 * family), df) + stats.t.ppf(POWER, df))


def effect_seen(arms: int, seeds: int, family: int) -> float:
    """The difference, in standard deviations of a run, that a study can show (with probability `POWER`).

    Variances are taken as equal over the arms. Infinite below two seeds or two arms.
    """
    df = (arms - 1) * (seeds - 1)
    return detectable(float(np.sqrt(2 / seeds)), df, family) if df > 0 else float("inf")


def seeds_needed(effect: float, arms: int, family: int, most: int = 1000) -> int | None:
    """Seeds from which on `effect` standard deviations can be shown; None where `most` are too few."""
    return next((seeds for seeds in range(2, most + 1) if effect_seen(arms, seeds, family) <= effect), None)


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
    """Between which shares of the data the errors come within the margin of those of all data.

    Attributes:
        enough: the smallest tested share shown to stay within it, as every larger tested one is; None: none is.
        short: the largest tested share shown to be beyond it, as every smaller tested one is; None: none is.
        tested: all shares.
    """

    enough: float | None
    short: float | None
    tested: tuple[float, ...]


def smallest_share(tests: Mapping[float, tuple[float, float] | None], level: float) -> Smallest | None:
    """Tests shares in order, from the largest down and from the smallest up, until one fails.

    In that fixed order each test has the full level, and all claims of a curve together are wrong at most so often.

    Args:
        tests: share in (0, 1) -> p of being within the margin and beyond it, see `exceeds`.
        level: of each sequence, for example 0.05.

    Returns:
        None where no share was tested, or one of them cannot be.
    """
    shares = tuple(sorted(tests))
    if not shares or any(tests[share] is None for share in shares):
        return None
    known = {share: p for share, p in tests.items() if p is not None}
    enough = short = None
    for share in reversed(shares):
        if known[share][0] >= level:
            break
        enough = share
    for share in shares:
        if known[share][1] >= level:
            break
        short = share
    return Smallest(enough, short, shares)
