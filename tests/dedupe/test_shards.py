"""The cover of shards, wherever they are visited, is that of the whole."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedupe.covers import Cover, cover
from curate.dedupe.shards import cover_sharded
from curate.errors import UsageError
from curate.run import cluster
from curate.storage.parquet import write_table

from .conftest import walks


def joined(parts: list[Cover]) -> list[bytes]:
    return [np.concatenate(part).tobytes() for part in zip(*parts, strict=True)]


def whole(found: Cover) -> list[bytes]:
    return [part.tobytes() for part in found]


@settings(max_examples=60)
@given(
    st.integers(0, 99),
    st.lists(st.integers(0, 90), max_size=4),
    st.sampled_from([0.6, 0.8, 0.9, 1.0]),
    st.integers(1, 40),
)
def test_shards_of_any_size_give_the_cover_of_the_whole(seed, cuts, threshold, levels):
    vectors = walks(3, 30, 6, 0.3, seed)
    shuffle = np.random.default_rng(seed).permutation(len(vectors)) if seed % 2 else np.arange(len(vectors))
    vectors = vectors[shuffle]
    priority = np.random.default_rng(seed).integers(0, levels, len(vectors))
    bounds = sorted(cuts)
    parts = cover_sharded(np.split(vectors, bounds), threshold, np.split(priority, bounds))
    assert joined(parts) == whole(cover(vectors, threshold, priority))


def test_processes_that_read_files_give_the_same_bits(tmp_path: Path):
    vectors = walks(12, 50, 16, 0.3)
    priority = np.random.default_rng(0).random(len(vectors))
    np.save(tmp_path / "first.npy", vectors[:250])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[250:].ravel()), 16)
    write_table(tmp_path / "second.parquet", pa.table({"vector": column}))
    shards = [tmp_path / "first.npy", tmp_path / "second.parquet"]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        parts = cover_sharded(shards, 0.9, np.split(priority, [250]), workers.map, tmp_path)
    assert joined(parts) == whole(cover(vectors, 0.9, priority))


def test_a_dask_cluster_gives_the_same_bits(tmp_path: Path):
    vectors = walks(12, 50, 16, 0.3)
    priority = np.random.default_rng(0).random(len(vectors))
    np.save(tmp_path / "first.npy", vectors[:250])
    shards = [tmp_path / "first.npy", vectors[250:260], vectors[260:]]
    with cluster.Executor(2).connect() as client:
        parts = cover_sharded(shards, 0.9, np.split(priority, [250, 260]), cluster.over(client), tmp_path)
        assert joined(parts) == whole(cover(vectors, 0.9, priority))
        with pytest.raises(UsageError, match="shard 1: vectors: row 2 is zero"):
            cover_sharded(
                [vectors[:, :3] * 0 + np.eye(3, dtype=np.float16)[0], np.diag([1, 1, 0]).astype(np.float16)],
                0.9,
                run=cluster.over(client),
            )


def test_no_shards_and_bad_ones(tmp_path: Path):
    assert cover_sharded([], 0.9) == []
    with pytest.raises(UsageError, match="cannot be read as vectors"):
        cover_sharded([tmp_path / "none.npy"], 0.9)
    with pytest.raises(UsageError, match="shard 1: vectors: row 2 is zero"):
        cover_sharded([np.eye(3, dtype=np.float16), np.diag([1, 1, 0]).astype(np.float16)], 0.9)
    with pytest.raises(UsageError, match="one width"):
        cover_sharded([np.eye(3, dtype=np.float16), np.eye(4, dtype=np.float16)], 0.9)
