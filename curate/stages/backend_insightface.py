"""Faces by insightface packs: SCRFD (arXiv 2105.04714) finds them, ArcFace (arXiv 1801.07698) distinguishes people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Frame, Pixels
from curate.stages import align, gpu_process, networks, refine
from curate.stages.backend import Detected, Known, ModelFile, unit
from curate.stages.networks import Float, Network
from curate.stages.search import Detector, Search

LICENCE = "insightface's own packs: non-commercial research; other packs: their makers' terms"
LICENCE_URL = "https://github.com/deepinsight/insightface#license"
DETECTION = networks.Kind("detection", mean=127.5, deviation=128.0, batch=8, side=(96, 128))
IDENTITY_BATCH = 32
SMALLEST = 12.0
CLOSE_UP = (192, 288)
MAX_OVERLAP = 0.4
IDENTITY_THRESHOLD = 0.40
"""Cosine from which two faces are one person's (measured: `benchmarks/people.py`)."""


@dataclass(frozen=True)
class Grid:
    """Where an SCRFD looks for faces.

    Attributes:
        strides: pixels between the cells of each level.
        anchors: faces that a cell can find.
    """

    strides: tuple[int, ...]
    anchors: int


GRIDS = {9: Grid((8, 16, 32), 2), 15: Grid((8, 16, 32, 64, 128), 1)}
"""Number of outputs (scores, boxes and landmarks of each level) -> grid."""


class InsightFace:
    """The backend of one pack; see `curate.stages.backend.Backend`."""

    name = "insightface"

    def __init__(
        self, pack: Path, settings: FaceSettings, crop: CropSettings, device: str = "cpu", threads: int = 1
    ) -> None:
        """Loads the pack's detector and, if there is one, its recogniser.

        Raises:
            UsageError: a file is no sound ONNX model, or none of them finds faces with landmarks.
        """
        self._margin = crop.margin
        found: dict[str, Network] = {}
        models = []
        for path in sorted(pack.glob("*.onnx")):
            task, network = _load(path, device, threads)
            if network is not None and task not in found:
                found[task] = network
                models.append(ModelFile.of(path, task, LICENCE, LICENCE_URL))
        if "detection" not in found:
            raise UsageError(f"{pack}: none of its .onnx files finds faces with landmarks (SCRFD); use another pack")
        self._detector = _detector(found["detection"])
        self._search = Search(self._detector, settings, self._refine)
        self.follows = found["detection"].free
        self._recogniser = found.get("identity")
        self.models = tuple(models)
        self.device = found["detection"].device
        self.identity_threshold = IDENTITY_THRESHOLD if self._recogniser else None

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`."""
        return self._search.detect(frames)

    def confirm(self, frame: Pixels) -> Detected:
        """See `Backend.confirm`."""
        return self._search.confirm(frame)

    def follow(self, before: Known, frame: Frame) -> list[Detection | None]:
        """See `Backend.follow`."""
        if not self._detector.network.free:
            return [None] * len(before.faces)
        landmarks = [face.landmarks for face in before.faces]
        found = refine.follow(landmarks, before.frame.pixels, frame.pixels, self._detector.in_crops)
        return self._search.followed(before.faces, found, frame.pixels)

    def between(self, before: Known, after: Known, frame: Frame) -> Detection | None:
        """See `Backend.between`."""
        return self._search.between(before, after, frame)

    def glance(self, frame: Pixels, window: NDArray[np.int64], known: Sequence[Detection]) -> bool:
        """See `Backend.glance`."""
        return self._search.glance(frame, window, known)

    def _refine(self, faces: Sequence[Detection], frames: Sequence[Pixels]) -> list[Detection]:
        """The same faces with steadier landmarks; a network of one fixed size is too slow for it."""
        if not self._detector.network.free:
            return list(faces)
        return refine.refine(faces, frames, self._detector.in_crops)

    def identity(self, crops: Pixels) -> Float | None:
        """See `Backend.identity`."""
        if self._recogniser is None:
            return None
        if len(crops) == 0:
            return np.zeros((0, self._recogniser.widths[0] or 0), np.float32)
        return unit(self._recogniser.run(list(align.arcface(crops, self._margin)))[0])


def _detector(network: Network) -> Detector:
    grid = GRIDS[len(network.widths)]
    return Detector(network, partial(_decode, grid), MAX_OVERLAP, SMALLEST, CLOSE_UP)


def _decode(
    grid: Grid, outputs: Sequence[Float], size: tuple[int, int], min_score: float
) -> tuple[Float, Float, Float]:
    """See `curate.stages.search.Decode`: distances from a cell's corner to sides of the box and to landmarks."""
    levels = len(grid.strides)
    found = []
    for level, stride in enumerate(grid.strides):
        scores, boxes, landmarks = (outputs[level + part * levels] for part in range(3))
        sure = np.flatnonzero(scores.ravel() >= min_score)
        row, column = np.divmod(sure // grid.anchors, size[1] // stride)
        corner = np.stack([column, row], 1).astype(np.float32) * stride
        sides = boxes[sure] * stride
        points = landmarks[sure].reshape(-1, 5, 2) * stride + corner[:, None]
        found.append((np.concatenate([corner - sides[:, :2], corner + sides[:, 2:]], 1), points, scores.ravel()[sure]))
    boxes, landmarks, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return boxes, landmarks, scores


def _load(path: Path, device: str, threads: int) -> tuple[str, Network | None]:
    """What a model is for (`detection`, `identity` or something that curate has no use for), and its network.

    Raises:
        UsageError: the file is no sound ONNX model.
    """
    try:
        data = path.read_bytes()
        sound = networks.session(data, "cpu", threads)
        inputs, outputs = sound.get_inputs(), sound.get_outputs()
        if len(inputs) == 1 and len(outputs) in GRIDS:
            kind = DETECTION
        elif len(inputs) == 1 and len(outputs) == 1 and list(inputs[0].shape[2:]) == [align.ARCFACE_SIDE] * 2:
            kind = _recogniser(onnx.load_model_from_string(data).graph)
        else:
            return "other", None
        return kind.task, gpu_process.load(data, kind, device, threads)
    except Exception as error:  # onnx and onnxruntime share no base of their errors
        raise UsageError(f"{path}: damaged, or no ONNX model; get the pack again ({type(error).__name__})") from None


def _recogniser(graph: onnx.GraphProto) -> networks.Kind:
    """An ArcFace; one that was converted from MXNet shifts and scales its pictures by itself, in its first nodes."""
    names = [node.name for node in graph.node[:8]]
    converted = all(any(name.startswith(kinds) for name in names) for kinds in (("Sub", "_minus"), ("Mul", "_mul")))
    mean, deviation = (0.0, 1.0) if converted else (127.5, 127.5)
    return networks.Kind("identity", mean, deviation, IDENTITY_BATCH, (align.ARCFACE_SIDE, align.ARCFACE_SIDE))
