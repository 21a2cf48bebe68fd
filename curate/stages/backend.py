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

from curate.recipe import FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import align
from curate.storage.files import sha256_file

MULTIPLE = 32
"""Sides of scaled frames are multiples of this, the coarsest stride of SCRFD."""


@dataclass(frozen=True)
class ModelFile:
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
    def of(cls, path: Path, task: str, licence: str, url: str) -> ModelFile:
        """The model whose file is `path`."""
        return cls(path.name, sha256_file(path), task, licence, url)


@dataclass(frozen=True)
class Detected:
    """What was found in one frame.

    Attributes:
        faces: the faces by the recipe's section `faces`, the largest first.
        dropped: reason -> detections that are no faces by the recipe.
        doubtful: whether a detection is so near a limit of the recipe that it may pass it in the next frame.
    """

    faces: list[Detection]
    dropped: Counter[str]
    doubtful: bool = False


@dataclass(frozen=True)
class Known:
    """A frame whose faces were found."""

    faces: Sequence[Detection]
    frame: Frame


class Backend(Protocol):
    """A detector of faces with five landmarks and, where it has one, a network that distinguishes people.

    The result for one frame or crop depends on no other one that is passed at the same time.

    Attributes:
        name: `insightface`, `centerface` or `dlib`.
        device: where its networks run, `cpu` or `cuda`.
        models: the files in use.
        identity_threshold: cosine from which two identity vectors are one person's; None without identity.
        follows: whether `follow` ever finds a face again.
    """

    name: str
    device: str
    models: tuple[ModelFile, ...]
    identity_threshold: float | None
    follows: bool

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """Finds the faces of each frame."""
        ...

    def confirm(self, frame: Pixels) -> Detected:
        """Finds the faces of a frame with as little work as `faces.min_size` allows, to see whether they are known.

        Their landmarks are coarse.
        """
        ...

    def follow(self, before: Known, frame: Frame) -> list[Detection | None]:
        """Finds known faces again in a later frame near where they were; None for each that may be gone."""
        ...

    def between(self, before: Known, after: Known, frame: Frame) -> Detection | None:
        """Where a face, the only known one before and after a frame, is in it; None where the picture does not say."""
        ...

    def glance(self, frame: Pixels, window: NDArray[np.int64], known: Sequence[Detection]) -> bool:
        """Whether a face that overlaps none of `known` may be in the part [x0, y0, x1, y1] of a frame."""
        ...

    def identity(self, crops: Pixels) -> NDArray[np.float32] | None:
        """float32 [n, D] of unit length for crops uint8 [n, side, side, 3]; None where there is no network for it."""
        ...


@dataclass(frozen=True)
class ScaledFrame:
    """A frame as a network sees it: `position in pixels = position in the frame * scale + offset`."""

    pixels: Pixels
    scale: float
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, frame: Pixels, side: int, canvas: int | None, centred: bool = False) -> ScaledFrame:
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


NEAR_SCORE, NEAR_SIZE = 0.1, 1.2
"""How far from `faces.min_score`, and how many times from `faces.min_size`, a detection is no longer near the limit."""


def select(candidates: Sequence[Detection], frame: Pixels, settings: FaceSettings) -> Detected:
    """Keeps candidates that are sound, sure and large enough, clipped to the frame: at most `max_per_frame`."""
    height, width = frame.shape[:2]
    limit = np.array([width, height, width, height], np.float32)
    dropped: Counter[str] = Counter()
    doubtful = False
    kept = []
    for face in candidates:
        box = np.clip(face.bbox, 0, limit).astype(np.float32)
        size = min(box[2] - box[0], box[3] - box[1])
        possible = face.score >= settings.min_score - NEAR_SCORE and size * NEAR_SIZE >= settings.min_size
        sure = face.score >= settings.min_score + NEAR_SCORE and size >= settings.min_size * NEAR_SIZE
        doubtful |= possible and not sure
        if size < settings.min_size:
            dropped[f"smaller than faces.min_size = {settings.min_size:g} px"] += face.score >= settings.min_score
        elif face.score < settings.min_score:
            dropped[f"below faces.min_score = {settings.min_score:g}"] += 1
        elif not np.isfinite(face.landmarks).all() or _flat(face.landmarks):
            dropped["without usable landmarks"] += 1
        else:
            kept.append(Detection(box, face.landmarks.astype(np.float32), float(face.score)))
    kept.sort(key=largest_first)
    if len(kept) > settings.max_per_frame:
        dropped[f"more than faces.max_per_frame = {settings.max_per_frame}"] += len(kept) - settings.max_per_frame
        doubtful = True
    return Detected(kept[: settings.max_per_frame], +dropped, doubtful)


def largest_first(face: Detection) -> tuple[float, float, list[float]]:
    """Sorts the faces of a frame: the largest first, then the surest."""
    return -float(np.prod(face.bbox[2:] - face.bbox[:2])), -face.score, face.bbox.tolist()


def overlaps(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [n, m]: intersection over union of boxes [n, 4] with others [m, 4]."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = np.prod(np.maximum(sides, 0), axis=2)
    areas, other_areas = (np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=1) for b in (boxes, others))
    return np.asarray(shared / np.maximum(areas[:, None] + other_areas[None] - shared, 1e-9), np.float32)


def carried(face: Detection, landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """The box of a face, float32 [4], moved and scaled as its landmarks moved to `landmarks` [5, 2]."""
    matrix = align.similarity(face.landmarks, landmarks)
    corners = face.bbox.reshape(2, 2).astype(np.float64)
    centre = matrix[:, :2] @ corners.mean(0) + matrix[:, 2]
    half = (corners[1] - corners[0]) / 2 * np.hypot(matrix[0, 0], matrix[1, 0])
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows of `vectors` at length 1, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def logit(share: float) -> float:
    """The inverse of the logistic function; finite for 0 and 1 as well."""
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def _flat(landmarks: NDArray[np.float32]) -> bool:
    """Whether the points span less than a pixel, so that nothing can be aligned to them."""
    return bool(np.ptp(landmarks, axis=0).max() < 1)
