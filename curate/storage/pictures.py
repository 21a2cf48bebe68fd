"""Pictures as a build stores them."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from curate.storage.parquet import open_parquet

GROUPS_KEPT = 64
"""Row groups kept at hand: 64 groups of 64 crops of 15 kB are 60 MB."""


def decode(stored: bytes) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB of a stored picture: a JPEG, or whatever else Pillow reads.

    Raises:
        ValueError: the bytes are a damaged JPEG.
        OSError: they are no picture.
    """
    if simplejpeg.is_jpeg(stored):
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stored, colorspace="RGB")
        return pixels
    with Image.open(io.BytesIO(stored)) as picture:
        return np.asarray(picture.convert("RGB"), np.uint8)


class StoredPictures:
    """The pictures of some files of faces, or another of their columns of bytes, each read with its row group when it
    is asked for.

    Files stay open and the last row groups at hand, in each process for itself: an object that was pickled, or that a
    worker took over, begins with none. Not for several threads at once.

    Args:
        paths: Parquet files with that column.
        column: `image`, or one of bytes.
        files: that stay open at most; each takes about 3 MB. None: all.
    """

    def __init__(self, paths: Sequence[Path], column: str = "image", files: int | None = None) -> None:
        self.paths = list(paths)
        self._column, self._files = column, files
        self._starts = [_starts(path) for path in self.paths]
        self.rows = np.array([starts[-1] for starts in self._starts], np.int64)
        self._open: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict(), "_groups": OrderedDict()}

    def jpeg(self, file: int, row: int) -> bytes:
        """The picture in a row of a file, both numbered from 0."""
        group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
        return bytes(self._group(file, group)[row - int(self._starts[file][group])].as_py())

    def several(self, file: int, first: int, count: int) -> list[bytes | None]:
        """What is in some rows of a file that follow each other; None where a row has none."""
        found: list[bytes | None] = []
        while len(found) < count:
            row = first + len(found)
            group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
            here = row - int(self._starts[file][group])
            found += self._group(file, group)[here : here + count - len(found)].to_pylist()
        return found

    def _group(self, file: int, group: int) -> Any:
        key = (file, group)
        if key not in self._groups:
            if file not in self._open:
                self._open[file] = pq.ParquetFile(self.paths[file], memory_map=True)
                if self._files is not None and len(self._open) > self._files:
                    self._open.popitem(last=False)
            self._open.move_to_end(file)
            column = self._open[file].read_row_group(group, columns=[self._column])[self._column].combine_chunks()
            self._groups[key] = column.field("bytes") if self._column == "image" else column
            if len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _starts(path: Path) -> NDArray[np.int64]:
    """int64 [groups + 1], where the row groups of a file begin, and its end; what else the file says is let go of."""
    layout = open_parquet(path).metadata
    return np.cumsum(
        [0] + [layout.row_group(number).num_rows for number in range(layout.num_row_groups)], dtype=np.int64
    )
