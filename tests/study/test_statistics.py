"""Statistics against plain references, on any numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.study.statistics import difference, holm, smallest_share

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
def test_a_difference_is_the_paired_t_test_and_the_bootstrap_of_the_mean(pairs: list[tuple[float, float]]) -> None:
    arm, reference = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    found = difference(arm, reference)
    differences = np.array([a - b for a, b in pairs])
    assert found.summary.seeds == len(pairs)
    assert found.summary.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert found.summary.deviation == pytest.approx(differences.std(ddof=1), abs=1e-12)
    chosen = np.random.default_rng(0).integers(0, len(pairs), (10_000, len(pairs)))
    low, high = np.quantile(differences[chosen].mean(axis=1), [0.025, 0.975])
    assert (found.summary.low, found.summary.high) == pytest.approx((low, high), abs=1e-12)
    assume(differences.std(ddof=1) > 1e-6)
    assert found.p == pytest.approx(stats.ttest_rel(*zip(*pairs, strict=True)).pvalue, rel=1e-6, abs=1e-12)
    low, high = stats.t.interval(0.95, len(pairs) - 1, differences.mean(), stats.sem(differences))
    assert found.half_width == pytest.approx((high - low) / 2)


def test_only_common_seeds_that_are_numbers_are_paired() -> None:
    found = difference({0: 1.0, 1: 3.0, 2: math.nan, 5: 9.0}, {0: 0.0, 1: 1.0, 2: 1.0})
    assert found.summary.seeds == 2 and found.summary.mean == 1.5


def test_without_noise_nothing_is_tested() -> None:
    assert difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1.0
    assert difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}).p is None
    assert difference({0: 1.0}, {0: 2.0}).p is None


scores = st.lists(numbers, min_size=3, max_size=3)


@given(st.lists(scores, min_size=1, max_size=4), scores, st.booleans())
@settings(max_examples=60)
def test_the_smallest_share_is_found_as_it_is_defined(table: list[list[float]], full: list[float], lower: bool) -> None:
    shares = [0.1 * (k + 1) for k in range(len(table))]
    found = smallest_share(
        {share: dict(enumerate(row)) for share, row in zip(shares, table, strict=True)}, dict(enumerate(full)), lower
    )
    assert found is not None

    def reference(rows: np.ndarray, whole: np.ndarray) -> float:
        best = 1.0
        for share, row in sorted(zip(shares, rows, strict=True), reverse=True):
            worse = (row - whole).mean() if lower else (whole - row).mean()
            if worse > np.std(full, ddof=1):
                break
            best = share
        return best

    near = [abs(abs(np.mean(row) - np.mean(full)) - np.std(full, ddof=1)) < 1e-9 for row in table]
    assume(not any(near))
    assert found.share == reference(np.array(table), np.array(full))
    drawn = [
        reference(np.array(table)[:, seeds], np.array(full)[list(seeds)])
        for seeds in np.random.default_rng(0).integers(0, 3, (10_000, 3))[:300]
    ]
    assert found.low <= np.quantile(drawn, 0.2, method="nearest")
    assert found.high >= np.quantile(drawn, 0.8, method="nearest")
    assert found.low <= found.high


def test_better_in_every_seed_means_that_less_is_enough() -> None:
    full = {0: 0.10, 1: 0.11, 2: 0.12}
    found = smallest_share({0.1: {0: 0.3, 1: 0.3, 2: 0.3}, 0.5: {0: 0.1, 1: 0.1, 2: 0.1}}, full, True)
    assert found is not None and (found.share, found.low, found.high) == (0.5, 0.5, 0.5)
    found = smallest_share({0.1: {0: 0.3, 1: 0.3, 2: 0.3}}, full, True)
    assert found is not None and found.share == 1.0


def test_one_seed_has_no_noise_to_compare_with() -> None:
    assert smallest_share({0.1: {0: 1.0}}, {0: 1.0}, True) is None
