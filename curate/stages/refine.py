"""Finds a face's five landmarks again, in a crop that is set upright by the landmarks so far.

Where a face lies in its frame and how large it is there shifts a network's landmarks by a hundredth of the face, enough
to make copies of one picture differ. In these crops each face looks the same, whatever became of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.records import Detection, Pixels
from curate.stages import align

SIDE, MARGIN = 160, 1.0
"""Size, pixels, and margin (see `align.template`) of the crops."""
PASSES = (False, True)
"""Passes, each from where the last one ended; whether also over the mirrored crop."""
MAX_DISTANCE = 0.08
"""Landmarks count if they are as near as this to the expected ones, on average, in sides of the crop."""

Points = NDArray[np.floating]
Find = Callable[[Sequence[Pixels]], Sequence[Sequence[Points]]]
"""Crops uint8 [SIDE, SIDE, 3] -> for each the landmarks [5, 2] of the faces in it, pixels of the crop."""


@dataclass(frozen=True)
class Refinement:
    """One face, cut out to have its landmarks found again.

    Attributes:
        crops: the face and, where it is seen both ways, its mirror image: a network trembles otherwise there, and the
            mean of both is the same for a mirrored copy.
        matrix: float64 [2, 3], pixels of the frame to pixels of the crop.
    """

    face: Detection
    crops: tuple[Pixels, ...]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, face: Detection, frame: Pixels, both: bool) -> Refinement:
        """Cuts the face out of its frame."""
        matrix = align.similarity(face.landmarks, align.template(SIDE, MARGIN))
        crop = align.warp(frame, matrix, SIDE)
        return cls(face, (crop, np.ascontiguousarray(crop[:, ::-1])) if both else (crop,), matrix)

    def refined(self, candidates: Sequence[Sequence[Points]]) -> Detection:
        """The face with the landmarks that were found in the crops, or as it was.

        Args:
            candidates: landmarks [5, 2] for each crop; the nearest of each count, if they are near.
        """
        expected = align.template(SIDE, MARGIN)
        found = []
        for mirrored, landmarks in enumerate(candidates):
            unmirrored = [mirror(points) if mirrored else points for points in landmarks]
            distances = [float(np.linalg.norm(points - expected, axis=1).mean()) for points in unmirrored]
            if distances and min(distances) <= MAX_DISTANCE * SIDE:
                found.append(unmirrored[int(np.argmin(distances))])
        if not found:
            return self.face
        points = np.mean(found, axis=0) - self.matrix[:, 2]
        landmarks = points @ np.linalg.inv(self.matrix[:, :2]).T
        return Detection(self.face.bbox, landmarks.astype(np.float32), self.face.score)


def refine(faces: Sequence[Detection], frames: Sequence[Pixels], find: Find) -> list[Detection]:
    """The faces with steadier landmarks.

    Args:
        frames: the frame of each face.
        find: the backend's way to find landmarks in crops.
    """
    refined = list(faces)
    for both in PASSES:
        cut = [Refinement.of(face, frame, both) for face, frame in zip(refined, frames, strict=True)]
        found = iter(find([crop for one in cut for crop in one.crops]))
        refined = [one.refined([next(found) for _ in one.crops]) for one in cut]
    return refined


def mirror(points: Points) -> Points:
    """Landmarks found in a mirrored crop, in the crop itself: image-left and image-right change places."""
    return (points * (-1, 1) + (SIDE - 1, 0))[[1, 0, 2, 4, 3]]
