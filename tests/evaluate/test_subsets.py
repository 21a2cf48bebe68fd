"""Subsets: nested, seeded, independent of order; validation and folds keep subjects together."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.evaluate import subsets

names = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=60, unique=True)


@given(names, st.integers(0, 5), st.integers(1, 4))
def test_smaller_subsets_lie_in_larger_ones(ids: list[str], seed: int, classes: int) -> None:
    strata = [i % classes for i in range(len(ids))]
    for kind in (None, strata):
        chosen = [set(subsets.take(ids, kind, seed, fraction)) for fraction in (0.01, 0.02, 0.1, 0.5, 1.0)]
        assert all(small <= large for small, large in itertools.pairwise(chosen))
        assert [len(c) for c in chosen] == [math.ceil(len(ids) * f - 1e-9) for f in (0.01, 0.02, 0.1, 0.5, 1.0)]
        shots = [set(subsets.take(ids, kind, seed, shots=k)) for k in (1, 2, 5)]
        assert shots[0] <= shots[1] <= shots[2]
    assert len(shots[0]) == len(set(strata))


@given(names, st.integers(0, 5), st.randoms())
def test_order_of_files_does_not_matter(ids: list[str], seed: int, random: object) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    a = {ids[i] for i in subsets.take(ids, None, seed, 0.3)}
    assert a == {shuffled[i] for i in subsets.take(shuffled, None, seed, 0.3)}


def test_subsets_keep_proportions_and_differ_by_seed() -> None:
    ids = [str(i) for i in range(1000)]
    strata = [i % 10 == 0 for i in range(1000)]
    chosen = subsets.take(ids, strata, 0, 0.1)
    assert sum(strata[i] for i in chosen) == 10
    assert set(chosen) != set(subsets.take(ids, strata, 1, 0.1))


@given(names, st.floats(0.05, 0.9), st.integers(1, 8))
def test_validation_keeps_subjects_whole(ids: list[str], share: float, people: int) -> None:
    groups = [f"p{i % people}" for i in range(len(ids))]
    held = subsets.hold_out(ids, groups, share, 0)
    if len(ids) >= 2:
        assert held.any() and not held.all()
    if len(set(groups)) > 1:
        assert not {g for g, h in zip(groups, held, strict=True) if h} & {
            g for g, h in zip(groups, held, strict=True) if not h
        }


@given(names, st.integers(2, 6))
def test_folds_keep_subjects_whole_and_are_even(ids: list[str], count: int) -> None:
    groups = [f"p{i % 7}" for i in range(len(ids))]
    folds = subsets.assign_folds(ids, groups, None, count)
    for person in set(groups):
        assert len({int(f) for f, g in zip(folds, groups, strict=True) if g == person}) == 1
    single = subsets.assign_folds(ids, [None] * len(ids), None, count)
    sizes = np.bincount(single, minlength=count)
    assert sizes.max() - sizes.min() <= 1


def test_wrong_shares_are_refused() -> None:
    for wrong in ({"fraction": 0.0}, {"fraction": 1.5}, {"shots": 0}):
        with pytest.raises(UsageError):
            subsets.take(["a"], None, 0, **wrong)


def test_lists_are_published_with_their_hash(tmp_path: Path) -> None:
    digest = subsets.publish(tmp_path / "x", "ids", ["b", "a"], "two")
    assert (tmp_path / "x" / f"ids-{digest}.txt").read_text() == f"# two; sha256 of the lines below: {digest}\nb\na\n"
