"""Numbers of a Parquet column taken from its pages as they lie there: Arrow decodes each by itself, which takes longer.

Only pages as curate writes vectors are taken so: float16 numbers one after another behind their levels, none missing,
zstd. Where a column chunk is another, the caller lets Arrow decode it. Layout: doc of github.com/apache/parquet-format,
`README.md` (data pages, levels) and `src/main/thrift/parquet.thrift` (`PageHeader`).
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.storage import thrift

HEADER: thrift.Wanted = {1: "kind", 2: "size", 3: "packed", 5: {1: "values", 2: "encoding"}}
DATA_PAGE = PLAIN = 0
LENGTH = 4
"""Bytes that say how long the levels behind them are; there are two kinds, of repetition and of definition."""


def halves(file: BinaryIO, column: Any) -> list[NDArray[np.float16]] | None:
    """The numbers of a column chunk, float16, page by page; None where its pages are others.

    Args:
        file: opened for reading.
        column: a `pyarrow.parquet.ColumnChunkMetaData`, of a column of lists of float16.

    Raises:
        ValueError: the chunk is cut off or damaged.
    """
    if column.compression != "ZSTD" or column.has_dictionary_page:
        return None
    file.seek(column.data_page_offset)
    data = file.read(column.total_compressed_size)
    codec, pages, at, left = pa.Codec("zstd"), [], 0, column.num_values
    while left > 0:
        found: list[thrift.Integer] = []
        try:
            at = thrift.integers(data, at, HEADER, found)
        except (IndexError, KeyError):
            raise ValueError("a column that is cut off") from None
        said = {name: value for _, _, value, name in found}
        if said.get("kind") != DATA_PAGE or said.get("encoding") != PLAIN:
            return None
        if not 0 < said["size"] <= column.total_uncompressed_size or said["values"] <= 0:
            raise ValueError("a page that is larger than its column")
        page = codec.decompress(memoryview(data)[at : at + said["packed"]], said["size"])
        levels = 0
        for _ in range(2):
            levels += LENGTH + int.from_bytes(memoryview(page)[levels : levels + LENGTH], "little")
        if said["size"] - levels != 2 * said["values"]:  # one is missing, or levels are kept in another way
            return None
        pages.append(np.frombuffer(page, np.float16, offset=levels))
        at += said["packed"]
        left -= said["values"]
    return pages
