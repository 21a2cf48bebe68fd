"""Searches some of a video's frames for faces and follows them in between.

Video repeats itself: inside a shot, a face is nearly always where it was. So every few frames one is searched, and in
the frames between two searches each face is found again in a small crop around where it was, which costs a fraction of
a search. The frames between are searched, too, wherever that might lose or invent a face:

- the two searches do not show the same faces, or a face was lost on the way from one to the other;
- a face, or what might have been one, lies near a limit of the recipe (score, size, number) in either search;
- something came and went: where the picture differs from both searched frames, a glance at that part shows a face;
- a cut: nothing is followed from one shot to another;
- an anchor, once a minute, so that a part of a video that begins there can be worked on by itself.

A frame that is all but identical to the last inherits its faces. What comes out depends on the frames alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.recipe import FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import refine
from curate.stages.backend import Backend, Detected, Known, carried, largest_first, overlaps
from curate.stages.thumbnail import SIDE, thumbnail

GAP_S, MAX_STEP = 1.2, 8
"""A frame is searched at least so often, seconds and frames: who comes and goes within it is found by the change."""
ANCHOR_S = 60.0
"""Seconds from one anchor to the next, by the instants at which frames are sampled."""
AT_ONCE = 8
"""Frames that are searched in one batch: 8 of 1080p are 50 MB."""
IDENTICAL = 2
"""Levels by which grey thumbnails may differ where frames are all but identical."""
CHANGED = 16
"""Levels by which a part of a thumbnail must differ from both searched frames to be something that came and went."""
ROOM = 1.0
"""Space around such a part, in sides of the smallest face."""
COARSE = 8.0
"""How far landmarks may lie from those of a coarse search, pixels of the crops of `refine`."""
SAME_FACE = 0.5
"""Intersection over union from which a followed face and one that is found there are the same."""

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one frame.

    Attributes:
        searched: whether the whole frame was searched.
        inherited: whether they were taken over from an all but identical frame.
    """

    frame: Frame
    found: Detected
    searched: bool = True
    inherited: bool = False


@dataclass(frozen=True)
class _Waiting:
    """A frame whose faces are not known yet, small, and the one before it that it is all but identical to."""

    frame: Frame
    thumbnail: Thumbnail
    like: _Waiting | None = None


@dataclass(frozen=True)
class _Searched:
    """A frame that was searched."""

    seen: _Waiting
    found: Detected

    def faces(self) -> FrameFaces:
        return FrameFaces(self.seen.frame, self.found)


def find_faces(frames: Iterable[Frame], backend: Backend, settings: FaceSettings, fps: float) -> Iterator[FrameFaces]:
    """The faces of every frame, in order.

    Args:
        frames: of one video, with their shots; `MAX_STEP` of them at most are held back.
        fps: frames a second that are sampled.
    """
    step = 1 if settings.search == "every" else min(int(GAP_S * fps), MAX_STEP)
    if step > 1:
        follower = _Follower(backend, settings, step, anchor_instants(fps))
        for frame in frames:
            yield from follower.feed(frame)
        yield from follower.close()
        return
    iterator = iter(frames)
    while group := list(islice(iterator, AT_ONCE)):
        for frame, found in zip(group, backend.detect([frame.pixels for frame in group]), strict=True):
            yield FrameFaces(frame, found)


def anchor_instants(fps: float) -> int:
    """Instants from one anchor to the next."""
    return max(round(ANCHOR_S * fps), 1)


class _Follower:
    """Holds frames back from one search to the next, and then knows their faces."""

    def __init__(self, backend: Backend, settings: FaceSettings, step: int, anchor: int) -> None:
        self._backend, self._settings, self._step, self._anchor = backend, settings, step, anchor
        self._last: _Searched | None = None  # the last frame that was searched
        self._dropped: Counter[str] = Counter()  # by the last search at full size
        self._waiting: list[_Waiting] = []

    def feed(self, frame: Frame) -> Iterator[FrameFaces]:
        """Takes the next frame; yields what became known by it."""
        new = _Waiting(frame, _grey(frame))
        if self._last is None or self._begins(frame, self._last.seen.frame):
            yield from self.close()
            self._last = _Searched(new, *self._backend.detect([frame.pixels]))
            self._dropped = self._last.found.dropped
            yield self._last.faces()
            return
        before = self._waiting[-1] if self._waiting else self._last.seen
        before = before.like or before
        if _identical(before.thumbnail, new.thumbnail):
            if not self._waiting:
                yield FrameFaces(frame, self._last.found, searched=False, inherited=True)
                return
            new = replace(new, like=before)
        self._waiting.append(new)
        if len(self._waiting) == self._step:
            yield from self.close()

    def _begins(self, frame: Frame, last: Frame) -> bool:
        """Whether a frame stands behind a cut or an anchor, and the last one that was searched before it."""
        return frame.shot != last.shot or frame.instants[0] // self._anchor != last.instants[0] // self._anchor

    def close(self) -> Iterator[FrameFaces]:
        """Searches the last frame that waits, and yields the faces of all that do."""
        if self._last is None or not self._waiting:
            return
        waiting = [one for one in self._waiting if one.like is None]
        faces = self._confirmed(self._last, waiting) or self._searched(self._last, waiting)
        known = {one.frame.index: one for one in faces}
        for one in self._waiting:
            source = known[(one.like or one).frame.index]
            if one.like is not None:
                source = FrameFaces(one.frame, source.found, searched=False, inherited=True)
            yield source
        self._last, self._waiting = _Searched(waiting[-1], faces[-1].found), []

    def _confirmed(self, start: _Searched, waiting: Sequence[_Waiting]) -> list[FrameFaces] | None:
        """The faces after a search, followed to the last frame, if a small search shows the same ones there."""
        if start.found.doubtful or (start.found.faces and not self._backend.follows):
            return None
        *_, last = waiting
        seen = self._backend.confirm(last.frame.pixels)
        if seen.doubtful or len(seen.faces) != len(start.found.faces):
            return None
        end = _Searched(last, seen)
        followed = self._followed(start, waiting, end)
        if len(followed) < len(waiting) or not _same(followed[-1], seen.faces) or not _agree(followed[-1], seen.faces):
            return None
        *settled, there = _settled(start, waiting, followed, seen.faces, len(waiting))
        # a small search sees fewer of the small and weak ones than there are
        return [
            *settled,
            replace(there, searched=True, found=replace(there.found, dropped=seen.dropped | self._dropped)),
        ]

    def _searched(self, start: _Searched, waiting: Sequence[_Waiting]) -> list[FrameFaces]:
        """The faces after a search, where they are not simply those: the last frame is searched, too."""
        *between, last = waiting
        end = _Searched(last, *self._backend.detect([last.frame.pixels]))
        self._dropped = end.found.dropped
        return [*self._between(start, between, end), end.faces()]

    def _between(self, start: _Searched, between: Sequence[_Waiting], end: _Searched) -> list[FrameFaces]:
        """The faces of the frames between two searches: followed as far as that loses and invents none."""
        if start.found.doubtful or end.found.doubtful:
            found = self._backend.detect([one.frame.pixels for one in between])
            return [FrameFaces(one.frame, here) for one, here in zip(between, found, strict=True)]
        faces = start.found.faces
        followed = self._followed(start, between, end) if len(faces) == len(end.found.faces) else []
        if len(faces) == len(end.found.faces) and (i := len(followed)) < len(between):
            here = _Searched(between[i], *self._backend.detect([between[i].frame.pixels]))
            if _known(here.found.faces, followed[-1] if followed else faces):
                earlier = _settled(start, between[:i], followed, here.found.faces, i + 1)
            else:
                earlier = self._between(start, between[:i], here)
            return [*earlier, here.faces(), *self._between(here, between[i + 1 :], end)]
        if not between or (followed and _same(followed[-1], end.found.faces)):
            return _settled(start, between, followed, end.found.faces, len(between) + 1)
        middle = len(between) // 2
        here = _Searched(between[middle], *self._backend.detect([between[middle].frame.pixels]))
        later = self._between(here, between[middle + 1 :], end)
        return [*self._between(start, between[:middle], here), here.faces(), *later]

    def _followed(self, start: _Searched, between: Sequence[_Waiting], end: _Searched) -> list[list[Detection]]:
        """The faces of the frames after a search, each list in its order, up to where only a search can tell.

        They are looked for in every other frame. Where a face is in the frame between two of these, the picture's own
        motion says, if it can.
        """
        around = [*start.found.faces, *end.found.faces]
        unsure = (i for i, one in enumerate(between) if self._newcomer(one, start.seen, end.seen, around))
        reach = next(unsure, len(between))
        followed: list[list[Detection]] = []
        before = Known(start.found.faces, start.seen.frame)
        while len(followed) < reach:
            one, *rest = between[len(followed) : reach]
            after = self._looked(before, rest[0]) if rest else None
            here = self._passing(before, one, after) if after else self._looked(before, one)
            if here is None:
                break
            before = after or here
            followed += [list(here.faces), list(after.faces)] if after else [list(here.faces)]
        return followed

    def _passing(self, before: Known, one: _Waiting, after: Known) -> Known | None:
        """The faces of a frame between two in which they are known; only those are looked for that have to be."""
        pairs = zip(before.faces, after.faces, strict=True)
        found = [
            self._backend.between(Known([face], before.frame), Known([other], after.frame), one.frame)
            for face, other in pairs
        ]
        unsure = [face for face, here in zip(before.faces, found, strict=True) if here is None]
        looked = self._looked(Known(unsure, before.frame), one)
        if looked is None:
            return None
        new = iter(looked.faces)
        return Known([next(new) if here is None else here for here in found], one.frame)

    def _looked(self, before: Known, one: _Waiting) -> Known | None:
        """The faces of a frame, in the same order, in a later one; None where only a search can tell."""
        seen = [face for face in self._backend.follow(before, one.frame) if face is not None]
        return Known(seen, one.frame) if len(seen) == len(before.faces) else None

    def _newcomer(self, one: _Waiting, start: _Waiting, end: _Waiting, known: Sequence[Detection]) -> bool:
        """Whether somebody who is not known may have come into a frame and gone."""
        pixels = one.frame.pixels
        patch = self._settings.min_size / max(pixels.shape) * SIDE
        window = _changed(one, start.thumbnail, end.thumbnail, known, patch)
        return window is not None and self._backend.glance(pixels, window, known)


def _agree(faces: Sequence[Detection], coarse: Sequence[Detection]) -> bool:
    """Whether landmarks lie where a coarse search of the same frame has them; the faces are the same."""
    for face in faces:
        other = next(one for one in coarse if _same([face], [one]))
        if refine.distance(face.landmarks, other.landmarks) > COARSE:
            return False
    return True


def _settled(
    start: _Searched,
    between: Sequence[_Waiting],
    followed: Sequence[list[Detection]],
    end: Sequence[Detection],
    steps: int,
) -> list[FrameFaces]:
    """Followed faces, the largest first, with boxes that lead from those of one search to those of the next.

    Args:
        start: the search before; what it dropped counts for the frames in which nobody looked for it.
        end: the faces of the next search.
        steps: number of frames from one search to the next.
    """
    settled = []
    for i, (one, faces) in enumerate(zip(between, followed, strict=True)):
        share = (i + 1) / steps
        here = []
        for face, last in zip(faces, followed[-1], strict=True):
            goal = next((other for other in end if _same([last], [other])), None)
            box = face.bbox if goal is None else (1 - share) * face.bbox + share * carried(goal, face.landmarks)
            here.append(replace(face, bbox=_clipped(box, one.frame.pixels)))
        found = Detected(sorted(here, key=largest_first), start.found.dropped)
        settled.append(FrameFaces(one.frame, found, searched=False))
    return settled


def _clipped(box: NDArray[np.floating], pixels: Pixels) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    return np.asarray(np.clip(box, 0, [width, height, width, height]), np.float32)


def _known(faces: Sequence[Detection], others: Sequence[Detection]) -> bool:
    """Whether each face overlaps with one of the others."""
    if not faces or not others:
        return not faces
    boxes, known = (np.stack([face.bbox for face in some]) for some in (faces, others))
    return bool((overlaps(boxes, known) >= SAME_FACE).any(1).all())


def _same(faces: Sequence[Detection], others: Sequence[Detection]) -> bool:
    """Whether the same faces stand in both, each overlapping with one of the other."""
    if not faces or not others:
        return not faces and not others
    alike = overlaps(np.stack([face.bbox for face in faces]), np.stack([face.bbox for face in others])) >= SAME_FACE
    return bool((alike.sum(0) == 1).all() and (alike.sum(1) == 1).all())


def _grey(frame: Frame) -> Thumbnail:
    small = thumbnail(frame.pixels) if frame.small is None else frame.small
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def _identical(one: Thumbnail, other: Thumbnail) -> bool:
    return one.shape == other.shape and int(cv2.absdiff(one, other).max()) <= IDENTICAL


def _changed(
    seen: _Waiting, start: Thumbnail, end: Thumbnail, faces: Sequence[Detection], patch: float
) -> NDArray[np.int64] | None:
    """The part of a frame that looks like neither searched frame, away from known faces: who comes and goes is there.

    Args:
        patch: side, in pixels of a thumbnail, of the smallest part that counts.

    Returns:
        x0, y0, x1, y1 in pixels of the frame, int64 [4], with room around; None where there is no such part.
    """
    change = np.minimum(cv2.absdiff(seen.thumbnail, start), cv2.absdiff(seen.thumbnail, end)).astype(np.float32)
    height, width = seen.frame.pixels.shape[:2]
    scale = change.shape[1] / width
    for face in faces:
        room = (face.bbox[2:] - face.bbox[:2]) / 2  # hair and shoulders move with the face
        x0, y0 = np.maximum((face.bbox[:2] - room) * scale, 0).astype(int)
        x1, y1 = np.ceil((face.bbox[2:] + room) * scale).astype(int)
        change[y0:y1, x0:x1] = 0
    side = max(round(patch), 2)
    rows, columns = np.nonzero(cv2.blur(change, (side, side)) > CHANGED)
    if not len(rows):
        return None
    around = (ROOM + 0.5) * side
    corners = np.array([columns.min() - around, rows.min() - around, columns.max() + around, rows.max() + around])
    window: NDArray[np.int64] = np.clip(np.round(corners / scale), 0, [width, height, width, height]).astype(np.int64)
    return window
