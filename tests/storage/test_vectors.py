from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.run.video import vectors_table
from curate.storage import vectors
from curate.storage.parquet import write_batches


def write(folder: Path) -> tuple[list[Path], np.ndarray]:
    rows = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float16)
    paths = [folder / "a.parquet", folder / "b.parquet"]
    for path, part in zip(paths, np.split(rows, [17]), strict=True):
        table = vectors_table([str(number) for number in range(len(part))], part.astype(np.float32))
        write_batches(path, table.schema, [table[:5], table[5:]])
    return paths, rows


def test_many_vectors_are_a_map_of_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, rows = write(tmp_path)
    few = vectors.read_vectors(paths, tmp_path)
    monkeypatch.setattr(vectors, "IN_MEMORY", 0)
    many = vectors.read_vectors(paths, tmp_path)
    for found in (few, many):
        assert found.dtype == np.float16 and (found == rows).all() and not found.flags.writeable
    assert isinstance(many, np.memmap) and not isinstance(few, np.memmap)
    vectors.let_go(many[3:])
    assert (many == rows).all()
    assert sorted(tmp_path.iterdir()) == paths
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"b\.parquet: is cut off or damaged"):
        vectors.read_vectors(paths, tmp_path)
