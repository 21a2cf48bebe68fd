"""Covers on disk: grown where the first faces are as they were, else made anew; the bytes are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.dedupe.stored import write_cover

from .conftest import walks


def faces(count: int, seed: int = 0) -> pa.Table:
    quality = np.random.default_rng(seed).integers(0, 9, 400).astype(np.float32)[:count]
    return pa.table({"face_id": [f"f{i:05d}" for i in range(count)], "quality": quality})


def test_a_longer_list_grows_the_cover_to_the_same_bytes(tmp_path: Path):
    vectors, grown, anew = walks(8, 50, 16, 0.3), tmp_path / "grown.parquet", tmp_path / "anew.parquet"
    assert not write_cover(grown, faces(250), vectors[:250], 0.9, "cpu")
    for count in (250, 300, 400):
        assert write_cover(grown, faces(count), vectors[:count], 0.9, "cpu")
        assert not write_cover(anew.with_stem(f"anew{count}"), faces(count), vectors[:count], 0.9, "cpu")
        assert grown.read_bytes() == anew.with_stem(f"anew{count}").read_bytes()


@pytest.mark.parametrize("what", ["vector", "quality", "id", "threshold", "fewer", "damaged", "missing"])
def test_whatever_changed_is_covered_anew(tmp_path: Path, what: str):
    vectors, path, table = walks(8, 50, 16, 0.3), tmp_path / "clusters.parquet", faces(400)
    write_cover(path, faces(300), vectors[:300], 0.9, "cpu")
    threshold, count = 0.9, 400
    if what == "vector":
        vectors[7] = vectors[8]
    elif what == "quality":
        table = faces(400, seed=1)
    elif what == "id":
        table = table.set_column(0, "face_id", pa.array(["other", *table["face_id"].to_pylist()[1:]]))
    elif what == "threshold":
        threshold = 0.8
    elif what == "fewer":
        count = 299
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    table, vectors = table[:count], vectors[:count]
    assert not write_cover(path, table, vectors, threshold, "cpu")
    write_cover(tmp_path / "anew.parquet", table, vectors, threshold, "cpu")
    assert path.read_bytes() == (tmp_path / "anew.parquet").read_bytes()
