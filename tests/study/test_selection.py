"""Rules of choosing faces, against their definitions written down plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from curate.errors import UsageError
from curate.storage.build import Build
from curate.storage.parquet import metadata_of, read_table
from curate.study import clustering, deduplication
from curate.study.grid import IN_SPACE, SEEDED, Selection
from curate.study.selection import Pool, choose, cut, evenly
from tests.manifests.conftest import unit

RULES = (
    "random",
    "uniform",
    "semdedup",
    "components",
    "hierarchical_kmeans",
    "k_centre",
    "more_videos",
    "fewer_videos",
)


def faces(count: int, videos: int, seed: int, width: int = 8) -> Pool:
    rng = np.random.default_rng(seed)
    base = unit(rng.standard_normal((max(2, count // 4), width)))
    vectors = unit(base[rng.integers(0, len(base), count)] + 0.1 * rng.standard_normal((count, width)))
    return Pool(
        np.sort(rng.integers(0, videos, count)),
        vectors.astype(np.float32),
        rng.integers(0, 2**63, count).astype(np.uint64),
        rng.permutation(count),
    )


def wanted(rule: str, size: int | None, seed: int = 0, threshold: float | None = None) -> Selection:
    return Selection("main", "", rule, size, None, "appearance", threshold, None, None, seed)  # type: ignore[arg-type]


@given(rule=st.sampled_from(RULES), count=st.integers(30, 120), share=st.floats(0.3, 1), seed=st.integers(0, 50))
@settings(max_examples=60)
def test_every_rule_gives_exactly_the_faces_asked_for_once_and_the_same_again(
    rule: str, count: int, share: float, seed: int
) -> None:
    offered = faces(count, 5, seed)
    size = max(1, int(share * count))
    try:
        found = choose(offered, wanted(rule, size, seed))
    except UsageError as error:
        assert rule == "components" and "falls into" in str(error)
        return
    assert len(found) == size and len(np.unique(found)) == size and (np.diff(found) > 0).all()
    assert found[0] >= 0 and found[-1] < count
    assert np.array_equal(found, choose(offered, wanted(rule, size, seed)))


@pytest.mark.parametrize("rule", RULES)
def test_more_faces_than_there_are_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="sizes from 1 to 40"):
        choose(faces(40, 3, 0), wanted(rule, 41))


@given(st.integers(20, 80), st.floats(0.5, 0.99), st.integers(0, 20))
@settings(max_examples=30)
def test_components_are_those_of_the_graph(count: int, threshold: float, seed: int) -> None:
    offered = faces(count, 3, seed)
    found = deduplication.components(offered.vectors, offered.rank, None, threshold)
    products = offered.vectors @ offered.vectors.T
    np.fill_diagonal(products, -2)
    nearest = np.argsort(-products, axis=1)[:, : deduplication.NEIGHBOURS]
    left = np.repeat(np.arange(count), nearest.shape[1])
    right = nearest.ravel()
    strong = products[left, right] >= threshold
    graph = coo_matrix((np.ones(strong.sum()), (left[strong], right[strong])), (count, count))
    number, label = connected_components(graph, directed=False)
    assert len(found) == number and len(set(label[found])) == number
    for row in found:  # the best of its component
        assert offered.rank[row] == offered.rank[label == label[row]].max()


def test_fewer_components_come_from_a_lower_threshold() -> None:
    offered = faces(100, 3, 1)
    few, many = (set(deduplication.components(offered.vectors, offered.rank, n, None).tolist()) for n in (30, 60))
    assert few < many


@given(st.integers(20, 90), st.floats(0.5, 0.99), st.integers(0, 20))
@settings(max_examples=30)
def test_semdedup_drops_what_is_like_an_earlier_face_of_its_cell(count: int, threshold: float, seed: int) -> None:
    offered = faces(count, 3, seed)
    found = set(deduplication.semdedup(offered.vectors, None, threshold, seed).tolist())
    cell, centres = clustering.kmeans(offered.vectors, max(1, round(count / deduplication.PER_CELL)), seed)
    for number in set(cell.tolist()):
        members = np.flatnonzero(cell == number)
        members = members[np.argsort(offered.vectors[members] @ centres[number], kind="stable")]
        for place, row in enumerate(members):
            earlier = offered.vectors[members[:place]] @ offered.vectors[row]
            nearest = earlier.max(initial=-1.0)
            if abs(nearest - threshold) > 1e-5:
                assert (int(row) in found) == (nearest <= threshold)


def test_semdedup_of_a_size_is_semdedup_at_some_threshold() -> None:
    offered = faces(90, 3, 2)
    by_size = deduplication.semdedup(offered.vectors, 40, None, 0)
    assert any(
        set(by_size.tolist()) == set(deduplication.semdedup(offered.vectors, None, threshold, 0).tolist())
        for threshold in np.linspace(0.9, 1.0, 2001)
    )


@given(st.integers(5, 60), st.integers(0, 20))
@settings(max_examples=30)
def test_k_centre_takes_the_farthest_face_each_time(count: int, seed: int) -> None:
    vectors = faces(count, 2, seed).vectors
    found = clustering.k_centre(vectors, count // 2, 0)
    for place in range(1, len(found)):
        nearest = (vectors @ vectors[found[:place]].T).max(axis=1)
        nearest[found[:place]] = 9
        assert nearest[found[place]] == pytest.approx(nearest.min(), abs=1e-6)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
))  # fmt: skip
def test_shares_are_as_even_as_the_holders_allow(case: tuple[list[int], int]) -> None:
    sizes, count = np.array(case[0]), case[1]
    shares = clustering.share_out(sizes, count)
    assert shares.sum() == count and (shares <= sizes).all() and (shares >= 0).all()
    open_ = shares < sizes
    if open_.any():  # who could give more gives no less than any other, but for one that cannot be split
        assert shares.max() - shares[open_].min() <= 1


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.just(total), st.integers(1, total))))
def test_places_at_equal_distances(case: tuple[int, int]) -> None:
    total, count = case
    found = evenly(total, count)
    assert len(np.unique(found)) == count and found[0] >= 0 and found[-1] < total
    assert len(found) < 3 or np.ptp(np.diff(found)) <= 1


def test_videos_many_or_few() -> None:
    offered = faces(200, 10, 3)
    sizes = np.bincount(offered.video)
    many = np.bincount(offered.video[choose(offered, wanted("more_videos", 50))], minlength=len(sizes))
    few = np.bincount(offered.video[choose(offered, wanted("fewer_videos", 50))], minlength=len(sizes))
    assert (many > 0).all() and many.max() - many[many < sizes].min() <= 1
    assert sum((few > 0) & (few < sizes)) <= 1 < sum(few == 0)


def test_kmeans_gives_every_row_its_nearest_centre() -> None:
    vectors = faces(300, 3, 4).vectors
    cell, centres = clustering.kmeans(vectors, 12, 0)
    assert np.array_equal(cell, (vectors @ centres.T).argmax(axis=1))
    assert len(np.unique(cell)) == 12
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)


def test_hierarchical_kmeans_takes_from_small_groups_too() -> None:
    """Nine tenths of the faces are alike; random would take so many of them."""
    rng = np.random.default_rng(0)
    heap = unit(np.eye(8)[0] + 0.05 * rng.standard_normal((900, 8)))
    rest = unit(np.eye(8)[rng.integers(1, 8, 100)] + 0.05 * rng.standard_normal((100, 8)))
    vectors = np.concatenate([heap, rest]).astype(np.float32)
    keys = rng.integers(0, 2**63, 1000).astype(np.uint64)
    found = clustering.hierarchical(vectors, keys, 100, 0)
    assert (found >= 900).sum() > 30


@pytest.mark.parametrize("rule", ["cover", *RULES, "full"])
def test_a_manifest_of_each_rule_is_cut(rule: str, build: Build, tmp_path: Path) -> None:
    size = None if rule == "full" else 40
    chosen = Selection(
        "main", "b", rule, size, 0.5 if rule == "cover" else None,  # type: ignore[arg-type]
        "appearance" if rule in IN_SPACE else None, None, None,
        "largest" if rule == "cover" else None, 3 if rule in SEEDED else None,
    )  # fmt: skip
    info = cut(build.path, chosen, tmp_path / "m.parquet")
    table = read_table(tmp_path / "m.parquet")
    assert table.num_rows == (size or len(build.faces(["face_id"])))
    assert metadata_of(tmp_path / "m.parquet")["rule"] == rule
    assert info.metadata.unique == len(set(table["cluster"].to_pylist()))
    if rule == "cover":
        assert info.metadata.unique == 20


def test_a_lower_rate_leaves_only_the_frames_that_it_would_have_seen(build: Build, tmp_path: Path) -> None:
    chosen = Selection("main", "b", "full", None, None, None, None, 1.0, None, None)
    cut(build.path, chosen, tmp_path / "m.parquet")
    kept = set(read_table(tmp_path / "m.parquet")["face_id"].to_pylist())
    faces_ = build.faces(["face_id", "time_s"]).to_pylist()
    assert kept == {face["face_id"] for face in faces_ if face["time_s"] == int(face["time_s"])}
    with pytest.raises(UsageError, match="at most"):
        cut(build.path, Selection("main", "b", "full", None, None, None, None, 9.0, None, None), tmp_path / "x.parquet")
