from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.storage import thrift
from curate.storage.parquet import with_metadata, write_batches
from curate.storage.row_groups import JoinedFile, read_footer

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("maybe", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("vector", pa.list_(pa.float16(), 8)),
        ("seen", pa.bool_()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


def rows(count: int, seed: int, size: int = 300) -> pa.Table:
    rng = np.random.default_rng(seed)
    floats = rng.standard_normal(count * 4).astype(np.float32)
    halves = rng.standard_normal(count * 8).astype(np.float16)
    columns = [
        pa.array([f"v{seed}-{k:07d}" for k in range(count)], pa.string()),
        pa.array([None if k % 3 else k / 7 for k in range(count)], pa.float32()),
        pa.FixedSizeListArray.from_arrays(pa.array(floats), 4),
        pa.FixedSizeListArray.from_arrays(pa.array(halves), 8),
        pa.array([bool(k % 2) for k in range(count)], pa.bool_()),
        pa.array([{"bytes": rng.bytes(size), "path": f"{k}.jpg"} for k in range(count)], SCHEMA.field("image").type),
    ]
    return pa.table(columns, schema=SCHEMA)


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=18), min_size=1, max_size=4))
def test_copied_row_groups_are_those_that_arrow_writes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    tables = [[rows(count, 20 * k + n) for n, count in enumerate(counts)] for k, counts in enumerate(sizes)]
    for k, groups in enumerate(tables):
        write_batches(folder / f"{k}", SCHEMA, groups, {"of": k})
    write_batches(folder / "plain", SCHEMA, [table for groups in tables for table in groups], {"all": len(sizes)})
    with JoinedFile(folder / "joined", with_metadata(SCHEMA, {"all": len(sizes)})) as joined:
        for k in range(len(sizes)):
            with (folder / f"{k}").open("rb") as file:
                footer = read_footer(file)
                assert joined.fits(footer) and [group.rows for group in footer.groups] == sizes[k]
                joined.copy(file, footer.groups)
    written = (folder / "joined").read_bytes()
    assert written == (folder / "plain").read_bytes()
    assert joined.sha256 == hashlib.sha256(written).hexdigest()


def test_tables_and_some_groups_of_a_file_make_one(tmp_path: Path) -> None:
    tables = [rows(50, k, size=5000) for k in range(5)]  # dictionaries that are given up, long footers
    write_batches(tmp_path / "piece", SCHEMA, tables)
    write_batches(tmp_path / "plain", SCHEMA, [tables[0], *tables[2:4], tables[1]])
    with JoinedFile(tmp_path / "joined", SCHEMA) as joined, (tmp_path / "piece").open("rb") as piece:
        joined.write(tables[0])
        joined.copy(piece, read_footer(piece).groups[2:4])
        joined.write(tables[1])
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "plain").read_bytes()
    assert pq.read_table(tmp_path / "joined")["name"].to_pylist()[50:100] == tables[2]["name"].to_pylist()


def test_groups_of_another_schema_or_writer_do_not_fit(tmp_path: Path) -> None:
    other = rows(3, 0).drop_columns(["seen"])
    write_batches(tmp_path / "other", other.schema, [other])
    pq.write_table(rows(3, 0), tmp_path / "version", compression="zstd", version="1.0")
    with JoinedFile(tmp_path / "joined", SCHEMA) as joined:
        for name in ("other", "version"):
            with (tmp_path / name).open("rb") as file:
                assert not joined.fits(read_footer(file))


@pytest.mark.parametrize("left", [0, 4, 11, 200, -9])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, left: int) -> None:
    write_batches(tmp_path / "whole", SCHEMA, [rows(9, 0)])
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:left])
    with (tmp_path / "cut").open("rb") as file, pytest.raises(ValueError, match="Parquet"):
        read_footer(file)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_read_as_they_were_written(value: int) -> None:
    found: list[thrift.Integer] = []
    data = bytes([1 << 4 | 6]) + thrift.integer(value) + b"\0"
    assert thrift.integers(data, 0, {1: "it"}, found) == len(data)
    assert found == [(1, len(data) - 1, value, "it")]
