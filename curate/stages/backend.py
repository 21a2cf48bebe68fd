"""What every face backend offers, and the filters that all of them share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.recipe import Faces
from curate.records import Detection, Pixels
from curate.stages import align
from curate.storage.files import sha256_file

MULTIPLE = 32
"""Sides of searched pictures are multiples of this, the coarsest stride of SCRFD."""

SECOND_SIDE, SECOND_MARGIN = 160, 1.0
"""Size and margin of the crop in which a face's landmarks are looked for again."""
LOOKS = (False, True)
"""Looks that are taken after the first, each from where the last one ended; whether also at the mirrored crop."""
SECOND_DISTANCE = 0.08
"""Landmarks of the second look count if they are as near as this to the first, on average, in sides of the crop."""


@dataclass(frozen=True)
class Model:
    """One model file, as `build.json` names it.

    Attributes:
        file: name of the file, without its folder.
        sha256: hex digest of its bytes.
        task: what it is used for: `detection`, `landmarks` or `identity`.
        licence: its terms, in a few words.
        url: where the terms stand.
    """

    file: str
    sha256: str
    task: str
    licence: str
    url: str

    @classmethod
    def of(cls, path: Path, task: str, licence: str, url: str) -> Model:
        """The model whose file is `path`."""
        return cls(path.name, sha256_file(path), task, licence, url)


class Backend(Protocol):
    """A detector of faces with five landmarks and, where it has one, a network that knows people apart.

    What it says of one frame or crop depends on no other one that it is given at the same time.

    Attributes:
        name: `insightface` or `dlib`.
        models: the files in use.
        identity_threshold: cosine from which two identity vectors are one person's; None without identity.
        dropped: reason -> detections that were no faces by the recipe, since this was last cleared.
    """

    name: str
    models: tuple[Model, ...]
    identity_threshold: float | None
    dropped: Counter[str]

    def detect(self, frames: Sequence[Pixels]) -> list[list[Detection]]:
        """The faces of each frame, the largest first, filtered by the recipe's section `faces`."""
        ...

    def identity(self, crops: Pixels) -> NDArray[np.float32] | None:
        """float32 [n, D] of unit length for crops uint8 [n, side, side, 3]; None where there is no network for it."""
        ...


@dataclass(frozen=True)
class Picture:
    """A frame as it is searched: `position in pixels = position in the frame * scale + offset`."""

    pixels: Pixels
    scale: float
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, frame: Pixels, side: int, canvas: int | None, centred: bool = False) -> Picture:
        """Scales the longest side to `side`, on black: a square of `canvas`, or as little as `MULTIPLE` allows."""
        height, width = frame.shape[:2]
        if height > width:
            size = max(int(side / (height / width)), 1), side
        else:
            size = side, max(int(side * (height / width)), 1)
        small = cv2.resize(frame, size)
        full = [canvas or -(-edge // MULTIPLE) * MULTIPLE for edge in size]
        x, y = [(whole - part) // 2 if centred else 0 for whole, part in zip(full, size, strict=True)]
        pixels = np.zeros((full[1], full[0], 3), np.uint8)
        pixels[y : y + size[1], x : x + size[0]] = small
        return cls(pixels, size[1] / height, np.array([x, y], np.float32))


def selected(faces: Sequence[Detection], frame: Pixels, settings: Faces, dropped: Counter[str]) -> list[Detection]:
    """Faces clipped to the frame, sound, sure and large enough; the largest first, at most `max_per_frame`.

    Each one that is left out is counted in `dropped` under its reason.
    """
    height, width = frame.shape[:2]
    limit = np.array([width, height, width, height], np.float32)
    kept = []
    for face in faces:
        box = np.clip(face.bbox, 0, limit).astype(np.float32)
        if face.score < settings.min_score:
            dropped[f"below faces.min_score = {settings.min_score:g}"] += 1
        elif not np.isfinite(face.landmarks).all() or _flat(face.landmarks):
            dropped["without usable landmarks"] += 1
        elif min(box[2] - box[0], box[3] - box[1]) < settings.min_size:
            dropped[f"smaller than faces.min_size = {settings.min_size:g} px"] += 1
        else:
            kept.append(Detection(box, face.landmarks.astype(np.float32), float(face.score)))
    kept.sort(key=lambda face: (-_area(face.bbox), -face.score, face.bbox.tolist()))
    if len(kept) > settings.max_per_frame:
        dropped[f"more than faces.max_per_frame = {settings.max_per_frame}"] += len(kept) - settings.max_per_frame
    return kept[: settings.max_per_frame]


@dataclass(frozen=True)
class SecondLook:
    """A face cut out and set upright by its landmarks so far, so that they can be found again more steadily.

    Where a face lies in its frame and how large it is there shifts a network's landmarks by a hundredth of the face,
    enough to tell copies of one picture apart. In this crop each face looks the same, whatever became of the frame.

    Attributes:
        crops: the face and, where it is looked at both ways, its mirror image: a network trembles otherwise there, and
            the mean of both is the same for a mirrored copy.
    """

    face: Detection
    crops: tuple[Pixels, ...]
    matrix: NDArray[np.float64]

    @classmethod
    def at(cls, face: Detection, frame: Pixels, both: bool) -> SecondLook:
        """Cuts the face out of its frame."""
        matrix = align.similarity(face.landmarks, align.template(SECOND_SIDE, SECOND_MARGIN))
        crop = align.warp(frame, matrix, SECOND_SIDE)
        return cls(face, (crop, np.ascontiguousarray(crop[:, ::-1])) if both else (crop,), matrix)

    def settled(self, candidates: Sequence[Sequence[NDArray[np.floating]]]) -> Detection:
        """The face with the landmarks that were found in the crops, or as it was.

        Args:
            candidates: landmarks [5, 2] for each crop; the nearest of each count, if they are near.
        """
        expected = align.template(SECOND_SIDE, SECOND_MARGIN)
        found = []
        for mirrored, landmarks in enumerate(candidates):
            unmirrored = [_mirrored(points) if mirrored else points for points in landmarks]
            distances = [float(np.linalg.norm(points - expected, axis=1).mean()) for points in unmirrored]
            if distances and min(distances) <= SECOND_DISTANCE * SECOND_SIDE:
                found.append(unmirrored[int(np.argmin(distances))])
        if not found:
            return self.face
        points = np.mean(found, axis=0) - self.matrix[:, 2]
        landmarks = points @ np.linalg.inv(self.matrix[:, :2]).T
        return Detection(self.face.bbox, landmarks.astype(np.float32), self.face.score)


def _mirrored(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Landmarks found in a mirrored crop, in the crop itself: image-left and image-right change places."""
    return (points * (-1, 1) + (SECOND_SIDE - 1, 0))[[1, 0, 2, 4, 3]]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows of `vectors` at length 1, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def logit(share: float) -> float:
    """The inverse of the logistic function; finite for 0 and 1 as well."""
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _flat(landmarks: NDArray[np.float32]) -> bool:
    """Whether the points span less than a pixel, so that nothing can be aligned to them."""
    return bool(np.ptp(landmarks, axis=0).max() < 1)
