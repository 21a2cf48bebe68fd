"""Covers made of those of parts equal those made at once, whatever is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.dedupe import repair
from curate.dedupe.cosine import check
from curate.dedupe.covers import cover
from curate.dedupe.greedy import prefilter_for
from curate.dedupe.order import order_of
from curate.dedupe.pairs import find_pairs
from curate.dedupe.per_group import kept_per_group
from curate.dedupe.pivots import find_pivots
from curate.dedupe.repair import Parts, kept_of_parts

from .conftest import unit, walks


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    *(st.integers(0, 999), st.integers(1, 12), st.sampled_from([0.5, 0.8, 0.9, 0.97, 1.0])),
    *(st.sampled_from([(1.0, 99), (1.0, 1), (0.1, 99)]), st.booleans(), st.booleans()),
)
def test_parts_together_give_the_cover_of_all(monkeypatch, seed, size, threshold, limits, by_pairs, all_rows):
    for name, value in zip(("MANY", "ROUNDS"), limits, strict=True):
        monkeypatch.setattr(repair, name, value)
    rng = np.random.default_rng(seed)
    count, walk = 300, walks(10, 30, 5, 0.3, seed)
    vectors = unit(walk + seed % 3 * 0.1 * rng.standard_normal(walk.shape)).astype(np.float16)
    vectors[30:50] = vectors[5:25]  # a copy
    vectors = vectors[rng.permutation(count)] if seed % 2 else vectors
    part, priority = np.arange(count) // size, rng.integers(0, 99, count)
    among = np.ones(count, np.bool_) if all_rows else rng.random(count) < 0.6
    rows, order = check(vectors), order_of(priority, count)
    table = find_pivots(rows, prefilter_for(rows, threshold), map)
    own = order[among[order]]
    alone = kept_per_group(rows, own, part, (threshold,))[0]
    for number in np.unique(part[among])[:: 20 // size + 1].tolist():  # some are enough: covers are slow
        here = np.flatnonzero(among & (part == number))
        assert (alone[here] == cover(vectors[here], threshold, priority[here], threads=1).representative).all()
    kept = find_pairs(table, order, (threshold,), map, part).kept_at(0, alone) if by_pairs else None
    found = kept_of_parts(table, own, Parts(part, alone, kept), threshold, map)
    if found is None:
        assert limits != (1.0, 99)
        return
    assert not found[~among].any()
    assert (found[among] == cover(vectors[among], threshold, priority[among], threads=1).representative).all()


def test_a_row_whose_representative_is_lost_may_join_in(monkeypatch: pytest.MonkeyPatch):
    """Of angles 40, 60, 100 degrees, near up to 45: 60 loses to 40 of another part; 100, which stood near it, stays."""
    angles = np.deg2rad([40.0, 60, 100])
    rows = check(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16))
    table, part, order = find_pivots(rows, prefilter_for(rows, 0.7), map), np.array([0, 1, 1]), np.arange(3)
    alone = kept_per_group(rows, order, part, (0.7,))[0]
    assert alone.tolist() == [True, True, False]
    monkeypatch.setattr(repair, "MANY", 1.0)
    found = kept_of_parts(table, order, Parts(part, alone), 0.7, map)
    assert found is not None and found.tolist() == [True, False, True]
    monkeypatch.undo()
    assert kept_of_parts(table, order, Parts(part, alone), 0.7, map) is None
