"""Statistics against plain references, and the error rates of what is claimed on simulated studies."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.study.statistics import (
    Noise,
    detectable,
    difference,
    effect_seen,
    exceeds,
    holm,
    noise,
    seeds_needed,
    smallest_enough,
)  # fmt: skip

numbers = st.floats(-5, 5).map(lambda x: round(x, 6))
ps = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(ps, max_size=12))
def test_holm_is_the_step_down_procedure(values: list[float | None]) -> None:
    known = [p for p in values if p is not None]
    found = holm(values)
    assert [p is None for p in values] == [p is None for p in found]
    for p, adjusted in zip(values, found, strict=True):
        if p is None or adjusted is None:
            continue
        # the largest (n - rank) * q over all q that are rejected before p or with it
        reference = max(min(1.0, sum(other >= q for other in known) * q) for q in known if q <= p)
        assert adjusted == pytest.approx(reference) and adjusted >= p


def test_holm_on_a_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
@settings(max_examples=60)
def test_of_two_arms_a_difference_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    arm, reference = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    differences = np.array([a - b for a, b in pairs])
    assume(differences.std(ddof=1) > 1e-6)
    known = noise({"arm": arm, "reference": reference})
    found = difference(arm, reference, known["arm"], known["reference"])
    assert found.summary.seeds == len(pairs)
    assert found.summary.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert found.summary.deviation == pytest.approx(differences.std(ddof=1), abs=1e-12)
    assert found.p == pytest.approx(stats.ttest_rel(*zip(*pairs, strict=True)).pvalue, rel=1e-6, abs=1e-12)
    low, high = stats.t.interval(0.95, len(pairs) - 1, differences.mean(), stats.sem(differences))
    assert (found.summary.low, found.summary.high) == pytest.approx((low, high))


@given(st.integers(3, 8), st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_variances_that_agree_are_those_of_the_analysis_of_variance(arms: int, seeds: int, seed: int) -> None:
    """Equal variances are pooled into the residual mean square of the two-way table, whatever seeds do to all arms."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(arms, seeds)) + 10 * rng.normal(size=seeds)
    found = noise({arm: dict(enumerate(row)) for arm, row in enumerate(table)})
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    square = float((residual**2).sum() / ((arms - 1) * (seeds - 1)))
    assert all(one.most == (arms - 1) * (seeds - 1) and one.df <= one.most + 1e-9 for one in found.values())
    variances = [one.variance for one in found.values()]
    if len(set(variances)) == 1:  # they differ by no more than chance
        assert variances == pytest.approx([square] * arms)
    single = (residual**2).sum(1) / (seeds - 1) * arms / (arms - 1)
    order = np.argsort(single)
    assert (np.diff(np.array(variances)[order]) >= -1e-12).all()  # drawn together, never past each other
    assert single.min() - 1e-12 <= min(variances) and max(variances) <= max(single.max(), square) + 1e-9


def test_only_common_seeds_that_are_numbers_are_paired() -> None:
    known = Noise(1.0, 5.0, 9.0)
    found = difference({0: 1.0, 1: 3.0, 2: math.nan, 5: 9.0}, {0: 0.0, 1: 1.0, 2: 1.0}, known, known)
    assert found.summary.seeds == 2 and found.summary.mean == 1.5 and found.error == pytest.approx(1.0)


def test_without_noise_nothing_is_tested() -> None:
    same = {"a": {0: 1.0, 1: 2.0}, "b": {0: 0.0, 1: 1.0}}
    known = noise(same)
    assert all(one.variance == 0 for one in known.values())
    assert difference(same["a"], same["a"], known["a"], known["a"]).p == 1.0
    assert difference(same["a"], same["b"], known["a"], known["b"]).p is None
    assert noise({"a": {0: 1.0}, "b": {0: 2.0}}) == {} and noise({"a": {0: 1.0, 1: 3.0}}) == {}


def test_what_can_be_seen_follows_from_seeds_arms_and_the_family() -> None:
    """Against a simulation: the first of a family is shown four times in five at the effect that is promised."""
    arms, seeds, family = 6, 5, 8
    effect = effect_seen(arms, seeds, family)
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(200):
        table = rng.normal(size=(arms, seeds))
        table[0] += effect
        known = noise({arm: dict(enumerate(row)) for arm, row in enumerate(table)})
        found = difference(dict(enumerate(table[0])), dict(enumerate(table[1])), known[0], known[1])
        shown += found.p is not None and found.p * family < 0.05
    assert 0.66 < shown / 200 < 0.92
    assert seeds_needed(effect, arms, family) == seeds
    assert effect_seen(arms, 20, family) < effect < effect_seen(arms, 5, 105)
    assert effect_seen(arms, 1, family) == math.inf and seeds_needed(1e-6, arms, family, most=50) is None
    assert detectable(1.0, 1e9, 1) == pytest.approx(1.96 + 0.8416, abs=1e-3)


pairs = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(st.dictionaries(st.sampled_from([0.1, 0.2, 0.4, 0.8]), pairs, min_size=1))
def test_shares_are_tested_in_order_until_one_fails(tests: dict[float, tuple[float, float]]) -> None:
    found = smallest_enough(tests, 0.05)
    assert found is not None and found.tested == tuple(sorted(tests))
    for share, (within, beyond) in tests.items():
        if found.enough is not None and share >= found.enough:
            assert within < 0.05
        if found.short is not None and share <= found.short:
            assert beyond < 0.05
    assert found.enough is not None or tests[max(tests)][0] >= 0.05
    assert found.short is not None or tests[min(tests)][1] >= 0.05
    assert smallest_enough(tests | {0.5: None}, 0.05) is None and smallest_enough({}, 0.05) is None


Table = Mapping[Hashable, Mapping[int, float]]


def simulated(rng: np.random.Generator, means: np.ndarray, seeds: int, spread: np.ndarray, shared: float) -> Table:
    noise_ = rng.normal(size=(len(means), seeds)) * spread[:, None] + shared * rng.normal(size=seeds)
    return {arm: dict(enumerate(row)) for arm, row in enumerate(means[:, None] + noise_)}


@pytest.mark.parametrize(("seeds", "shared", "uneven"), [(3, 0.0, False), (3, 0.03, True), (6, 0.0, True)])
def test_claims_are_wrong_no_more_often_than_their_level_says(seeds: int, shared: float, uneven: bool) -> None:
    """Known truths: no arm differs; all arms are beyond the margin by nothing; families of five at 5 %."""
    rng = np.random.default_rng(seeds)
    arms, rounds, margin = 6, 120, 0.05
    spread = 0.01 * (np.linspace(0.5, 2, arms) if uneven else np.ones(arms))
    edge = np.array([0.3, *[0.3 * (1 + margin)] * (arms - 1)])
    differ = within = beyond = 0
    for _ in range(rounds):
        table = simulated(rng, np.full(arms, 0.3), seeds, spread, shared)
        known = noise(table)
        own = holm([difference(table[a], table[0], known[a], known[0]).p for a in range(1, arms)])
        differ += min(p for p in own if p is not None) < 0.05
        table = simulated(rng, edge, seeds, spread, shared)
        known = noise(table)
        tests = [exceeds(table[a], table[0], margin, known[a], known[0]) for a in range(1, arms)]
        sides = [holm([None if test is None else test[side] for test in tests]) for side in (0, 1)]
        within += min(p for p in sides[0] if p is not None) < 0.05
        beyond += min(p for p in sides[1] if p is not None) < 0.05
    most = stats.binom.ppf(0.999, rounds, 0.07 if uneven else 0.05)  # moderation trusts arms to be a little alike
    assert max(differ, within, beyond) <= most, (differ, within, beyond)
