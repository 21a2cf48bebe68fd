"""A cover that grew equals one made from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedupe.covers import cover
from curate.dedupe.extend import extend
from curate.errors import UsageError

from .conftest import walks


@settings(max_examples=120)
@given(
    st.integers(0, 999),
    st.integers(0, 90),
    st.sampled_from([0.6, 0.8, 0.9, 1.0]),
    st.sampled_from(["later", "mixed", "better"]),
)
def test_growing_gives_what_starting_over_gives(seed, old, threshold, kind):
    rng = np.random.default_rng(seed)
    vectors = walks(3, 30, 6, 0.3, seed)[rng.permutation(90)]
    priority = rng.integers(0, 12, 90)
    if kind == "later":
        priority[old:] -= 100
    if kind == "better":
        priority[old:] += 100
    grown = extend(cover(vectors[:old], threshold, priority[:old]), vectors, threshold, priority)
    for mine, its in zip(grown, cover(vectors, threshold, priority), strict=True):
        assert mine.tobytes() == its.tobytes()


def test_pivots_that_were_dropped_count_again():
    """Rows that keep their representative meet the new ones later than the others, in cells dropped by then."""
    rng = np.random.default_rng(448)
    vectors = walks(3, 30, 6, 0.3, 448)[rng.permutation(90)]
    priority = rng.integers(0, 12, 90) - 100 * (np.arange(90) >= 66)
    grown = extend(cover(vectors[:66], 0.9, priority[:66]), vectors, 0.9, priority)
    for mine, its in zip(grown, cover(vectors, 0.9, priority), strict=True):
        assert mine.tobytes() == its.tobytes()


def test_growing_several_times():
    vectors = walks(10, 60, 24, 0.3)
    priority = np.random.default_rng(0).random(len(vectors))
    found = cover(vectors[:0], 0.85, priority[:0])
    for count in (100, 101, 350, 600):
        found = extend(found, vectors[:count], 0.85, priority[:count])
    for mine, its in zip(found, cover(vectors, 0.85, priority), strict=True):
        assert mine.tobytes() == its.tobytes()


def test_another_order_or_fewer_rows_are_refused():
    vectors = walks(4, 20, 8, 0.4)
    found = cover(vectors, 0.9)
    with pytest.raises(UsageError, match="another order"):
        extend(found, vectors, 0.9, np.arange(len(vectors)))
    with pytest.raises(UsageError, match="give all of them"):
        extend(found, vectors[:-1], 0.9)
