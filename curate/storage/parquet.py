"""Parquet written whole, streaming and to the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.errors import UsageError, one_line
from curate.hardware import cores
from curate.storage import schemas
from curate.storage.files import atomic_write

METADATA = b"curate"
"""Key of a file's schema metadata that holds our JSON."""
WRITTEN_AGAIN = "delete it and run the same command that wrote it again"


def with_metadata(schema: pa.Schema, metadata: dict[str, Any] | None) -> pa.Schema:
    """`schema` carrying `metadata` as JSON (keys sorted, so that equal metadata are equal bytes)."""
    if metadata is None:
        return schema
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    return schema.with_metadata({**(schema.metadata or {}), METADATA: text.encode()})


def rows_where(table: pa.Table, keep: Sequence[bool]) -> pa.Table:
    """The rows that are to be kept, in order; of any type, also of those (views) that `Table.filter` does not know."""
    if not table.num_columns:
        return table.slice(0, sum(keep))
    runs = [(kept, len(list(run))) for kept, run in groupby(keep)]
    pieces, first = [table.slice(0, 0)], 0
    for kept, count in runs:
        if kept:
            pieces.append(table.slice(first, count))
        first += count
    return pa.concat_tables(pieces)


def table_digest(table: pa.Table) -> str:
    """Hex digest of a table's rows and types, however it is cut into pieces."""
    sink = _Hashed()
    pq.write_table(table.combine_chunks(), pa.PythonFile(sink, "w"))
    return sink.hash.hexdigest()


class _Hashed(io.RawIOBase):
    """A file that keeps nothing of what is written but its hash, and how much it was."""

    def __init__(self) -> None:
        self.hash, self._size = hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self._size += len(data)
        return len(data)


def metadata_of(path: Path) -> dict[str, Any]:
    """The JSON under our key in a Parquet file; empty where there is none."""
    with damage_named(path):
        text = (pq.read_schema(path).metadata or {}).get(METADATA)
        return dict(json.loads(text)) if text else {}


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Around reading a Parquet file of a build: what is cut off or damaged becomes one line that names it.

    Raises:
        UsageError: the file is missing or damaged.
    """
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; {WRITTEN_AGAIN}") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(f"{path}: is cut off or damaged ({one_line(error, 120)}); {WRITTEN_AGAIN}") from None


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, for reading piece by piece.

    Raises:
        UsageError: see `damage_named`.
    """
    with damage_named(path):
        return pq.ParquetFile(path)


def write_table(path: Path, table: pa.Table, metadata: dict[str, Any] | None = None) -> None:
    """Writes one table, whole or not at all."""
    write_batches(path, table.schema, [table], metadata)


def write_batches(
    path: Path,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes tables one after another, whole or not at all, holding one at a time; each is a row group."""
    schema = with_metadata(schema, metadata)
    with atomic_write(path) as temporary, parquet_writer(temporary, schema) as writer:
        for table in tables:
            writer.write_table(completed(table, schema))


def parquet_writer(where: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes tables as all files of a build are written, each as a row group.

    Numbers of vectors hardly repeat, so that a dictionary of them would make files a fifth larger, and reading three
    times as slow.
    """
    dictionary = [name for name in schema.names if name != "vector"] if "vector" in schema.names else True
    return pq.ParquetWriter(where, schema, compression="zstd", use_dictionary=dictionary)


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in a schema, with columns that came later, null, where it lacks them."""
    if table.schema.equals(schema):
        return table
    for name in schemas.LATER:
        if name in schema.names and name not in table.column_names:
            place = schema.get_field_index(name)
            table = table.add_column(place, name, pa.nulls(len(table), schema.field(name).type))
    return table.cast(schema)


def read_rows(path: Path, rows: NDArray[np.int64], columns: list[str]) -> Iterator[pa.Table]:
    """Some rows of a Parquet file, in order, a row group at a time; groups that hold none are not read.

    Args:
        rows: int64, ascending.
    """
    file = open_parquet(path)
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)]
        if len(here):
            with damage_named(path):
                table = file.read_row_group(group, columns=columns)
            yield table.take(pa.array(here - first))
        first += count


TAIL = 1 << 16
"""Bytes of a remote file that are read first: most have all their metadata there."""


def get_columns(system: Any, path: str, target: Path, without: str = "image") -> None:
    """Brings a Parquet file here, but for one column (of structs), where the copy has a hole.

    Args:
        system: a file system of fsspec.
        path: of the file there.
        target: an empty file.
    """
    size = int(system.info(path)["size"])
    with target.open("r+b") as file:
        file.truncate(size)
        tail = system.cat_file(path, start=max(0, size - TAIL), end=size)
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if needed > len(tail):
            tail = system.cat_file(path, start=max(0, size - needed), end=size)
        file.seek(size - len(tail))
        file.write(tail)
        file.flush()
        ranges = _ranges(pq.read_metadata(target), without)
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        parts = system.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
        for start, data in zip(starts, parts, strict=True):
            file.seek(start)
            file.write(data)


def _ranges(metadata: pq.FileMetaData, without: str) -> list[tuple[int, int]]:
    """Start and end of runs of columns that are wanted, in bytes."""
    found: list[tuple[int, int]] = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.startswith(f"{without}."):
                continue
            start = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset is not None:
                start = min(start, column.dictionary_page_offset)
            end = start + column.total_compressed_size
            if found and found[-1][1] == start:
                found[-1] = found[-1][0], end
            else:
                found.append((start, end))
    return found


def take_rows(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> pa.Array:
    """Some rows of a column, without joining its chunks: of all faces they may hold more text than one array can.

    Args:
        rows: int64, ascending.
    """
    stops = np.cumsum([len(chunk) for chunk in column.chunks], dtype=np.int64)
    bounds = np.concatenate(([0], np.searchsorted(rows, stops)))
    parts = [
        chunk.take(pa.array(rows[bounds[k] : bounds[k + 1]] - (stops[k] - len(chunk))))
        for k, chunk in enumerate(column.chunks)
        if bounds[k + 1] > bounds[k]
    ]
    return pa.concat_arrays(parts) if parts else pa.array([], column.type)


def named_in(column: pa.ChunkedArray, names: pa.ChunkedArray) -> NDArray[np.bool_]:
    """bool [N]: which texts of a column are among some names; both may hold more text than 32-bit offsets reach."""
    wanted = names.cast(pa.large_string()).combine_chunks()
    found = np.empty(len(column), np.bool_)
    at = 0
    for chunk in column.chunks:
        there = pc.is_in(chunk.cast(pa.large_string()), value_set=wanted)
        found[at : at + len(chunk)] = there.to_numpy(zero_copy_only=False)
        at += len(chunk)
    return found


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file as a table; folder names are never read as columns."""
    with damage_named(path):
        return pq.read_table(path, columns=columns, partitioning=None)


def read_tables(paths: list[Path], columns: list[str] | None = None) -> pa.Table:
    """Parquet files as one table, in order, some at once; columns that a file lacks are null there."""

    def read(path: Path) -> pa.Table:
        with damage_named(path):
            return pq.ParquetFile(path).read(columns, use_threads=False)

    with ThreadPoolExecutor(cores()) as pool:
        table = pa.concat_tables(list(pool.map(read, paths)), promote_options="default")
    return table.select(table.column_names if columns is None else columns)
