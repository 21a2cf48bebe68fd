"""Near pairs: all of them, at each threshold, whatever the sizes of blocks; and the covers that follow from them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.dedupe import assignment, pairs, pivots
from curate.dedupe.cosine import check
from curate.dedupe.covers import cover
from curate.dedupe.order import order_of
from curate.dedupe.pairs import cheapest, find_pairs
from curate.dedupe.pivots import find_pivots
from curate.dedupe.prefilter import Prefilter
from curate.dedupe.prefilter_torch import TorchPrefilter

from .conftest import walks
from .test_covers import collections

THRESHOLDS = st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4, unique=True).map(lambda t: tuple(sorted(t)))

KINDS = (Prefilter, partial(TorchPrefilter, bfloat16=False), partial(TorchPrefilter, bfloat16=True))
"""Ways to make products."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few rows fill several of each."""
    for name, value in (("SEGMENT", 8), ("RUN", 4), ("BLOCK", 3), ("LONELY", 0.8), ("HELD", 0)):
        monkeypatch.setattr(pivots, name, value)
    for name, value in (("SEGMENT", 8), ("BLOCK", 3), ("GROUP", 2), ("WIDE", 3), ("ROUNDS", 1), ("DENSE", 0.3)):
        monkeypatch.setattr(pairs, name, value)
    for name, value in (("SEGMENT", 8), ("BLOCK", 3), ("FACING", 2)):
        monkeypatch.setattr(assignment, name, value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(collections(), THRESHOLDS, st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**31))
def test_all_near_pairs_are_found_and_their_covers_are_those_of_cover(tiny, vectors, thresholds, kind, held, seed):
    rng = np.random.default_rng(seed)
    priority = rng.integers(0, 5, len(vectors))
    order, rows = order_of(priority, len(vectors)), check(vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pivots, "HELD", 1 << 30 if held else 0)
        found = find_pairs(find_pivots(rows, kind(rows.width), map), order, thresholds, map)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    i, j = np.triu_indices(len(vectors), 1)
    levels = np.searchsorted(thresholds, rows.cosines(i, j), side="right")
    first, second = np.where(place[i] < place[j], i, j), np.where(place[i] < place[j], j, i)
    wanted = {(a, b): k for a, b, k in zip(first.tolist(), second.tolist(), levels.tolist(), strict=True) if k}
    told = list(zip(found.earlier.tolist(), found.later.tolist(), found.level.tolist(), strict=True))
    assert {(a, b): k for a, b, k in told} == wanted
    assert len(told) == len(wanted)
    some = rng.random(len(vectors)) < 0.7
    for number, threshold in enumerate(thresholds):
        assert (found.kept_at(number) == cover(vectors, threshold, priority, threads=1).representative).all()
        kept = found.kept_at(number, some)
        assert not kept[~some].any()
        assert (kept[some] == cover(vectors[some], threshold, priority[some], threads=1).representative).all()


def test_pairs_of_segments_of_full_size_and_across_groups():
    vectors = walks(30, 100, 24, 0.25)
    priority = np.random.default_rng(1).random(len(vectors))
    order, rows = order_of(priority, len(vectors)), check(vectors)
    for kind in KINDS:
        fast = kind(rows.width)
        found = find_pairs(find_pivots(rows, fast, map), order, (0.8, 0.95), map)
        for number, threshold in enumerate((0.8, 0.95)):
            assert (found.kept_at(number) == cover(vectors, threshold, priority).representative).all()
        group = np.arange(len(vectors)) // 7
        table = find_pivots(rows, fast, map)
        across = find_pairs(table, order, (0.8, 0.95), map, group)
        both = group[found.earlier] != group[found.later]
        told = [set(zip(p.earlier.tolist(), p.later.tolist(), strict=True)) for p in (found, across)]
        assert 0 < len(told[1]) == both.sum() < len(told[0])
        assert told[1] < told[0]


def test_pairs_are_only_wanted_where_they_are_few():
    still = check(np.repeat(walks(4, 1, 16, 0), 300, axis=0))
    assert cheapest(find_pivots(still, Prefilter(16), map), (0.7, 0.9, 0.99), map) == 3
    moving = check(walks(40, 50, 64, 0.3))
    assert cheapest(find_pivots(moving, Prefilter(64), map), (0.7, 0.9, 0.99), map) < 3
    nothing = check(np.empty((0, 4), np.float16))
    assert cheapest(find_pivots(nothing, Prefilter(4), map), (0.7,), map) == 0
    assert find_pairs(find_pivots(moving, Prefilter(64), map), np.arange(2000), (), map).level.size == 0
