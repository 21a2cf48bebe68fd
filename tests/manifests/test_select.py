"""Manifests of exact size and redundancy: nested, and refused with the truth."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.manifests.keys import random_keys
from curate.manifests.select import (
    LISTED,
    Layout,
    available,
    choose,
    choose_natural,
    clusters_wanted,
    largest,
    lay_out,
    redundancies,
)

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=40)
ORDERS = st.sampled_from(["largest", "random_walk"])
SHARES = st.one_of(st.floats(0, 0.99), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 0.95]))


def laid_out(sizes: list[int], seed: int, order: str) -> tuple[Layout, np.ndarray, np.ndarray]:
    """A layout of clusters of these sizes, with the faces shuffled; also clusters and representatives."""
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    representative = np.zeros(len(cluster), bool)
    for number in range(len(sizes)):
        representative[rng.choice(np.flatnonzero(cluster == number))] = True
    anchor_rank = np.where(representative, -1, np.arange(len(cluster)))
    keys = rng.permutation(len(cluster)).astype(np.uint64)
    return lay_out(cluster, anchor_rank, keys, None, order), cluster, representative


def there(found: Layout, size: int, redundancy: float) -> set[int] | None:
    try:
        return set(choose(found, size, redundancy).tolist())
    except UsageError:
        return None


@given(SIZES, SHARES, st.integers(0, 99), ORDERS)
def test_every_size_at_one_redundancy_is_exact_nested_or_truly_impossible(sizes, redundancy, seed, order):
    found, cluster, representative = laid_out(sizes, seed, order)
    before: set[int] = set()
    largest_seen = 0
    for size in range(1, len(cluster) + 2):
        wanted = clusters_wanted(size, redundancy)
        rows = there(found, size, redundancy)
        if rows is None:
            room = np.sort(np.bincount(cluster))[::-1][:wanted].sum()
            if order == "largest":
                assert wanted < 1 or wanted > len(sizes) or room < size
            continue
        chosen = np.array(sorted(rows))
        assert len(chosen) == size
        assert len(set(cluster[chosen])) == wanted
        assert representative[chosen].sum() == wanted
        assert before <= rows
        before, largest_seen = rows, size
    assert largest(found, redundancy) == largest_seen


@given(SIZES, SHARES, st.integers(0, 99), ORDERS, st.integers(1, 6))
def test_over_bins_manifests_are_exact_nested_and_as_even_as_can_be(sizes, redundancy, seed, order, count):
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    bin_of_cluster = rng.integers(0, count, len(sizes))
    keys = rng.permutation(len(cluster)).astype(np.uint64)
    found = lay_out(cluster, np.arange(len(cluster)), keys, None, order, bin_of_cluster[cluster])
    there_are = np.bincount(bin_of_cluster, minlength=count)
    before: set[int] = set()
    for size in range(1, len(cluster) + 1):
        rows = there(found, size, redundancy)
        if rows is None:
            continue
        clusters = np.unique(cluster[sorted(rows)])
        assert len(rows) == size and len(clusters) == clusters_wanted(size, redundancy) and before <= rows
        before = rows
        taken = np.bincount(bin_of_cluster[clusters], minlength=count)
        assert all(taken[b] >= taken.max() - 1 or taken[b] == there_are[b] for b in range(count))


@given(SIZES, st.integers(0, 99), ORDERS)
def test_what_is_listed_can_be_had_and_no_more(sizes, seed, order):
    found, _, _ = laid_out(sizes, seed, order)
    listed = available(found)
    assert dict(listed).keys() <= set(LISTED) and dict(listed)[0.0] == len(sizes)
    for redundancy, size in listed:
        assert there(found, size, redundancy) is not None
        assert all(there(found, more, redundancy) is None for more in range(size + 1, sum(sizes) + 2))


@given(SIZES, st.integers(1, 200), st.integers(0, 99), ORDERS)
def test_at_one_size_more_redundant_clusters_are_among_the_less_redundant(sizes, size, seed, order):
    found, cluster, _ = laid_out(sizes, seed, order)
    span = redundancies(found, size)
    shares = np.linspace(0, 0.99, 34)
    if span is None:
        assert size > len(cluster)
        assert all(there(found, size, r) is None for r in shares)
        return
    before: set[int] | None = None
    for redundancy in shares:
        rows = there(found, size, redundancy)
        outside = redundancy < span[0] - 0.5 / size - 1e-3 or redundancy > span[1] + 0.5 / size + 1e-3
        assert rows is None or not outside
        if span[0] <= redundancy <= span[1]:
            assert rows is not None
        if rows is not None:
            clusters = set(cluster[list(rows)].tolist())
            assert before is None or clusters <= before
            before = clusters
    assert there(found, size, span[0]) is not None
    assert there(found, size, span[1]) is not None


@given(SIZES, st.integers(1, 1000), SHARES, st.integers(0, 9), ORDERS)
def test_refusals_name_what_can_be_had_and_no_more(sizes, size, redundancy, seed, order):
    found, cluster, _ = laid_out(sizes, seed, order)
    if there(found, size, redundancy) is not None:
        return
    with pytest.raises(UsageError) as error:
        choose(found, size, redundancy)
    text = str(error.value)
    assert "\n" not in text
    most = re.search(r"the largest has (\d+)", text)
    if most:
        assert there(found, int(most[1]), redundancy) is not None
        assert all(there(found, more, redundancy) is None for more in range(int(most[1]) + 1, len(cluster) + 2))
    else:
        assert all(there(found, n, redundancy) is None for n in range(1, len(cluster) + 1))
    span = re.search(r"redundancy can be (\S+) to (\S+)", text)
    if span:
        assert there(found, size, float(span[1])) is not None
        assert there(found, size, float(span[2])) is not None


@given(st.integers(1, 300), st.integers(0, 5))
def test_natural_samples_are_nested_and_filters_hold(count, seed):
    ids = pa.array([f"face-{i}" for i in range(count)])
    keys = random_keys(ids, seed)
    among = np.arange(count) % 3 != 1
    before: set[int] = set()
    for size in range(1, int(among.sum()) + 1):
        rows = set(choose_natural(keys, size, among).tolist())
        assert len(rows) == size and before <= rows and all(among[list(rows)])
        before = rows
    with pytest.raises(UsageError, match=f"1 to {int(among.sum())}"):
        choose_natural(keys, count + 1, among)


def test_extras_come_from_all_chosen_clusters():
    found, cluster, _ = laid_out([100] * 50, 3, "largest")
    rows = choose(found, 2000, 0.975)  # all 50 clusters, two fifths of their faces
    taken = np.bincount(cluster[rows], minlength=50)
    assert (taken > 10).sum() >= 45  # the clusters that came last had the least time
    assert np.median(taken) > 30


@given(st.lists(st.text(max_size=20), max_size=30), st.integers(0, 2**70))
def test_keys_depend_on_id_and_seed_alone(ids, seed):
    keys = random_keys(pa.array(ids, pa.string()), seed)
    again = random_keys(pa.chunked_array([pa.array(ids[::-1], pa.string())]), seed)[::-1]
    padded = {text.encode().rstrip(b"\0") for text in ids}
    assert len(set(keys.tolist())) == len(padded)
    assert [keys[i] for i in range(len(ids))] == again.tolist() or any(len(t.encode()) > 8 for t in ids)


def test_keys_are_spread_evenly():
    keys = random_keys(pa.array([f"v-{i:07d}-00" for i in range(20000)]), 1)
    counts = np.histogram(keys.astype(np.float64) / 2.0**64, bins=20, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 150
    assert len(set(keys.tolist())) == 20000
