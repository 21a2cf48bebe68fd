"""Faces by dlib, from model files that the package `face_recognition_models` installs: nothing is downloaded.

The detector (histograms of oriented gradients, dlib's `get_frontal_face_detector`) finds upright faces turned by up to
about 45 degrees whose side is a twelfth or more of the frame's longest one; profiles, lying heads and hidden faces it
misses. Its score has no bounds; here it is `1 / (1 + exp(-SLOPE * (score - SURE)))`, so that `faces.min_score = 0.5`
asks for a little more than dlib's own limit of 0, where it takes folds and lamps for faces.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from curate.errors import UnavailableError
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import dlib_network, gpu_process, networks, refine
from curate.stages.backend import Detected, Known, ModelFile, ScaledFrame, logit, select, unit

LANDMARKS = "shape_predictor_68_face_landmarks.dat"
LICENCES = {
    LANDMARKS: "CC0-1.0 file; trained on 300-W, whose licence excludes commercial use",
    "dlib_face_recognition_resnet_model_v1.dat": "CC0-1.0",
}
LICENCE_URL = "https://github.com/davisking/dlib-models"
SURE, SLOPE = 0.2, 2.0
ENLARGE = 1.5
"""Frames are searched this much larger than `faces.input_size`: the detector's window is 80 pixels wide."""
CLOSE_UP_SIDE, CLOSE_UP_CANVAS = 160, 224
"""Sides to which a frame is shrunk and then padded when it is searched for a face that fills it."""
CHIP_PADDING = 0.25
"""Padding of the pictures that the recogniser was trained on."""
IDENTITY = networks.Kind("identity", mean=0.0, deviation=1.0, batch=32, side=(dlib_network.SIDE, dlib_network.SIDE))
IDENTITY_THRESHOLD = 0.94
"""Cosine from which two faces are one person's (measured: `benchmarks/people.py`)."""
FIVE_OF_68 = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,))
"""Which of the 68 points (counted from 0) are averaged into each of the five."""
TEMPLATE_BOX = np.array([[0.12, 0.25], [0.88, 1.01]])
"""Corners of the box that the detector gives a face aligned to ArcFace's square, as shares of its side (measured)."""

Float = NDArray[np.float32]


class Recogniser:
    """dlib's face recognition network, which distinguishes people by aligned crops.

    Attributes:
        models: the files in use.
        threshold: cosine from which two vectors are one person's.
    """

    threshold = IDENTITY_THRESHOLD

    def __init__(self, margin: float, device: str = "cpu", threads: int = 1) -> None:
        """Loads the networks for crops that are cut with `margin`; onnxruntime runs the recogniser.

        Raises:
            UnavailableError: the package with the model files is not installed.
        """
        self._margin = margin
        landmarks, recogniser = (model_folder() / name for name in LICENCES)
        self._network = gpu_process.load(dlib_network.converted(recogniser.read_bytes()), IDENTITY, device, threads)
        self.models: tuple[ModelFile, ...] = (
            ModelFile.of(landmarks, "landmarks", LICENCES[landmarks.name], LICENCE_URL),
            ModelFile.of(recogniser, "identity", LICENCES[recogniser.name], LICENCE_URL),
        )

    def vectors(self, crops: Pixels) -> Float:
        """See `Backend.identity`: of each crop and of its mirror image, which makes people easier to distinguish.

        The face's place in a crop is known, so it is not searched again.
        """
        if len(crops) == 0:
            return np.zeros((0, dlib_network.DIMENSION), np.float32)
        chips = [self._chip(crop) for crop in crops]
        mirrored = [np.ascontiguousarray(chip[:, ::-1]) for chip in chips]
        return unit(self._network.run(chips)[0] + self._network.run(mirrored)[0])

    def five(self, pixels: Pixels, box: dlib.rectangle) -> NDArray[np.float64]:
        """float64 [5, 2]: the five landmarks of the face in `box`, from dlib's 68."""
        shape = predictor()(pixels, box)
        found = [np.mean([(shape.part(i).x, shape.part(i).y) for i in part], axis=0) for part in FIVE_OF_68]
        return np.stack(found).astype(np.float64)

    def in_crops(self, crops: Sequence[Pixels], starts: Sequence[tuple[int, int]] = ((0, 0),)) -> list[list[Detection]]:
        """The landmarks of upright crops; where the face lies in them is known.

        Args:
            starts: shifts of that place, pixels; landmarks are the mean of what the predictor says from each.
        """
        box = _box(refine.SIDE, refine.MARGIN)
        corners = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1], np.float32)
        boxes = [dlib.translate_rect(box, dlib.point(x, y)) for x, y in starts]
        greys = [(crop.sum(2, dtype=np.uint16) // 3).astype(np.uint8) for crop in crops]  # as dlib would, each time
        points = [np.mean([self.five(grey, one) for one in boxes], axis=0) for grey in greys]
        return [[Detection(corners, five.astype(np.float32), 1.0)] for five in points]

    def _chip(self, crop: Pixels) -> Pixels:
        """The face as the recogniser was trained: uint8 [150, 150, 3]."""
        shape = predictor()(crop, _box(len(crop), self._margin))
        chip: Pixels = dlib.get_face_chip(crop, shape, dlib_network.SIDE, CHIP_PADDING)
        return chip


class Dlib:
    """The backend without ONNX models; see `curate.stages.backend.Backend`."""

    name = "dlib"
    device = "cpu"
    follows = False

    def __init__(self, settings: FaceSettings, crop: CropSettings) -> None:
        """Loads detector, landmarks and recogniser.

        Raises:
            UnavailableError: the package with the model files is not installed.
        """
        self._settings = settings
        self._finder = dlib.get_frontal_face_detector()
        self._recogniser = Recogniser(crop.margin)
        self.models = self._recogniser.models
        self.identity_threshold: float | None = self._recogniser.threshold

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`. A frame in which no face is found is searched again for one that fills it."""
        return [self._detect(frame) for frame in frames]

    def identity(self, crops: Pixels) -> Float | None:
        """See `Backend.identity`."""
        return self._recogniser.vectors(crops)

    def confirm(self, frame: Pixels) -> Detected:
        """See `Backend.confirm`."""
        return self._detect(frame)

    def follow(self, before: Known, frame: Frame) -> list[Detection | None]:  # noqa: ARG002
        """See `Backend.follow`. Without a score, which dlib's landmarks lack, only a search can tell."""
        return [None] * len(before.faces)

    def between(self, *frames: object) -> None:
        """See `Backend.between`."""

    def glance(self, frame: Pixels, window: NDArray[np.int64], known: Sequence[Detection]) -> bool:  # noqa: ARG002
        """See `Backend.glance`."""
        return True

    def _detect(self, frame: Pixels) -> Detected:
        side = round(self._settings.input_size * ENLARGE)
        found = self._search(frame, ScaledFrame.of(frame, side, None))
        if not found.faces:
            closer = self._search(frame, ScaledFrame.of(frame, CLOSE_UP_SIDE, CLOSE_UP_CANVAS, centred=True))
            # what the first search left out is counted; the second would count it again
            found = replace(found, faces=closer.faces)
        refined = refine.refine(found.faces, [frame] * len(found.faces), self._recogniser.in_crops)
        return replace(found, faces=refined)

    def _search(self, frame: Pixels, scaled: ScaledFrame) -> Detected:
        boxes, scores, _ = self._finder.run(scaled.pixels, 0, SURE + logit(self._settings.min_score) / SLOPE)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            corners = np.array([[box.left(), box.top()], [box.right() + 1, box.bottom() + 1]], np.float64)
            points = np.concatenate([corners, self._recogniser.five(scaled.pixels, box)])
            places = ((points - scaled.offset) / scaled.scale).astype(np.float32)
            faces.append(Detection(places[:2].reshape(4), places[2:], float(1 / (1 + np.exp(-SLOPE * (score - SURE))))))
        return select(faces, frame, self._settings)


@functools.cache
def predictor() -> Any:
    """dlib's predictor of 68 landmarks. Its 100 MB take a second: once a process, and never in the driver of a build.

    Raises:
        UnavailableError: the package with the model file is not installed.
    """
    return dlib.shape_predictor(str(model_folder() / LANDMARKS))


def landmarks_68(crops: Pixels, margin: float) -> Float:
    """float32 [n, 68, 2], pixels: the landmarks (ibug's scheme) of aligned crops uint8 [n, side, side, 3].

    Raises:
        UnavailableError: the package with the model file is not installed.
    """
    found = np.zeros((len(crops), 68, 2), np.float32)
    for points, crop in zip(found, crops, strict=True):
        points[:] = [(part.x, part.y) for part in predictor()(crop, _box(len(crop), margin)).parts()]
    return found


def model_folder() -> Path:
    """Where `face_recognition_models` keeps its files; it is not imported, for it needs a setuptools of the past.

    Raises:
        UnavailableError: it is not installed, or its files are gone.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders = [Path(place) / "models" for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if all((folder / name).is_file() for name in LICENCES):
            return folder
    raise UnavailableError("dlib's model files are missing: pip install face_recognition_models==0.3.0")


def _box(side: int, margin: float) -> dlib.rectangle:
    """Where the detector would find the face of an aligned crop."""
    corners = ((TEMPLATE_BOX - 0.5) / (1 + margin) + 0.5) * side
    return dlib.rectangle(*(round(value) for value in corners.ravel()))
