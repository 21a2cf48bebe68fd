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
class Spread:
    """A standard error and its degrees of freedom."""

    error: float
    df: float


@dataclass(frozen=True)
class Difference:
    """An arm less its reference over the seeds that both have.

    Attributes:
        summary: mean of the differences, their standard deviation (n - 1), the 95 % t interval of the mean, seeds.
        error: standard error of the mean, over seeds and test pictures together; None below two seeds or without any
            noise.
        df: its degrees of freedom.
        p: two-sided; None where `error` is, unless nothing differs at all.
        over_seeds: the part of seeds, by the moderated variances.
        over_pictures: the part of test pictures; None where their answers are not known.
    """

    summary: Summary
    error: float | None
    df: float | None
    p: float | None
    over_seeds: Spread | None = None
    over_pictures: Spread | None = None


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
    arm: Mapping[int, float],
    reference: Mapping[int, float],
    own: Noise | None,
    other: Noise | None,
    pictures: Spread | None = None,
) -> Difference:
    """Compares two arms over their common seeds; measurements that are not numbers are left out, with their pair.

    Args:
        pictures: of the same difference over test pictures.
    """
    first, second = _paired(arm, reference)
    found = first - second
    count = len(found)
    mean = float(found.mean()) if count else float("nan")
    deviation = float(found.std(ddof=1)) if count > 1 else None
    seeds = _over_seeds(own, other, count, 1.0)
    if seeds is None:
        same = 1.0 if count > 1 and not found.any() else None
        return Difference(Summary(mean, deviation, None, None, count), None, None, same, None, pictures)
    whole = together(seeds, pictures)
    half = float(stats.t.ppf((1 + LEVEL) / 2, whole.df)) * whole.error
    p = float(2 * stats.t.sf(abs(mean) / whole.error, whole.df))
    summary = Summary(mean, deviation, mean - half, mean + half, count)
    return Difference(summary, whole.error, whole.df, p, seeds, pictures)


def exceeds(
    arm: Mapping[int, float],
    reference: Mapping[int, float],
    margin: float,
    own: Noise | None,
    other: Noise | None,
    pictures: Spread | None = None,
) -> tuple[float, float] | None:
    """Is an error larger than that of the reference by more than a margin?

    Args:
        arm, reference: seed -> error, lower is better.
        margin: share of the reference's error.
        pictures: of `arm - (1 + margin) reference` over test pictures.

    Returns:
        p of "it is not larger by so much" (small: the arm stays within the margin) and p of "it is" (small: it is
        beyond); of the t test of `arm - (1 + margin) reference`. None below two common seeds or without noise.
    """
    first, second = _paired(arm, reference)
    seeds = _over_seeds(own, other, len(first), 1 + margin)
    if seeds is None:
        return None
    whole = together(seeds, pictures)
    t = float((first - (1 + margin) * second).mean()) / whole.error
    return float(stats.t.cdf(t, whole.df)), float(stats.t.sf(t, whole.df))


def _paired(arm: Mapping[int, float], reference: Mapping[int, float]) -> tuple[Floats, Floats]:
    seeds = sorted(seed for seed in arm.keys() & reference.keys() if np.isfinite([arm[seed], reference[seed]]).all())
    return np.array([arm[seed] for seed in seeds]), np.array([reference[seed] for seed in seeds])


def _over_seeds(own: Noise | None, other: Noise | None, count: int, factor: float) -> Spread | None:
    """Of the mean of `arm - factor * other` over `count` seeds."""
    if own is None or other is None or count < 2:
        return None
    first, second = own.variance / count, factor**2 * other.variance / count
    if first + second <= 0:
        return None
    df = (first + second) ** 2 / (first**2 / own.df + second**2 / other.df)
    return Spread(float(np.sqrt(first + second)), min(float(df), own.most))


def together(seeds: Spread, pictures: Spread | None) -> Spread:
    """Both uncertainties, added as variances (degrees of freedom by Satterthwaite 1946).

    What seeds and pictures do only together is in both parts, so the sum errs on the safe side.
    """
    if pictures is None or pictures.error == 0:
        return seeds
    first, second = seeds.error**2, pictures.error**2
    df = (first + second) ** 2 / (first**2 / seeds.df + second**2 / pictures.df)
    return Spread(float(np.sqrt(first + second)), float(df))


def clustered(values: Floats, groups: NDArray[np.generic]) -> Spread | None:
    """Standard error of the mean of values [N] that depend on each other where they share a member of `groups`.

    Errors of a group are added up before they are squared (Liang & Zeger 1986; where each value has two members, as
    pairs of people, Aronow, Samii & Assenova 2015). Of independent values it is that of the bootstrap; of the
    difference of right and wrong answers, that of McNemar's test.

    Args:
        groups: [N, 1] or [N, 2].

    Returns:
        None below two groups.
    """
    names, member = np.unique(groups, return_inverse=True)
    member = member.reshape(groups.shape)
    count = len(names)
    if count < 2:
        return None
    left = values - values.mean()
    sums = np.bincount(member[:, 0], left, count)
    total = 0.0
    if groups.shape[1] == 2:
        two = member[:, 0] != member[:, 1]
        sums += np.bincount(member[two, 1], left[two], count)
        low, high = np.sort(member[two], axis=1).T
        _, both = np.unique(low * count + high, return_inverse=True)
        total -= float((np.bincount(both.ravel(), left[two]) ** 2).sum()) if two.any() else 0.0
    total += float((sums**2).sum())
    total = max(total, float((left**2).sum()))  # people who agree by chance make nothing surer than single pictures
    return Spread(float(np.sqrt(total * count / (count - 1))) / len(values), float(count - 1))


def clustered_covariance(values: Floats, groups: NDArray[np.generic]) -> Floats:
    """Covariance of the means of K rows of values [K, N], see `clustered`; of pairs never too small."""
    names, member = np.unique(groups, return_inverse=True)
    member, count = member.reshape(groups.shape), len(names)
    left = values - values.mean(axis=1, keepdims=True)
    sums = np.zeros((len(values), count))
    np.add.at(sums.T, member[:, 0], left.T)
    if groups.shape[1] == 2:
        two = member[:, 0] != member[:, 1]
        np.add.at(sums.T, member[two, 1], left.T[two])
    return np.asarray(sums @ sums.T * (count / max(1, count - 1)) / values.shape[1] ** 2)


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
    """Between which amounts of data (shares of it, or different faces) errors come within the margin of those of most.

    Attributes:
        enough: the smallest tested amount shown to stay within it, as every larger tested one is; None: none is.
        short: the largest tested amount shown to be beyond it, as every smaller tested one is; None: none is.
        tested: all amounts.
    """

    enough: float | None
    short: float | None
    tested: tuple[float, ...]


def smallest_enough(tests: Mapping[float, tuple[float, float] | None], level: float) -> Smallest | None:
    """Tests amounts in order, from the largest down and from the smallest up, until one fails.

    In that fixed order each test has the full level, and all claims of one direction together are wrong at most so
    often.

    Args:
        tests: amount -> p of being within the margin and beyond it, see `exceeds`.
        level: of each direction, for example 0.025.

    Returns:
        None where no amount was tested, or one of them cannot be.
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
