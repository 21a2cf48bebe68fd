"""Finds cuts between sampled frames, as they stream by.

PySceneDetect scores the change of hue, saturation and brightness from one frame to the next. Sampled frames lie far
apart in time, so a pan or a gesture changes much between any two of them; its adaptive detector therefore asks that a
cut also stands out against the two changes before it and the two after it. A flash, which goes as it came, is no cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.recipe import Shots
from curate.records import Frame
from curate.stages.thumbnail import thumbnail

STANDS_OUT = 2.5
"""Times the mean of its four neighbours that a change must reach to be a cut."""

FLASH_S = 0.5
"""What is gone again within so many seconds is a flash and no shot."""

REACH = 2
"""Changes on either side that a change is compared with."""

Small = NDArray[np.uint8]


def mark(frames: Iterator[Frame], settings: Shots) -> Iterator[Frame]:
    """Numbers the shots of a video.

    Args:
        frames: its sampled frames in order; three at most are held back.

    Yields:
        The same frames with `small` and `shot` set: shot 0 for the first, one more after each cut, and where the size
        of the frames changes, since places in a picture mean something else from there on.
    """
    shot = 0
    for _, alike in groupby(frames, key=lambda frame: frame.pixels.shape):
        for frame in _mark(alike, settings, shot):
            shot = frame.shot
            yield frame
        shot += 1


def _mark(frames: Iterator[Frame], settings: Shots, shot: int) -> Iterator[Frame]:
    """The same for frames of one size, the first of which is in `shot`."""
    cuts = _Cuts(settings.threshold)
    waiting: deque[Frame] = deque()
    for frame in frames:
        small = thumbnail(frame.pixels)
        waiting.append(replace(frame, small=small))
        cut = cuts.feed(small[:, :, ::-1], frame.time_s)  # PySceneDetect wants BGR
        if cut is not None:
            shot += cut
            yield replace(waiting.popleft(), shot=shot)
    while waiting:
        shot += bool(cuts.feed(None, None))
        yield replace(waiting.popleft(), shot=shot)


@cache
def scenedetect() -> Any:
    """PySceneDetect; the driver of a build, which looks at no frame, does without it."""
    import scenedetect

    return scenedetect


class _Cuts:
    """Decides whether a shot begins with a frame, once the two frames after it are known."""

    def __init__(self, threshold: float) -> None:
        self._library = scenedetect()
        self._threshold = threshold
        self._detector = self._library.AdaptiveDetector(STANDS_OUT, 0, REACH, min_content_val=threshold)
        self._fed = 0
        self._recent: deque[tuple[Small, float]] = deque(maxlen=2 * REACH + 1)

    def feed(self, picture: Small | None, time_s: float | None) -> bool | None:
        """Takes the next frame, None after the last; says whether a shot begins with the frame two before it.

        Returns None while there is no such frame. Before the first frame and after the last nothing changes.
        """
        if picture is None or time_s is None:
            picture, time_s = self._recent[-1][0], float("inf")
        elif not self._fed:
            for _ in range(REACH):
                self._detect(picture, float("-inf"))
        found = self._detect(picture, time_s)
        if self._fed <= 2 * REACH:
            return None
        return found and not self._flash()

    def _detect(self, picture: Small, time_s: float) -> bool:
        self._recent.append((picture, time_s))
        self._fed += 1
        return bool(self._detector.process_frame(self._library.FrameTimecode(self._fed - 1, fps=1.0), picture))

    def _flash(self) -> bool:
        """Whether the frame in question, or the one before it, is a flash between two like frames."""
        before_last, before, here, after = list(self._recent)[:4]
        return self._alike(before, after) or self._alike(before_last, here)

    def _alike(self, one: tuple[Small, float], other: tuple[Small, float]) -> bool:
        if not other[1] - one[1] <= FLASH_S:
            return False
        detector = self._library.ContentDetector(self._threshold, min_scene_len=0)
        detector.process_frame(self._library.FrameTimecode(0, fps=1.0), one[0])
        return not detector.process_frame(self._library.FrameTimecode(1, fps=1.0), other[0])
