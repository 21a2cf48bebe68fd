from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import UsageError
from curate.run.pieces import vectors_table
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


@pytest.mark.parametrize(
    "kind",
    [
        {"compression": "zstd", "use_dictionary": False, "data_page_size": 64},
        {"compression": "zstd", "use_dictionary": True},
        {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0"},
        {
            "compression": "zstd",
            "use_dictionary": False,
            "column_encoding": {"vector.list.element": "BYTE_STREAM_SPLIT"},
        },
        {"compression": "snappy"},
    ],
)
def test_vectors_are_the_same_however_their_pages_are_written(tmp_path: Path, kind: dict[str, object]) -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 6)).astype(np.float16)
    table = vectors_table([str(number) for number in range(len(rows))], rows.astype(np.float32))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1700, **kind)
    assert (vectors.read_vectors([tmp_path / "a.parquet"], tmp_path) == rows).all()


def test_damage_of_a_page_is_named(tmp_path: Path) -> None:
    paths, _ = write(tmp_path)
    layout = pq.ParquetFile(paths[0]).metadata.row_group(1).column(1)
    data = paths[0].read_bytes()
    start, size = layout.data_page_offset, layout.total_compressed_size
    for damage in (bytes(size), b"\xff" * size, data[start : start + 8] + bytes(size - 8)):
        paths[0].write_bytes(data[:start] + damage + data[start + size :])
        with pytest.raises(UsageError, match=r"a\.parquet: is cut off or damaged"):
            vectors.read_vectors(paths, tmp_path)


FREED = """
import sys
from pathlib import Path
import numpy as np
from curate.storage import vectors
if sys.argv[1] == "return":
    vectors.return_large_blocks()
np.ones(20 << 20, np.uint8)  # the C library keeps blocks of that size from now on
held = [np.ones(10 << 20, np.uint8) for _ in range(20)]
del held[::2]
print(int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of this C library")
def test_large_blocks_go_back_to_the_system_between_others_that_stay() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}  # Dask sets one
    command = [sys.executable, "-c", FREED]
    kept, returned = (
        int(subprocess.run([*command, how], check=True, capture_output=True, text=True, env=plain).stdout)
        for how in ("keep", "return")
    )
    assert returned < kept - 80
