"""The faces of all earlier videos, searched for those that look like a later one's (FAISS).

Up to `EXACT_UP_TO` faces the search is exact. Beyond, faces lie in cells around centres chosen by chance, so many that
to find the nearest centres and to look through their cells take about as long: the work of a query grows with the
square root of the collection. Vectors are kept as 8-bit numbers there. Faces that repeat the one before are not kept,
and of collections of more than `MOST_KEPT` faces only some, evenly over time and a few of each video at least, so that
memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 100_000
"""Faces up to which the search is exact."""
CELLS, CELLS_SEARCHED = 1.6, 8
"""Centres, in square roots of the number of faces, and how many of their cells are looked through. Of 4,000 faces out
of 409,600 that were shown again with a cosine of 0.99, 99.9 % met an alike one so, in 34 microseconds each; 99.8 % in
24 of 6,400 cells that a graph (HNSW) found, in 102."""
LOOK = 32
"""Faces that are compared with the last one that is kept at once."""
MOST_KEPT = 8_000_000
"""Faces that are kept at most, at 128 numbers 1.1 GB."""
LEAST_KEPT = 24
"""Faces of a video that are kept nevertheless."""
NEIGHBOURS = 96
"""Alike faces that are looked at for each that is looked up; a copy's match is among the nearest."""


class CopyIndex:
    """An index of faces, each with the number of its video.

    Args:
        dimension: D of the vectors.
        faces: how many there will be at most.
        sample: vectors [n, D] of faces drawn from all of them, at least `cells(faces)`; used where the search is
            not exact.
    """

    def __init__(self, dimension: int, faces: int, sample: NDArray[np.float32]) -> None:
        self._videos: list[NDArray[np.int64]] = []
        self._index = self._made(dimension, faces, sample)

    @property
    def faces(self) -> int:
        """How many faces are kept."""
        return int(self._index.ntotal)

    def add(self, videos: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds faces [n, D], each with the number of its video; they should be `distinct`."""
        self._index.add(vectors)
        self._videos.append(videos)

    def look_up(self, vectors: NDArray[np.float32], alike: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row of `vectors` and number of the video of each alike pair."""
        if not self._index.ntotal:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        self._videos = [np.concatenate(self._videos)]
        faiss.omp_set_num_threads(1)  # of this thread: several look up at once
        cosine, found = self._index.search(vectors, min(NEIGHBOURS, self._index.ntotal))
        row, column = np.nonzero((cosine >= alike) & (found >= 0))
        return row, self._videos[0][found[row, column]]

    @staticmethod
    def _made(dimension: int, faces: int, sample: NDArray[np.float32]) -> faiss.Index:
        if faces <= EXACT_UP_TO:
            return faiss.IndexFlatIP(dimension)
        centres = faiss.IndexFlatIP(dimension)
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
    return 0 if faces <= EXACT_UP_TO else max(1, round(CELLS * faces**0.5))


def thinned(faces: NDArray[np.int64]) -> int:
    """Of how many faces one is kept, for videos of so many faces, int64 [videos]; 1: all are."""
    every = 1
    while kept_of(faces, every).sum() > MOST_KEPT and every < faces.max():
        every *= 2
    return every


def kept_of(faces: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    """int64: how many faces of videos are kept at most, if one in `every` is."""
    return np.minimum(faces, np.maximum(faces // every, LEAST_KEPT))


def distinct(vectors: NDArray[np.float32], repeats: float) -> NDArray[np.int64]:
    """int64: which faces [n, D] do not repeat the last one of them."""
    kept = [0] if len(vectors) else []
    row = 1
    while row < len(vectors):
        differ = vectors[row : row + LOOK] @ vectors[kept[-1]] < repeats
        first = int(differ.argmax())
        if differ[first]:
            kept.append(row + first)
            row += first + 1
        else:
            row += len(differ)
    return np.array(kept, np.int64)


def counted(rows: NDArray[np.int64], videos: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """(video, distinct rows that are alike to it), most first."""
    pairs = np.unique(np.stack([videos, rows]), axis=1)
    video, count = np.unique(pairs[0], return_counts=True)
    order = np.argsort(-count, kind="stable")
    return zip(video[order].tolist(), count[order].tolist(), strict=True)
