"""Who goes where in one video: faces become tracks, and tracks say more of a face than it alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.records import Detection
from curate.run.spaces.builtin import IDENTITY
from curate.stages import template, track
from curate.stages.backend import Backend

Vectors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one sampled frame, in order; there may be none."""

    shot: int
    time_s: float
    faces: list[Detection]


@dataclass(frozen=True)
class Tracks:
    """The tracks of one video, as far as it was seen."""

    linker: track.Linker
    templates: template.Templates

    @classmethod
    def of(cls, backend: Backend, spaces: Iterable[str]) -> Tracks:
        """Those of a video of which nothing was seen yet."""
        same_person = backend.identity_threshold if IDENTITY in spaces else None
        return cls(track.Linker(same_person), template.Templates())

    def add(self, frames: Iterable[FrameFaces], vectors: Vectors) -> tuple[list[int], Vectors]:
        """The track of each face of the next frames, and the vectors of all spaces as tracks change them.

        Args:
            vectors: space -> float32 [faces, D], what each face alone says.
        """
        alone = vectors.get(IDENTITY)
        tracks: list[int] = []
        for frame in frames:
            here = slice(len(tracks), len(tracks) + len(frame.faces))
            tracks += self.linker.link(frame.shot, frame.time_s, frame.faces, None if alone is None else alone[here])
        if alone is None:
            return tracks, vectors
        return tracks, vectors | {IDENTITY: self.templates.add(tracks, alone)}
