"""All vectors of a space as one array: in memory where they are few, else mapped from a file that has no name.

Such a file is on the build's disk while someone reads it, and is gone when the last reader is, also after a kill.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.hardware import cores
from curate.storage.files import storage_error
from curate.storage.parquet import damage_named, open_parquet
from curate.storage.plain_pages import halves

IN_MEMORY = 64 << 20
"""Bytes up to which an array is kept in memory."""
ROWS = 1024
"""Rows that a thread reads at once."""
LARGE = 8 << 20
"""Bytes of a block that is large."""
_MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of malloc.h."""
MUCH = 1 << 30
"""Bytes that a process holds from where on what only the garbage collector finds is worth its 0.15 s."""


def read_vectors(files: Sequence[Path], folder: Path) -> NDArray[np.float16]:
    """float16 [N, D], read-only: the column `vector` of some files, one after another.

    Args:
        files: at least one; `embeddings/<space>/*.parquet`.
        folder: where a file for many vectors is made; the system's folder for temporary files where that is no folder
            or cannot be written.

    Raises:
        UsageError: a file is damaged.
        StorageError: the disk has no room for them.
    """
    width = open_parquet(files[0]).schema_arrow.field("vector").type.list_size
    starts = np.cumsum([0, *(open_parquet(path).metadata.num_rows for path in files)]).tolist()
    size = starts[-1] * width * 2
    if size <= IN_MEMORY:
        rows = np.empty((starts[-1], width), np.float16)
        _fill(files, starts, width, rows)
        rows.flags.writeable = False
        return rows
    with _nameless(folder, size) as file:
        mapped = np.memmap(file, np.float16, "r", shape=(starts[-1], width))
        _fill(files, starts, width, file.fileno())
    return mapped


def rows_beside(shape: tuple[int, ...], dtype: Any, folder: Path) -> NDArray[Any]:
    """An array to be filled: in memory where it is small, else mapped from a file without a name (see `read_vectors`).

    Raises:
        StorageError: the disk has no room for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    with _nameless(folder, size) as file:
        return np.memmap(file, dtype, "r+", shape=shape)


def let_go(values: NDArray[Any]) -> None:
    """Lets go of the pages of a memory map, which else count as this process's memory; of other arrays nothing."""
    base: Any = values
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def return_large_blocks() -> None:
    """Makes the C library give large blocks back to the system as soon as they are freed, for the rest of the process.

    Left to itself it keeps blocks of up to 32 MB once one of that size was freed: columns of millions of faces, which
    others then hardly fit into.
    """
    with suppress(OSError, AttributeError):  # where the C library is another
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE)


def release_memory() -> None:
    """Gives back to the system what was freed: Arrow and the C library keep it for the next that want some."""
    if _resident() > MUCH:
        gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # where the C library is another
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> float:
    """Bytes that this process holds; no end of them where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")


def _fill(files: Sequence[Path], starts: list[int], width: int, target: NDArray[np.float16] | int) -> None:
    """Copies the rows of all files to an array, or to an open file, which costs this process no memory."""

    def copy(number: int) -> None:
        at = starts[number] * width
        with damage_named(files[number]), files[number].open("rb") as file:
            for values in _numbers(file):
                if isinstance(target, int):
                    os.pwrite(target, values, at * values.itemsize)  # type: ignore[arg-type]
                else:
                    target.reshape(-1)[at : at + len(values)] = values
                at += len(values)
        pa.default_memory_pool().release_unused()

    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(copy, range(len(files))):
            pass
    pa.default_memory_pool().release_unused()  # what threads left behind that are gone


def _numbers(file: BinaryIO) -> Iterator[NDArray[np.float16]]:
    """float16: the numbers of all vectors of a file, some at a time."""
    with pq.ParquetFile(file, pre_buffer=False) as opened:  # else kept whole
        for group in range(opened.num_row_groups):
            layout = opened.metadata.row_group(group)
            columns = map(layout.column, range(layout.num_columns))
            pages = halves(file, next(one for one in columns if one.path_in_schema.split(".")[0] == "vector"))
            if pages is not None:
                yield from pages
                continue
            for batch in opened.iter_batches(ROWS, [group], columns=["vector"], use_threads=False):
                yield np.asarray(batch.column(0).flatten())


def _nameless(folder: Path, size: int) -> tempfile._TemporaryFileWrapper[bytes]:
    """A file of so many bytes, which are there: a map of a file that grows would end the process on a full disk."""
    where = folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
    try:
        file = tempfile.TemporaryFile(dir=where)  # noqa: SIM115 - the caller closes it
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            with suppress(OSError):
                file.close()
            raise
    except OSError as error:
        raise storage_error(where, error) from error
    return file  # type: ignore[return-value]  # on Linux a plain file
