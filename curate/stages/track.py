"""Links the faces of consecutive frames into tracks, inside a shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from curate.records import Detection

MAX_GAP_S = 1.0
"""A face that was away longer starts a new track; so do all faces of a new shot."""
MAX_SHIFT = 1.0
"""Farthest that a face moves between two looks, in sizes of the face, at frames a second that follow motion closely."""
MAX_SCALE = 2.0
"""Largest change of size between two looks."""
IMPOSSIBLE = 1e6


@dataclass
class _Track:
    number: int
    centre: NDArray[np.float64]
    velocity: NDArray[np.float64]
    size: float
    time_s: float
    frame: int


class Linker:
    """Follows the faces of one video, frame by frame."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._shot: int | None = None
        self._next = 0
        self._frame = 0

    def link(self, shot: int, time_s: float, detections: Sequence[Detection]) -> list[int]:
        """The track of each face of the next frame; tracks count from 0 and never cross a shot.

        Faces are assigned to tracks so that the sum of shifts and changes of size is least (Kuhn 1955). Call it for
        frames without faces too: they end the tracks that were seen too long ago.
        """
        if shot != self._shot:
            self._shot, self._tracks = shot, []
        previous, self._frame = self._frame, self._frame + 1
        self._tracks = [t for t in self._tracks if t.frame == previous or time_s - t.time_s <= MAX_GAP_S]
        centres = np.array([(d.bbox[:2] + d.bbox[2:]) / 2 for d in detections], np.float64).reshape(-1, 2)
        sizes = np.array([np.sqrt(np.prod(d.bbox[2:] - d.bbox[:2])) for d in detections], np.float64)
        cost = self._cost(centres, sizes, time_s)
        rows, columns = linear_sum_assignment(cost)
        chosen = {int(j): self._tracks[i] for i, j in zip(rows, columns, strict=True) if cost[i, j] < IMPOSSIBLE}
        for j, (centre, size) in enumerate(zip(centres, sizes, strict=True)):
            if j in chosen:
                self._move(chosen[j], centre, size, time_s)
            else:
                chosen[j] = _Track(self._next, centre, np.zeros(2), size, time_s, self._frame)
                self._next += 1
                self._tracks.append(chosen[j])
        return [chosen[j].number for j in range(len(detections))]

    def _move(self, track: _Track, centre: NDArray[np.float64], size: float, time_s: float) -> None:
        passed = time_s - track.time_s
        track.velocity = (centre - track.centre) / passed if passed > 0 else track.velocity
        track.centre, track.size, track.time_s, track.frame = centre, size, time_s, self._frame

    def _cost(self, centres: NDArray[np.float64], sizes: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
        """float64 [tracks, faces]: shift in sizes of the face plus change of size (log 2); too far is `IMPOSSIBLE`."""
        if not self._tracks or not len(centres):
            return np.zeros((len(self._tracks), len(centres)))
        known = self._tracks
        passed = np.array([time_s - t.time_s for t in known])
        # over long steps a face does not keep its course: believe half of it after a fifth of a second
        belief = (0.5 ** (passed / 0.2))[:, None]
        expected = (
            np.array([t.centre for t in known]) + np.array([t.velocity for t in known]) * passed[:, None] * belief
        )
        size = np.array([t.size for t in known])
        mean = np.sqrt(size[:, None] * sizes[None])
        shift = np.linalg.norm(expected[:, None] - centres[None], axis=2) / mean
        change = np.abs(np.log2(sizes[None] / size[:, None]))
        impossible = (shift > MAX_SHIFT) | (change > np.log2(MAX_SCALE))
        return np.where(impossible, IMPOSSIBLE, shift + change)
