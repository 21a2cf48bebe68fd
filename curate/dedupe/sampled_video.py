"""The sampled faces of a video, as the search for copies takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.motion import Faces
from curate.dedupe.scene import Scenes

Mirror = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Gives the vectors [n, D] of mirrored pictures."""


@dataclass(frozen=True)
class SampledVideo:
    """The sampled faces of one video.

    Attributes:
        content_sha256: hex digest of its bytes; empty where it could not be read.
        times: float64 [n], seconds from the first frame of its stream, ascending.
        vectors: float16 [n, D], unit rows, in the space where near-duplicates are judged.
        tracks: int [n], track of each face; None: all are one.
        places: float32 [n, 4], see `curate.dedupe.motion.Faces`, in pixels; None: unknown.
        start_s, end_s: range of its source that was asked for; None: from the start, to the end.
        views: gives uint8 [n, D], the whole frame of each face (`curate.stages.scene`), read when it is needed; None
            where it is unknown.
    """

    video_id: str
    content_sha256: str
    times: NDArray[np.float64]
    vectors: NDArray[np.float16]
    tracks: NDArray[np.integer] | None = None
    start_s: float | None = None
    end_s: float | None = None
    places: NDArray[np.float32] | None = None
    views: Callable[[], NDArray[np.uint8] | None] | None = None

    def scenes(self) -> Scenes | None:
        """Its frames, where they are known."""
        stored = self.views() if self.views else None
        return None if stored is None else Scenes.of(self.times, stored)

    def faces(self, rows: NDArray[np.int64] | slice = slice(None)) -> Faces:
        """Its faces, or some of them."""
        tracks = np.zeros(len(self.times), np.int64) if self.tracks is None else self.tracks
        places = np.zeros((len(self.times), 0), np.float32) if self.places is None else self.places
        vectors = self.vectors[rows].astype(np.float32)
        return Faces(self.times[rows], vectors, tracks[rows].astype(np.int64), places[rows])
