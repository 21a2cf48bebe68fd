"""Searches frames with a network that takes pictures of any size: SCRFD and CenterFace share this.

A frame is searched at a size at which the smallest face that the recipe asks for is large enough for the network. One
in which nothing is found is searched again for a face that fills it. Landmarks are then found again in upright crops.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curate.recipe import FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import refine
from curate.stages.backend import MULTIPLE, NEAR_SCORE, NEAR_SIZE, Detected, Known, ScaledFrame, carried, select
from curate.stages.networks import Float, Network

REFINEMENT_SCORE = 0.3
"""Where landmarks are found again a face is known to be there; a weaker answer will do."""
COUNTED = 0.6
"""Detections are counted as dropped from this share of `faces.min_score` on: what is weaker is no face."""
KNOWN = 0.5
"""Share of a face's box within that of a known one from which it is this one, perhaps cut off by the part's edge."""
CONFIRM = 2
"""A frame whose faces are probably known is searched at `faces.input_size` divided by this, or as large as faces of
`faces.min_size` need it."""
MAX_SIDE = 4096
"""Longest side at which a frame is searched, pixels: beyond it memory runs out."""

Decode = Callable[[Sequence[Float], tuple[int, int], float], tuple[Float, Float, Float]]
"""Outputs for one picture, its height and width, least score -> boxes [n, 4], landmarks [n, 5, 2] and scores [n]."""


@dataclass(frozen=True)
class Detector:
    """A network that finds faces, and what is known of it.

    Attributes:
        decode: makes its outputs into faces in pixels of the picture.
        max_overlap: intersection over union above which the surer of two boxes is kept.
        smallest: shorter side of the smallest face that it finds reliably, pixels of the scaled frame (measured:
            `benchmarks/detectors.py`).
        close_up: longest side to which a frame is shrunk, and side of the square to which it is then padded, when it is
            searched for a face that fills it.
    """

    network: Network
    decode: Decode
    max_overlap: float
    smallest: float
    close_up: tuple[int, int]

    def find(self, scaled: Sequence[ScaledFrame], min_score: float, blended: bool = False) -> list[list[Detection]]:
        """All faces of each scaled frame, the surest first; those of one shape go through the network together.

        Args:
            blended: whether landmarks are means over all answers for a face, weighed by their scores, and not those of
                the surest: that one jumps from one place of the network to the next (Bazarevsky et al. 2019).
        """
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, one in enumerate(scaled):
            by_shape[one.pixels.shape].append(i)
        found: list[list[Detection]] = [[] for _ in scaled]
        for members in by_shape.values():
            outputs = self.network.run([scaled[i].pixels for i in members])
            for row, i in enumerate(members):
                found[i] = self._faces([out[row] for out in outputs], scaled[i], min_score, blended)
        return found

    def in_crops(self, crops: Sequence[Pixels]) -> list[list[Detection]]:
        """The faces of crops in which landmarks are found again; see `curate.stages.refine`."""
        return self.find([ScaledFrame.of(crop, len(crop), None) for crop in crops], REFINEMENT_SCORE, blended=True)

    def _faces(self, outputs: Sequence[Float], scaled: ScaledFrame, min_score: float, blended: bool) -> list[Detection]:
        height, width = scaled.pixels.shape[:2]
        boxes, landmarks, scores = self.decode(outputs, (height, width), min_score)
        order = np.argsort(-scores, kind="stable")
        places = np.concatenate([boxes.reshape(-1, 2, 2), landmarks], 1)[order]
        places = ((places - scaled.offset) / np.float32(scaled.scale)).astype(np.float32)
        scores = scores[order]
        faces = []
        for best, *others in _answers(places[:, :2].reshape(-1, 4), self.max_overlap):
            members = [best, *others] if blended else [best]
            points = np.average(places[members, 2:], axis=0, weights=scores[members]).astype(np.float32)
            faces.append(Detection(places[best, :2].reshape(4), points, float(scores[best])))
        return faces


@dataclass(frozen=True)
class Search:
    """Finds the faces of frames by the recipe's section `faces`.

    Attributes:
        steady: gives faces, each of its own frame, their final landmarks; see `curate.stages.refine`.
    """

    detector: Detector
    settings: FaceSettings
    steady: Callable[[Sequence[Detection], Sequence[Pixels]], list[Detection]]

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`."""
        found = self._select([self._whole(frame, self.settings.input_size) for frame in frames], frames)
        bare = [i for i, one in enumerate(found) if not one.faces]
        for i, one in zip(bare, self._closer([found[i] for i in bare], [frames[i] for i in bare]), strict=True):
            found[i] = one
        owners = [frame for one, frame in zip(found, frames, strict=True) for _ in one.faces]
        refined = iter(self.steady([face for one in found for face in one.faces], owners))
        return [replace(one, faces=[next(refined) for _ in one.faces]) for one in found]

    def confirm(self, frame: Pixels) -> Detected:
        """See `Backend.confirm`."""
        found = self._select([self._whole(frame, self.settings.input_size // CONFIRM)], [frame])[0]
        return found if found.faces else self._closer([found], [frame])[0]

    def glance(self, frame: Pixels, window: NDArray[np.int64], known: Sequence[Detection]) -> bool:
        """See `Backend.glance`; the part is searched at the scale at which `confirm` searches the whole."""
        x0, y0, x1, y1 = window
        part = frame[y0:y1, x0:x1]
        longest = max(frame.shape)
        scale = self._side(longest, self.settings.input_size // CONFIRM) / longest
        scaled = ScaledFrame.of(part, max(round(max(part.shape[:2]) * scale), MULTIPLE), None)
        corner = np.array([x0, y0, x0, y0], np.float32)
        boxes = [face.bbox for face in known]
        for face in self.detector.find([scaled], self.settings.min_score - NEAR_SCORE)[0]:
            box = face.bbox + corner
            large = min(box[2] - box[0], box[3] - box[1]) * NEAR_SIZE >= self.settings.min_size
            if large and not any(_within(box, other) > KNOWN for other in boxes):
                return True
        return False

    def followed(
        self, faces: Sequence[Detection], found: Sequence[refine.Found | None], frame: Pixels
    ) -> list[Detection | None]:
        """The faces moved to the landmarks that were found, their boxes with them; None for each that is unsure."""
        height, width = frame.shape[:2]
        limit = np.array([width, height, width, height], np.float32)
        moved: list[Detection | None] = []
        for face, new in zip(faces, found, strict=True):
            if new is None or new.score < self.settings.min_score:
                moved.append(None)
                continue
            box = np.clip(carried(face, new.landmarks), 0, limit).astype(np.float32)
            large = min(box[2] - box[0], box[3] - box[1]) >= self.settings.min_size
            moved.append(Detection(box, new.landmarks.astype(np.float32), new.score) if large else None)
        return moved

    def between(self, before: Known, after: Known, frame: Frame) -> Detection | None:
        """See `Backend.between`."""
        (face,), (other,) = before.faces, after.faces
        share = (frame.time_s - before.frame.time_s) / max(after.frame.time_s - before.frame.time_s, 1e-6)
        first, last = (face.landmarks, before.frame.pixels), (other.landmarks, after.frame.pixels)
        points = refine.between(first, last, frame.pixels, share)
        found = None if points is None else refine.Found(points, min(face.score, other.score))
        return self.followed([face], [found], frame.pixels)[0]

    def _closer(self, found: Sequence[Detected], frames: Sequence[Pixels]) -> list[Detected]:
        """Frames in which nothing was found, searched again for a face that fills them."""
        closer = self._select([self._close_up(frame) for frame in frames], frames)
        # what the first search left out is counted; the second would count it again
        return [Detected(b.faces, a.dropped, a.doubtful or b.doubtful) for a, b in zip(found, closer, strict=True)]

    def _whole(self, frame: Pixels, side: int) -> ScaledFrame:
        """The frame in the upper left corner, as insightface does it."""
        if (fixed := self.detector.network.side) is not None:
            return ScaledFrame.of(frame, fixed, fixed)
        return ScaledFrame.of(frame, self._side(max(frame.shape), side), None)

    def _side(self, longest: int, side: int) -> int:
        return search_side(longest, side, self.settings.min_size, self.detector.smallest)

    def _close_up(self, frame: Pixels) -> ScaledFrame:
        """The frame made small in the middle of much empty space, where a face that fills it looks like any other."""
        side, canvas = self.detector.close_up
        if (fixed := self.detector.network.side) is not None:
            side, canvas = fixed * side // canvas, fixed
        return ScaledFrame.of(frame, side, canvas, centred=True)

    def _select(self, scaled: Sequence[ScaledFrame], frames: Sequence[Pixels]) -> list[Detected]:
        # what lies below the limit is counted, and shows where the next frame may decide otherwise
        candidates = self.detector.find(scaled, self.settings.min_score * COUNTED)
        return [select(faces, frame, self.settings) for faces, frame in zip(candidates, frames, strict=True)]


def _within(box: Float, other: Float) -> float:
    """The share of a box that lies within another one."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)) / max(np.prod(box[2:] - box[:2]), 1e-9))


def search_side(longest: int, side: int, min_size: float, smallest: float) -> int:
    """Longest side, pixels, at which a frame is searched: `side`, or more where faces of `min_size` need it.

    Args:
        longest: the frame's longest side, pixels.
        smallest: see `Detector`.
    """
    return min(max(_multiple(side), _multiple(longest * smallest / min_size)), MAX_SIDE)


def _multiple(side: float) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def _answers(boxes: Float, max_overlap: float) -> list[list[int]]:
    """Non-maximum suppression: for each face its boxes of float32 [n, 4], which begin with the surest."""
    faces: list[list[int]] = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    left: NDArray[np.int64] = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        sides = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        same = shared > max_overlap * (areas[left] + areas[best] - shared)
        faces.append([int(best), *left[same].tolist()])
        left = left[~same]
    return faces
