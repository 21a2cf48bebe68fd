"""What a track says of whose face it is: identity vectors are drawn together along it.

One picture of a face may be turned, blurred or half hidden; the track that it stands in shows the same person better.
Templates of several pictures are the rule where people are compared (IJB-B, Whitelam et al. 2017). Here each face keeps
a vector of its own, half of it what the track has shown so far (measured: `benchmarks/people.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.stages.backend import unit


class Templates:
    """The tracks of one video, as far as they were seen."""

    def __init__(self) -> None:
        self._sums: dict[int, NDArray[np.float64]] = {}

    def add(self, tracks: Sequence[int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [n, D], unit length: the next faces' vectors, each drawn to the mean of its track up to it.

        Args:
            tracks: the track of each face.
            vectors: float32 [n, D] of unit length, what each face alone says.
        """
        drawn = np.zeros(vectors.shape, np.float64)
        for row, (track, vector) in enumerate(zip(tracks, vectors.astype(np.float64), strict=True)):
            self._sums[track] = self._sums.get(track, 0) + vector
            drawn[row] = vector + self._sums[track] / np.linalg.norm(self._sums[track])
        return unit(drawn)
