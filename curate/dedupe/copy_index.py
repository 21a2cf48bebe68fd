"""The faces of all earlier videos, searched for those that look like a later one's (FAISS).

Up to `EXACT_UP_TO` faces the search is exact. Beyond, faces lie in cells of about `CELL` around centres chosen by
chance, which a graph (HNSW) finds in logarithmic time: the work of a query hardly grows with the collection. Vectors
are kept as 8-bit numbers there, and faces that repeat the one before are not kept at all.
"""

from __future__ import annotations

from collections.abc import Iterable

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 100_000
"""Faces up to which the search is exact."""
CELL = 64
"""Faces of a cell, in the mean."""
CELLS_SEARCHED = 24
NEIGHBOURS = 96
"""Alike faces that are looked at for each that is looked up; a copy's match is among the nearest."""


class CopyIndex:
    """An index of faces, each with the number of its video.

    Args:
        dimension: D of the vectors.
        faces: how many there will be at most.
        sample: vectors [n, D] of faces drawn from all of them, at least `cells(faces)`; used where the search is
            not exact.
        repeats: cosine to the last kept face of its video from which a face is not kept.
    """

    def __init__(self, dimension: int, faces: int, sample: NDArray[np.float32], repeats: float) -> None:
        self._repeats = repeats
        self._videos: list[NDArray[np.int64]] = []
        self._index = self._made(dimension, faces, sample)

    @property
    def faces(self) -> int:
        """How many faces are kept."""
        return int(self._index.ntotal)

    def add(self, video: int, vectors: NDArray[np.float32]) -> None:
        """Adds faces [n, D] of a video, in the order of time."""
        kept = distinct(vectors, self._repeats)
        self._index.add(vectors[kept])
        self._videos.append(np.full(len(kept), video, np.int64))

    def look_up(self, vectors: NDArray[np.float32], alike: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row of `vectors` and number of the video of each alike pair."""
        if not self._index.ntotal:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        self._videos = [np.concatenate(self._videos)]
        cosine, found = self._index.search(vectors, min(NEIGHBOURS, self._index.ntotal))
        row, column = np.nonzero((cosine >= alike) & (found >= 0))
        return row, self._videos[0][found[row, column]]

    @staticmethod
    def _made(dimension: int, faces: int, sample: NDArray[np.float32]) -> faiss.Index:
        if faces <= EXACT_UP_TO:
            return faiss.IndexFlatIP(dimension)
        centres = faiss.IndexHNSWFlat(dimension, 16, faiss.METRIC_INNER_PRODUCT)
        centres.hnsw.efConstruction, centres.hnsw.efSearch = 40, 4 * CELLS_SEARCHED
        centres.add(sample)
        index = faiss.IndexIVFScalarQuantizer(
            centres, dimension, len(sample), faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = False
        index.train(sample)  # keeps the centres, there are as many as cells
        index.nprobe = CELLS_SEARCHED
        return index


def cells(faces: int) -> int:
    """How many centres an index of so many faces has; 0 where the search is exact."""
    return 0 if faces <= EXACT_UP_TO else max(1, faces // CELL)


def distinct(vectors: NDArray[np.float32], repeats: float) -> NDArray[np.int64]:
    """int64: which faces [n, D] do not repeat the last one of them."""
    kept: list[int] = []
    for row in range(len(vectors)):
        if not kept or float(vectors[row] @ vectors[kept[-1]]) < repeats:
            kept.append(row)
    return np.array(kept, np.int64)


def counted(rows: NDArray[np.int64], videos: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """(video, distinct rows that are alike to it), most first."""
    pairs = np.unique(np.stack([videos, rows]), axis=1)
    video, count = np.unique(pairs[0], return_counts=True)
    order = np.argsort(-count, kind="stable")
    return zip(video[order].tolist(), count[order].tolist(), strict=True)
