"""The sampling rule: which frames of a video a build looks at, and which of them a slower build would have looked at.

At a rate of `fps`, the instants are k / fps seconds from the beginning (k = 0, 1, ...). For each instant the first
frame at or after it is taken (half a tick of rounding is forgiven), and no frame twice: a video with fewer frames a
second than `fps` gives each of its frames once. So a frame is taken for a run of instants, those behind the frame
before it and not behind itself. The run's first and last number are stored with each face: they are all that it takes
to apply the rule again at a lower rate (`subsample`), although frames without faces are not stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDING = 1e-6
"""Share of an instant by which floating-point products may miss a whole number."""


@dataclass(frozen=True)
class Sample:
    """The frames that the rule takes.

    Attributes:
        frames: int64 [m], their indices, ascending.
        first, last: int64 [m], the run of instants that each is taken for.
    """

    frames: Ints
    first: Ints
    last: Ints


def sample(times: Floats, fps: float, half_tick_s: float) -> Sample:
    """Applies the rule to a video.

    Args:
        times: float64 [n], seconds from the beginning in the order of presentation; a frame whose time falls behind
            an earlier one's meets no new instant.
        fps: instants a second.
        half_tick_s: half of the stream's tick, the rounding that is forgiven.
    """
    reached = np.maximum.accumulate(_floor((times + half_tick_s) * fps)) if len(times) else np.zeros(0, np.int64)
    before = np.concatenate([[-1], np.maximum(reached[:-1], -1)]) if len(times) else reached
    frames = np.flatnonzero(reached > before)
    return Sample(frames, before[frames] + 1, reached[frames])


def subsample(first: Ints, last: Ints, fps: float, rate: float) -> NDArray[np.bool_]:
    """bool [n]: which sampled frames a build at a lower rate takes.

    Where `divides(rate, fps)`, exactly the frames of a build at `rate`. Where not, each instant of the lower rate is
    put off to the next instant of `fps`, at most 1 / fps seconds.

    Args:
        first, last: int64 [n], the instants that each frame was taken for.
        fps: the rate that they were sampled at.
        rate: the lower rate, at most `fps`.
    """
    share = rate / fps
    return np.asarray(_floor(last * share) > _floor((first - 1) * share))


def divides(rate: float, fps: float) -> bool:
    """Whether the instants of `rate` are among those of `fps`, so that `subsample` is exact."""
    steps = fps / rate
    return round(steps) >= 1 and abs(steps - round(steps)) < 1e-9 * steps


def _floor(values: NDArray[np.floating]) -> Ints:
    """The floor; what misses the whole number above it by rounding alone counts as that number."""
    return np.asarray(np.floor(values + _ROUNDING), np.int64)
