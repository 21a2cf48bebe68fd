"""Links the faces of consecutive frames into tracks, inside a shot.

Where a face went follows from where it was, how it moved and, where a backend can distinguish people, whose face it
is: a shift of its place and a change of its look are added up, and all faces of a frame are assigned to tracks at once
(as DeepSORT does, arXiv 1703.07402). A face that looks like someone else does not go on with a track, however near it
is; one that surely looks the same may have moved farther and been away longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from curate.records import Detection

MAX_GAP_S = 1.0
"""A face that was away longer starts a new track; so do all faces of a new shot."""
MAX_SHIFT = 1.0
"""Farthest that a face moves between two looks, in sizes of the face, at frames a second that follow motion closely."""
MAX_SCALE = 2.0
"""Largest change of size between two looks."""
SURE_GAP_S, SURE_SHIFT = 3.0, 3.0
"""How long a face may have been away, and how far it may have moved, that surely looks the same."""
SURE, OTHER = 0.8, 1.2
"""Distance of identity vectors to which a face surely looks the same, and beyond which it is someone else's; 1 lies at
the threshold of the backend (measured: `benchmarks/tracks.py`)."""
LOOK = 1.0
"""What a distance of 1 of identity vectors weighs against a shift of one size of the face."""
GALLERY = 16
"""Latest vectors of a track that a face is compared with; the nearest counts."""
IMPOSSIBLE = 1e6

Vectors = NDArray[np.float32]


@dataclass
class _Track:
    number: int
    centre: NDArray[np.float64]
    size: float
    time_s: float
    frame: int
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    looks: list[Vectors] = field(default_factory=list)


@dataclass(frozen=True)
class _Places:
    """The faces of one frame: centres float64 [n, 2] and sizes float64 [n], pixels; identity vectors [n, D] or None."""

    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]
    vectors: Vectors | None

    @classmethod
    def of(cls, detections: Sequence[Detection], vectors: Vectors | None) -> _Places:
        boxes = np.array([d.bbox for d in detections], np.float64).reshape(-1, 4)
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        return cls(centres, np.sqrt(np.prod(sides, axis=1)), vectors)


class Linker:
    """Follows the faces of one video, frame by frame."""

    def __init__(self, same_person: float | None = None) -> None:
        """Starts a video.

        Args:
            same_person: cosine from which two identity vectors are one person's; None: faces have no such vectors.
        """
        self._same_person = same_person
        self._tracks: list[_Track] = []
        self._shot: int | None = None
        self._next = 0
        self._frame = 0

    def link(
        self, shot: int, time_s: float, detections: Sequence[Detection], vectors: Vectors | None = None
    ) -> list[int]:
        """The track of each face of the next frame; tracks count from 0 and never cross a shot.

        Faces are assigned to tracks so that the sum of costs is least (Kuhn 1955). Call it for frames without faces
        too: they end the tracks that were seen too long ago.

        Args:
            vectors: float32 [n, D] of unit length, the identity of each face, where the linker was started with it.
        """
        if shot != self._shot:
            self._shot, self._tracks = shot, []
        previous, self._frame = self._frame, self._frame + 1
        gap = MAX_GAP_S if self._same_person is None else SURE_GAP_S
        self._tracks = [t for t in self._tracks if t.frame == previous or time_s - t.time_s <= gap]
        places = _Places.of(detections, vectors)
        cost = self._cost(places, time_s, previous)
        chosen = {j: self._tracks[i] for i, j in _assigned(cost) if cost[i, j] < IMPOSSIBLE}
        for j in range(len(detections)):
            if j not in chosen:
                chosen[j] = _Track(self._next, places.centres[j], places.sizes[j], time_s, self._frame)
                self._next += 1
                self._tracks.append(chosen[j])
            self._move(chosen[j], places, j, time_s)
        return [chosen[j].number for j in range(len(detections))]

    def _move(self, track: _Track, places: _Places, j: int, time_s: float) -> None:
        passed = time_s - track.time_s
        if passed > 0:
            track.velocity = (places.centres[j] - track.centre) / passed
        track.centre, track.size, track.time_s, track.frame = places.centres[j], places.sizes[j], time_s, self._frame
        if places.vectors is not None:
            track.looks = [*track.looks[1 - GALLERY :], places.vectors[j]]

    def _cost(self, places: _Places, time_s: float, previous: int) -> NDArray[np.float64]:
        """float64 [tracks, faces]: shift in sizes of the face, change of size (log 2) and change of look, added up.

        What is too much of any is `IMPOSSIBLE`.
        """
        known = self._tracks
        if not known or not len(places.centres):
            return np.zeros((len(known), len(places.centres)))
        passed = np.array([time_s - t.time_s for t in known])
        # over long steps a face does not keep its course: believe half of it after a fifth of a second
        belief = (0.5 ** (passed / 0.2))[:, None]
        expected = (
            np.array([t.centre for t in known]) + np.array([t.velocity for t in known]) * passed[:, None] * belief
        )
        size = np.array([t.size for t in known])
        mean = np.sqrt(size[:, None] * places.sizes[None])
        shift = np.linalg.norm(expected[:, None] - places.centres[None], axis=2) / mean
        change = np.abs(np.log2(places.sizes[None] / size[:, None]))
        look = self._looks(places)
        late = np.array([t.frame != previous and time_s - t.time_s > MAX_GAP_S for t in known])[:, None]
        impossible = ((shift > MAX_SHIFT) | late) & (look > SURE)
        impossible |= (shift > SURE_SHIFT) | (change > np.log2(MAX_SCALE)) | (look > OTHER)
        return np.where(impossible, IMPOSSIBLE, shift + change + LOOK * look)

    def _looks(self, places: _Places) -> NDArray[np.float64]:
        """float64 [tracks, faces]: distance of identity vectors, 0 where they are equal, 1 at the threshold.

        Without vectors all are 1: neither surely the same nor someone else.
        """
        if self._same_person is None or places.vectors is None:
            return np.ones((len(self._tracks), len(places.centres)))
        cosine = np.array([(np.stack(t.looks) @ places.vectors.T).max(0) for t in self._tracks], np.float64)
        return (1 - cosine) / (1 - self._same_person)


def _assigned(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of track and face whose costs, float64 [tracks, faces], add up to the least."""
    if not cost.size:
        return []
    if cost.shape[0] > cost.shape[1]:
        return [(i, j) for j, i in _assigned(cost.T)]
    nearest = cost.argmin(1)
    if len(set(nearest.tolist())) == len(nearest):  # each has the one that it is nearest to
        return list(enumerate(nearest.tolist()))
    from scipy.optimize import linear_sum_assignment  # takes long to load, and is seldom needed

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
