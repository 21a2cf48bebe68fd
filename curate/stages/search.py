"""Searches frames with a network that takes pictures of any size: SCRFD and CenterFace share this.

A frame is searched at a size at which the smallest face that the recipe asks for is large enough for the network. One
in which nothing is found is searched again for a face that fills it. Landmarks are then found again in upright crops.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.recipe import FaceSettings
from curate.records import Detection, Pixels
from curate.stages.backend import MULTIPLE, Detected, ScaledFrame, select
from curate.stages.networks import Float, Network

REFINEMENT_SCORE = 0.3
"""Where landmarks are found again a face is known to be there; a weaker answer will do."""
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

    def find(self, scaled: Sequence[ScaledFrame], min_score: float) -> list[list[Detection]]:
        """All faces of each scaled frame, the surest first; those of one shape go through the network together."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, one in enumerate(scaled):
            by_shape[one.pixels.shape].append(i)
        found: list[list[Detection]] = [[] for _ in scaled]
        for members in by_shape.values():
            outputs = self.network.run([scaled[i].pixels for i in members])
            for row, i in enumerate(members):
                found[i] = self._faces([out[row] for out in outputs], scaled[i], min_score)
        return found

    def in_crops(self, crops: Sequence[Pixels]) -> list[list[Detection]]:
        """The faces of crops in which landmarks are found again; see `curate.stages.refine`."""
        return self.find([ScaledFrame.of(crop, len(crop), None) for crop in crops], REFINEMENT_SCORE)

    def _faces(self, outputs: Sequence[Float], scaled: ScaledFrame, min_score: float) -> list[Detection]:
        height, width = scaled.pixels.shape[:2]
        boxes, landmarks, scores = self.decode(outputs, (height, width), min_score)
        order = np.argsort(-scores, kind="stable")
        places = np.concatenate([boxes.reshape(-1, 2, 2), landmarks], 1)[order]
        places = ((places - scaled.offset) / np.float32(scaled.scale)).astype(np.float32)
        scores = scores[order]
        kept = _suppressed(places[:, :2].reshape(-1, 4), self.max_overlap)
        return [Detection(places[i, :2].reshape(4), places[i, 2:], float(scores[i])) for i in kept]


@dataclass(frozen=True)
class Search:
    """Finds the faces of frames by the recipe's section `faces`.

    Attributes:
        refine: gives faces, each of its own frame, their final landmarks; see `curate.stages.refine`.
    """

    detector: Detector
    settings: FaceSettings
    refine: Callable[[Sequence[Detection], Sequence[Pixels]], list[Detection]]

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`."""
        found = self._select([self._whole(frame) for frame in frames], frames)
        bare = [i for i, one in enumerate(found) if not one.faces]
        closer = self._select([self._close_up(frames[i]) for i in bare], [frames[i] for i in bare])
        for i, one in zip(bare, closer, strict=True):
            # what the first search left out is counted; the second would count it again
            found[i] = Detected(one.faces, found[i].dropped)
        owners = [frame for one, frame in zip(found, frames, strict=True) for _ in one.faces]
        refined = iter(self.refine([face for one in found for face in one.faces], owners))
        return [Detected([next(refined) for _ in one.faces], one.dropped) for one in found]

    def _whole(self, frame: Pixels) -> ScaledFrame:
        """The frame in the upper left corner, as insightface does it."""
        if not self.detector.network.free:
            fixed = _fixed_side(self.detector.network)
            return ScaledFrame.of(frame, fixed, fixed)
        return ScaledFrame.of(frame, search_side(max(frame.shape), self.settings, self.detector.smallest), None)

    def _close_up(self, frame: Pixels) -> ScaledFrame:
        """The frame made small in the middle of much empty space, where a face that fills it looks like any other."""
        side, canvas = self.detector.close_up
        if not self.detector.network.free:
            fixed = _fixed_side(self.detector.network)
            side, canvas = fixed * side // canvas, fixed
        return ScaledFrame.of(frame, side, canvas, centred=True)

    def _select(self, scaled: Sequence[ScaledFrame], frames: Sequence[Pixels]) -> list[Detected]:
        candidates = self.detector.find(scaled, self.settings.min_score)
        return [select(faces, frame, self.settings) for faces, frame in zip(candidates, frames, strict=True)]


def search_side(longest: int, settings: FaceSettings, smallest: float) -> int:
    """Longest side, pixels, at which a frame is searched: `faces.input_size`, or more where `faces.min_size` needs it.

    Args:
        longest: the frame's longest side, pixels.
        smallest: see `Detector`.
    """
    needed = math.ceil(longest * smallest / settings.min_size / MULTIPLE) * MULTIPLE
    return min(max(settings.input_size, needed), MAX_SIDE)


def _fixed_side(network: Network) -> int:
    side: int = network.session.get_inputs()[0].shape[2]
    return side


def _suppressed(boxes: Float, max_overlap: float) -> list[int]:
    """Non-maximum suppression: boxes float32 [n, 4], the surest first, that overlap with no surer one that is kept."""
    kept: list[int] = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    left: NDArray[np.int64] = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        left = left[shared <= max_overlap * (areas[left] + areas[best] - shared)]
    return kept
