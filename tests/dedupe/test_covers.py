"""Covers: the definition, whatever the sizes of blocks, threads and precision; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.dedupe import assignment, cosine, covers, engine, greedy, paired, pairs, pivots, prefilter_torch
from curate.dedupe.cosine import check
from curate.dedupe.covers import cover
from curate.dedupe.prefilter import Prefilter
from curate.dedupe.prefilter_torch import TorchPrefilter
from curate.errors import UsageError

from .conftest import cover_by_definition, unit, walks

THRESHOLDS = st.one_of(
    st.floats(0.01, 1.0), st.sampled_from([1.0, 0.5, 0.9, 0.99, 1e-6, 5e-324, float(np.nextafter(1, 0)), 0.8])
)

PRECISIONS = ("numpy", "float32", "bfloat16")
"""numpy's products, and torch's two."""


def compute(patch: pytest.MonkeyPatch, precision: str) -> None:
    """Has products made in one of `PRECISIONS`."""
    patch.setattr(prefilter_torch, "bfloat16_is_faster", lambda: precision == "bfloat16")
    if precision == "numpy":
        patch.setattr(engine, "torch_here", lambda: None)


@st.composite
def collections(draw: st.DrawFn) -> np.ndarray:
    """float16 unit rows: coarse grids give many ties and equal rows, walks give chains, jitter gives near-ties."""
    kind = draw(st.sampled_from(["grid", "walk", "jitter"]))
    count, width = draw(st.integers(0, 40)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == "grid":
        rows = draw(arrays(np.int8, (count, width), elements=st.integers(-2, 2))).astype(np.float64)
        rows[np.abs(rows).sum(axis=1) == 0, 0] = 1
        return unit(rows).astype(np.float16)
    if kind == "walk":
        return walks(3, max(1, -(-count // 3)), max(width, 2), draw(st.floats(0, 0.5)), int(rng.integers(99)))[:count]
    base = unit(rng.standard_normal((3, width)))[rng.integers(0, 3, count)]
    return unit(base + 0.02 * rng.standard_normal((count, width))).astype(np.float16)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few rows fill several of each."""
    for module, name, value in (
        (pivots, "SEGMENT", 8),
        (assignment, "SEGMENT", 8),
        (pivots, "RUN", 4),
        (pivots, "BLOCK", 3),
        (assignment, "BLOCK", 3),
        (pivots, "LONELY", 0.8),
        (pairs, "SEGMENT", 8),
        (pairs, "BLOCK", 3),
        (pairs, "GROUP", 2),
        (pairs, "WIDE", 4),
        (paired, "AT_ONCE", 5),
        (greedy, "FIRST", 6),
        (greedy, "MOST", 12),
        (greedy, "BLOCK", 3),
        (assignment, "GROUP", 2),
    ):
        monkeypatch.setattr(module, name, value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    *(collections(), THRESHOLDS, st.integers(0, 3), st.sampled_from(PRECISIONS), st.booleans(), st.booleans()),
    *(st.sampled_from(pivots.ALIKE), st.integers(0, 2**31)),
)
def test_a_cover_is_what_its_definition_says(tiny, vectors, threshold, levels, precision, held, by_pairs, alike, seed):
    priority = np.random.default_rng(seed).integers(0, levels, len(vectors)) if levels else None
    with pytest.MonkeyPatch.context() as patch:
        compute(patch, precision)
        patch.setattr(pivots, "HELD", 1 << 30 if held else 0)
        patch.setattr(pivots, "ALIKE", (alike,))
        patch.setattr(covers, "cheapest", lambda *_: 0 if by_pairs else 1)
        found = cover(vectors, threshold, priority, threads=1)
    cluster, representative, similarity = cover_by_definition(vectors, threshold, priority)
    assert found.representative.tolist() == representative
    assert found.cluster.tolist() == cluster
    assert found.similarity.tolist() == np.array(similarity, np.float32).tolist()
    assert (found.cluster.dtype, found.representative.dtype, found.similarity.dtype) == (np.int64, bool, np.float32)


def test_large_covers_do_not_depend_on_blocks_threads_precision_or_kind_of_memory(tmp_path: Path):
    vectors = walks(60, 100, 48, 0.2)
    vectors[1000:1200] = vectors[3000:3200]  # copies
    priority = np.random.default_rng(1).integers(0, 50, len(vectors))
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    base = cover(vectors, 0.9, priority, threads=1)
    assert 0.05 < base.representative.mean() < 0.5
    others = [
        cover(vectors, 0.9, priority, threads=2),
        cover(mapped, 0.9, priority),
        cover(vectors.astype(np.float32), 0.9, priority),
    ]
    for sizes in ((64, 16, 8, 32), (1024, 128, 4096, 2048), (96, 32, 5, 7)):
        with pytest.MonkeyPatch.context() as patch:
            for module in (pivots, assignment):
                patch.setattr(module, "SEGMENT", sizes[0])
            patch.setattr(pivots, "RUN", sizes[1])
            patch.setattr(greedy, "FIRST", sizes[2])
            patch.setattr(greedy, "BLOCK", sizes[3])
            compute(patch, PRECISIONS[len(others) % 3])
            others.append(cover(vectors, 0.9, priority))
    for other in others:
        for mine, its in zip(base, other, strict=True):
            assert mine.tobytes() == its.tobytes()


def test_rows_in_another_order_with_the_same_priorities_give_the_same_faces():
    vectors = walks(20, 40, 24, 0.25)
    priority = np.random.default_rng(0).permutation(len(vectors))
    shuffle = np.random.default_rng(1).permutation(len(vectors))
    straight, mixed = cover(vectors, 0.85, priority), cover(vectors[shuffle], 0.85, priority[shuffle])
    for mine, its in zip(straight, mixed, strict=True):
        assert (mine[shuffle] == its).all()


def test_chains_never_merge_unlike_faces():
    angles = np.linspace(0, np.pi, 400)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    found = cover(vectors, 0.9)
    assert found.representative.sum() > 5
    assert found.similarity.min() >= np.float32(0.9)


def test_nothing_and_one():
    empty = cover(np.empty((0, 16), np.float16), 0.9)
    assert [len(part) for part in empty] == [0, 0, 0]
    one = cover(np.array([[0.6, 0.8]], np.float16), 0.9)
    assert (one.cluster.tolist(), one.representative.tolist(), one.similarity.tolist()) == ([0], [True], [1.0])


def test_equal_rows_are_one_at_threshold_one_and_others_are_not():
    rows = unit(np.random.default_rng(0).standard_normal((300, 64))).astype(np.float16)
    found = cover(np.concatenate([rows, rows]), 1.0)
    assert found.representative.tolist() == [True] * 300 + [False] * 300
    assert found.cluster.tolist() == [*range(300), *range(300)]
    assert (found.similarity == 1).all()


def test_one_still_picture_a_thousandfold():
    rng = np.random.default_rng(0)
    still = unit(unit(rng.standard_normal(32)) + 0.001 * rng.standard_normal((5000, 32))).astype(np.float16)
    found = cover(still, 0.9, rng.random(5000))
    assert found.representative.sum() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "row 3 holds NaN"),
        (np.inf, "row 3 holds NaN or inf"),
        (0.0, "row 3 is zero"),
        (0.7, "row 3 has length"),
    ],
)
def test_unfit_rows_are_named(dtype, value, said):
    vectors = np.zeros((9000, 4), dtype)
    vectors[:, 1] = 1
    vectors[3, 1] = value
    vectors[8999] = np.nan
    with pytest.raises(UsageError, match=said):
        cover(vectors, 0.9)
    if not np.isfinite(value):
        vectors[3] = [0, 1, 0, 0]
        with pytest.raises(UsageError, match="row 8999"):
            cover(vectors, 0.9)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.0000001, float("nan"), float("inf")])
def test_thresholds_outside_are_refused(threshold):
    with pytest.raises(UsageError, match="threshold"):
        cover(np.array([[1.0, 0.0]], np.float16), threshold)


@pytest.mark.parametrize(
    ("vectors", "priority", "said"),
    [
        (np.ones(4, np.float16), None, "shape"),
        (np.ones((2, 2, 2), np.float16), None, "shape"),
        (np.ones((3, 0), np.float16), None, "shape"),
        (np.ones((1, 1), np.float64), None, "dtype float64"),
        (np.ones((1, 1), np.int8), None, "dtype int8"),
        (np.ones((2, 1), np.float16), [1.0], "priority: shape"),
        (np.ones((2, 1), np.float16), [1.0, np.nan], "priority: row 1 is NaN"),
    ],
)
def test_wrong_shapes_and_kinds_are_refused(vectors, priority, said):
    with pytest.raises(UsageError, match=said) as error:
        cover(vectors, 0.9, priority)
    assert "\n" not in str(error.value)


@settings(max_examples=60)
@given(collections().filter(len), st.sampled_from(PRECISIONS))
@example(np.full((1, 7), 0.378, np.float16), "bfloat16")  # rounded, it is longer than 1
def test_products_are_within_the_error_of_the_prefilter(vectors, precision):
    rows = check(vectors)
    numpy = precision == "numpy"
    fast = Prefilter(rows.width) if numpy else TorchPrefilter(rows.width, bfloat16=precision == "bfloat16")
    loaded = fast.load(rows.unit(slice(None)))
    left, right, products = fast.above(loaded, loaded, np.full(len(rows), -2, np.float32))
    assert len(left) == len(rows) ** 2
    assert np.abs(products - rows.cosines(left, right)).max() <= fast.error(loaded, loaded)


def test_torch_settings_are_left_as_they_were():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    cover(walks(4, 20, 8, 0.2), 0.9, threads=2)
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_bits():
    vectors = walks(60, 100, 48, 0.2)
    priority = np.random.default_rng(1).integers(0, 50, len(vectors))
    for mine, its in zip(cover(vectors, 0.9, priority), cover(vectors, 0.9, priority, device="cuda"), strict=True):
        assert mine.tobytes() == its.tobytes()


def test_cells_are_small_where_large_ones_rule_out_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 512 numbers strangers have cosines near 0: at 0.4 cells of 26 degrees let all through, smaller ones do not."""
    persons = walks(60, 64, 512, 0.05)
    rows = check(persons)
    chosen = {t: pivots.find_pivots(rows, Prefilter(512), map, (t,)).alike for t in (0.4, 0.99)}
    assert chosen[0.4] > chosen[0.99] == pivots.ALIKE[0]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux' account of mapped memory")
def test_a_map_is_never_in_memory_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "vectors.npy"
    np.save(path, walks(300, 100, 256, 0.168))
    mapped = np.load(path, mmap_mode="r")
    assert mapped.sum(dtype=np.float64) != 0
    whole = resident_mb(path)
    assert whole > 14
    monkeypatch.setattr(cosine, "PAGES", 1 << 20)
    monkeypatch.setattr(cosine, "SCATTERED", 32)
    monkeypatch.setattr(pivots, "HELD", 0)
    rows = check(mapped)
    assert resident_mb(path) < whole / 4
    picked = rows.some(np.random.default_rng(1).permutation(30_000))
    assert len(picked) == 30_000
    assert resident_mb(path) < whole / 4
    found = pivots.find_pivots(rows, Prefilter(256), map)
    assert len(found.blocks) > 1
    assert resident_mb(path) < whole / 4


def resident_mb(path: Path) -> float:
    """Memory that the pages of a mapped file take."""
    parts = Path("/proc/self/smaps").read_text().split(str(path))[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in parts) / 1024
