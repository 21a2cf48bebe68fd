"""Finds a face's five landmarks again, in a crop that is set upright by the landmarks so far.

Where a face lies in its frame and how large it is there shifts a network's landmarks by a hundredth of the face, enough
to make copies of one picture differ. In these crops each face looks the same, whatever became of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.records import Detection, Pixels
from curate.stages import align

SIDE, MARGIN = 128, 0.6
"""Size, pixels, and margin (see `align.template`) of the crops.

Landmarks are as steady, and as near to annotated ones, as with 160 and 1.0; with 112 and 0.6 they are less steady.
"""
PASSES = 2
"""Passes, each from where the last one ended: further ones move landmarks by less than a tenth of a pixel of 112."""
MAX_DISTANCE = 0.11
"""Landmarks count if they are as near as this to the expected ones, on average, in sides of the crop."""

AGREED = 0.004
"""How far the landmarks that two frames give for one between them may lie apart, in sides of the crop."""
MOVED = 0.008
"""How far landmarks may have moved, in sides of the crop, where one more pass would not change them."""

Points = NDArray[np.floating]
Find = Callable[[Sequence[Pixels]], Sequence[Sequence[Detection]]]
"""Crops uint8 [SIDE, SIDE, 3] -> the faces in each, in pixels of the crop."""


@dataclass(frozen=True)
class Found:
    """Landmarks [5, 2] in pixels of the frame, and the least score of the faces that they were taken from."""

    landmarks: Points
    score: float


@dataclass(frozen=True)
class Refinement:
    """One face, cut out to have its landmarks found again.

    Attributes:
        crops: the face and, where it is seen both ways, its mirror image: a network trembles otherwise there, and the
            mean of both is the same for a mirrored copy.
        matrix: float64 [2, 3], pixels of the frame to pixels of the crop.
    """

    crops: tuple[Pixels, ...]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, landmarks: Points, frame: Pixels, both: bool) -> Refinement:
        """Cuts out the face that has these landmarks, [5, 2] in pixels of the frame."""
        matrix = align.similarity(landmarks, align.template(SIDE, MARGIN))
        crop = align.warp_quickly(frame, matrix, SIDE)
        return cls((crop, np.ascontiguousarray(crop[:, ::-1])) if both else (crop,), matrix)

    def refined(self, candidates: Sequence[Sequence[Detection]]) -> Found | None:
        """What was found in the crops.

        Args:
            candidates: the faces in each crop; the nearest of each counts, if it is near.

        Returns:
            None where no crop shows the face.
        """
        expected = align.template(SIDE, MARGIN)
        found: list[tuple[Points, float]] = []
        for mirrored, faces in enumerate(candidates):
            places = [mirror(face.landmarks) if mirrored else face.landmarks for face in faces]
            distances = [float(np.linalg.norm(points - expected, axis=1).mean()) for points in places]
            if distances and min(distances) <= MAX_DISTANCE * SIDE:
                nearest = int(np.argmin(distances))
                found.append((places[nearest], faces[nearest].score))
        if not found:
            return None
        points = np.mean([points for points, _ in found], axis=0) - self.matrix[:, 2]
        return Found(points @ np.linalg.inv(self.matrix[:, :2]).T, min(score for _, score in found))


def refine(faces: Sequence[Detection], frames: Sequence[Pixels], find: Find) -> list[Detection]:
    """The faces with steadier landmarks; one that its crop does not show stays as it was.

    Args:
        frames: the frame of each face.
        find: the backend's way to find faces in crops.
    """
    for _ in range(PASSES):
        faces = looked(faces, frames, find)
    return list(faces)


def looked(faces: Sequence[Detection], frames: Sequence[Pixels], find: Find, mirrored: bool = True) -> list[Detection]:
    """The faces after one pass; one that its crop does not show stays as it was."""
    found = look([face.landmarks for face in faces], frames, find, mirrored)
    pairs = zip(faces, found, strict=True)
    return [face if new is None else placed(face, new.landmarks) for face, new in pairs]


def placed(face: Detection, landmarks: Points) -> Detection:
    """The face with other landmarks [5, 2]."""
    return Detection(face.bbox, landmarks.astype(np.float32), face.score)


def follow(landmarks: Sequence[Points], before: Pixels, frame: Pixels, find: Find) -> list[Found | None]:
    """Finds faces again near where they were in the frame before; None for each that is not seen there.

    Each is looked for where the picture moved to. One that is found elsewhere is looked for once more from there, so
    that the landmarks are those of `refine`.
    """
    there = [gone_to(points, before, frame) for points in landmarks]
    found = look(there, [frame] * len(there), find)
    off = {i: one.landmarks for i, one in enumerate(found) if one is not None and _apart(there[i], one.landmarks)}
    for i, one in zip(off, look(list(off.values()), [frame] * len(off), find), strict=True):
        found[i] = one
    return found


def between(before: tuple[Points, Pixels], after: tuple[Points, Pixels], frame: Pixels, share: float) -> Points | None:
    """Landmarks [5, 2] in a frame between two in which they are known: between what either says.

    Args:
        before, after: landmarks and the frame that they are of.
        share: how much of the time from one to the other has gone.

    Returns:
        None where the picture does not show how the face moved, or the two say something else.
    """
    forth, back = moved(*before, frame), moved(*after, frame)
    if forth is None or back is None or distance(forth, back) > AGREED * SIDE:
        return None
    return (1 - share) * forth + share * back


def gone_to(landmarks: Points, before: Pixels, frame: Pixels) -> Points:
    """As `moved`; where they were if the picture does not say."""
    there = moved(landmarks, before, frame)
    return landmarks if there is None else there


def moved(landmarks: Points, before: Pixels, frame: Pixels) -> Points | None:
    """Where landmarks [5, 2] of the frame before have gone with the picture around them.

    Pyramidal Lucas-Kanade (Bouguet 2001) on a grid over the face gives the turn, scale and shift that most of it made.

    Returns:
        None where too little of the face is found again.
    """
    matrix = align.similarity(landmarks, align.template(SIDE, MARGIN))
    old, new = (cv2.pyrDown(_grey(cv2.warpAffine(pixels, matrix, (SIDE, SIDE)))) for pixels in (before, frame))
    there, seen, _ = cv2.calcOpticalFlowPyrLK(old, new, FLOW_GRID, None, winSize=FLOW_WINDOW, maxLevel=FLOW_LEVELS)
    steps = (there - FLOW_GRID)[:, 0]
    usual = np.median(steps, axis=0)
    kept = (seen[:, 0] == 1) & (np.linalg.norm(steps - usual, axis=1) <= FLOW_SPREAD)
    if kept.sum() < len(kept) / 2:
        return None
    step = align.similarity(2 * FLOW_GRID[kept, 0], 2 * there[kept, 0])  # in pixels of the crop, twice as large
    placed = landmarks @ matrix[:, :2].T + matrix[:, 2]
    gone = placed @ step[:, :2].T + step[:, 2]
    return np.asarray((gone - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)


def _grey(crop: Pixels) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))


def _grid() -> NDArray[np.float32]:
    """float32 [49, 1, 2]: points all over the face of a crop of half the size, as OpenCV takes them."""
    low, high = align.template(SIDE // 2, MARGIN).min(0) - 6, align.template(SIDE // 2, MARGIN).max(0) + 6
    x, y = np.meshgrid(np.linspace(low[0], high[0], 7), np.linspace(low[1], high[1], 7))
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)[:, None]


FLOW_GRID = _grid()
FLOW_WINDOW, FLOW_LEVELS = (15, 15), 2
"""What is compared around each point, pixels of the halved crop, and how often that is halved again."""
FLOW_SPREAD = 3.0
"""How far a point may move against the median of all, pixels of the halved crop, to count."""


def _apart(points: Points, others: Points) -> bool:
    return distance(points, others) > MOVED * SIDE


def distance(points: Points, others: Points) -> float:
    """Mean distance of landmarks [5, 2], pixels of the crop that the first ask for."""
    matrix = align.similarity(points, align.template(SIDE, MARGIN))
    return float(np.linalg.norm((others - points) @ matrix[:, :2].T, axis=1).mean())


def look(
    landmarks: Sequence[Points], frames: Sequence[Pixels], find: Find, mirrored: bool = True
) -> list[Found | None]:
    """One pass over faces, each of its own frame, from the landmarks so far; None where a face is not seen."""
    cut = [Refinement.of(points, frame, mirrored) for points, frame in zip(landmarks, frames, strict=True)]
    found = iter(find([crop for one in cut for crop in one.crops]))
    return [one.refined([next(found) for _ in one.crops]) for one in cut]


def mirror(points: Points) -> Points:
    """Landmarks found in a mirrored crop, in the crop itself: image-left and image-right change places."""
    return (points * (-1, 1) + (SIDE - 1, 0))[[1, 0, 2, 4, 3]]
