"""Faces by insightface packs: SCRFD finds them, ArcFace distinguishes people, both on onnxruntime, in batches.

Exported graphs often fix one picture, and SCRFD's a square of 640. Their layers do not care, so a graph is opened up
as it is loaded: several pictures go through at once, and a wide frame is not padded to a square. This is done only
where every picture gets, bit for bit, what it gets alone: no result depends on which pictures came together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD, distance2bbox, distance2kps
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Pixels
from curate.stages import align, refine
from curate.stages.backend import Detected, ModelFile, ScaledFrame, select, unit

LICENCE = "insightface's own packs: non-commercial research; other packs: their makers' terms"
LICENCE_URL = "https://github.com/deepinsight/insightface#license"
BATCH = {"detection": 8, "identity": 32}
CLOSE_UP_SIDE, CLOSE_UP_CANVAS = 192, 288
"""Sides to which a frame is shrunk and then padded when it is searched for a face that fills it."""
REFINEMENT_SCORE = 0.3
"""Where landmarks are found again a face is known to be there; a weaker answer will do."""
IDENTITY_THRESHOLD = 0.40
"""Cosine from which two faces are one person's (measured: `benchmarks/people.py`)."""

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """One ONNX model, ready to run.

    Attributes:
        kind: insightface's class for it, which knows strides, anchors and normalisation.
        batch: pictures that go through at once.
        fill: whether short batches are filled up, so that each batch has the same shape (GPU kernels depend on it).
        free: whether pictures of any size may go in; else only `kind.input_size`.
    """

    session: onnxruntime.InferenceSession
    kind: Any
    batch: int
    fill: bool
    free: bool

    def run(self, blobs: Float) -> list[Float]:
        """The outputs for blobs float32 [n, 3, height, width], each [n, ...]."""
        chunks = [self._chunk(blobs[start : start + self.batch]) for start in range(0, len(blobs), self.batch)]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _chunk(self, blobs: Float) -> list[Float]:
        missing = self.batch - len(blobs) if self.fill else 0
        filled = np.pad(blobs, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else blobs
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: filled})
        # packs of 2021 export SCRFD's outputs without the axis of pictures; they are run one by one
        return [out[: len(blobs)] if len(out) == len(filled) else out[None] for out in outputs]


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
        self._settings, self._margin = settings, crop.margin
        networks: dict[str, Network] = {}
        models = []
        for path in sorted(pack.glob("*.onnx")):
            task, network = _load(path, device, threads)
            if network is not None and task not in networks:
                networks[task] = network
                models.append(ModelFile.of(path, task, LICENCE, LICENCE_URL))
        if "detection" not in networks:
            raise UsageError(f"{pack}: none of its .onnx files finds faces with landmarks (SCRFD); use another pack")
        self._finder, self._recogniser = networks["detection"], networks.get("identity")
        self.models = tuple(models)
        self.identity_threshold = IDENTITY_THRESHOLD if self._recogniser else None

    def detect(self, frames: Sequence[Pixels]) -> list[Detected]:
        """See `Backend.detect`. A frame in which no face is found is searched again for one that fills it."""
        found = self._select([self._whole(frame) for frame in frames], frames)
        bare = [i for i, one in enumerate(found) if not one.faces]
        closer = self._select([self._close_up(frames[i]) for i in bare], [frames[i] for i in bare])
        for i, one in zip(bare, closer, strict=True):
            # what the first search left out is counted; the second would count it again
            found[i] = Detected(one.faces, found[i].dropped)
        return self._refine(found, frames) if self._finder.free else found

    def identity(self, crops: Pixels) -> Float | None:
        """See `Backend.identity`."""
        if self._recogniser is None:
            return None
        if len(crops) == 0:
            return np.zeros((0, self._recogniser.kind.output_shape[1]), np.float32)
        kind = self._recogniser.kind
        faces = align.arcface(crops, self._margin)
        vectors = self._recogniser.run(_blobs(list(faces), kind.input_mean, kind.input_std))[0]
        return unit(vectors)

    def _whole(self, frame: Pixels) -> ScaledFrame:
        """The frame at the recipe's size, in the upper left corner as insightface does it."""
        fixed = None if self._finder.free else self._finder.kind.static_input_size[0]
        return ScaledFrame.of(frame, fixed or self._settings.input_size, fixed)

    def _close_up(self, frame: Pixels) -> ScaledFrame:
        """The frame made small in the middle of much empty space, where SCRFD sees faces that fill it."""
        if self._finder.free:
            return ScaledFrame.of(frame, CLOSE_UP_SIDE, CLOSE_UP_CANVAS, centred=True)
        side = self._finder.kind.static_input_size[0]
        return ScaledFrame.of(frame, side * CLOSE_UP_SIDE // CLOSE_UP_CANVAS, side, centred=True)

    def _select(self, scaled: Sequence[ScaledFrame], frames: Sequence[Pixels]) -> list[Detected]:
        candidates = self._search(scaled, self._settings.min_score)
        return [select(faces, frame, self._settings) for faces, frame in zip(candidates, frames, strict=True)]

    def _refine(self, found: Sequence[Detected], frames: Sequence[Pixels]) -> list[Detected]:
        """The same faces with steadier landmarks; a network of one fixed size is too slow for it."""
        owners = [frame for one, frame in zip(found, frames, strict=True) for _ in one.faces]
        refined = iter(refine.refine([face for one in found for face in one.faces], owners, self._landmarks_in))
        return [Detected([next(refined) for _ in one.faces], one.dropped) for one in found]

    def _landmarks_in(self, crops: Sequence[Pixels]) -> list[list[Float]]:
        seen = self._search([ScaledFrame.of(crop, len(crop), None) for crop in crops], REFINEMENT_SCORE)
        return [[face.landmarks for face in faces] for faces in seen]

    def _search(self, scaled: Sequence[ScaledFrame], min_score: float) -> list[list[Detection]]:
        """All faces of each scaled frame, unfiltered; those of one shape go through the network together."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, one in enumerate(scaled):
            by_shape[one.pixels.shape].append(i)
        found: list[list[Detection]] = [[] for _ in scaled]
        kind = self._finder.kind
        for members in by_shape.values():
            for start in range(0, len(members), self._finder.batch):
                batch = members[start : start + self._finder.batch]
                outputs = self._finder.run(_blobs([scaled[i].pixels for i in batch], kind.input_mean, kind.input_std))
                for row, i in enumerate(batch):
                    found[i] = _decode(kind, [out[row] for out in outputs], scaled[i], min_score)
        return found


def _blobs(pictures: Sequence[Pixels], mean: float, deviation: float) -> Float:
    """float32 [n, 3, height, width] of RGB pictures of one size."""
    blobs: Float = cv2.dnn.blobFromImages(list(pictures), 1 / deviation, mean=(mean, mean, mean), swapRB=False)
    return blobs


def _decode(kind: SCRFD, outputs: Sequence[Float], scaled: ScaledFrame, min_score: float) -> list[Detection]:
    """Scores, boxes and landmarks of one picture's anchors, made into faces of the frame (SCRFD, arXiv 2105.04714)."""
    width = scaled.pixels.shape[1]
    scores, boxes, landmarks = [], [], []
    for level, stride in enumerate(kind._feat_stride_fpn):
        score, box, points = (outputs[level + part * kind.fmc] for part in range(3))
        sure = np.flatnonzero(score.ravel() >= min_score)
        cells = sure // kind._num_anchors
        row, column = np.divmod(cells, width // stride)
        centres = np.stack([column, row], 1).astype(np.float32) * stride
        scores.append(score.ravel()[sure])
        boxes.append(distance2bbox(centres, box[sure] * stride))
        landmarks.append(distance2kps(centres, points[sure] * stride))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    places = np.concatenate([np.concatenate(boxes), np.concatenate(landmarks)], 1)[order].reshape(-1, 7, 2)
    places = (places - scaled.offset) / np.float32(scaled.scale)
    keep = kind.nms(np.column_stack([places[:, :2].reshape(-1, 4), score[order]]))
    return [Detection(places[i, :2].reshape(4), places[i, 2:], float(score[order[i]])) for i in keep]


def _load(path: Path, device: str, threads: int) -> tuple[str, Network | None]:
    """What a model is for (`detection`, `identity` or something that curate has no use for), and its network.

    Raises:
        UsageError: the file is no sound ONNX model.
    """
    try:
        data = path.read_bytes()
        sound = _session(data, device, threads)
        inputs, outputs = sound.get_inputs(), sound.get_outputs()
        if len(inputs) == 1 and len(outputs) in (9, 15):
            task, kind = "detection", SCRFD
        elif len(inputs) == 1 and len(outputs) == 1 and list(inputs[0].shape[2:]) == [112, 112]:
            task, kind = "identity", ArcFaceONNX
        else:
            return "other", None
        opened = _session(_opened(data, task), device, threads)
    except Exception as error:  # onnx and onnxruntime share no base of their errors
        raise UsageError(f"{path}: damaged, or no ONNX model; get the pack again ({type(error).__name__})") from None
    fill = device == "cuda"
    network = Network(opened, kind(model_file=str(path), session=opened), BATCH[task], fill, free=True)
    if _holds(network, task):
        return task, network
    return task, Network(sound, kind(model_file=str(path), session=sound), 1, fill, free=False)


def _session(data: bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # its notes about unused constants are no user's concern
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    there = onnxruntime.get_available_providers()
    providers = [provider for provider in wanted if provider in there] + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(data, options, providers=providers)


def _opened(data: bytes, task: str) -> bytes:
    """The model with a free number of pictures and, for a detector, free height and width."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    shape = graph.input[0].type.tensor_type.shape.dim
    for axis, name in enumerate(("pictures", None, "height", "width")):
        if name and (axis == 0 or task == "detection"):
            shape[axis].dim_param = name
    for output in graph.output:
        for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
            if axis < len(output.type.tensor_type.shape.dim) - 1:
                dimension.dim_param = f"{output.name}_{axis}"
    del graph.value_info[:]
    _free_reshapes(graph)
    serialised: bytes = model.SerializeToString()
    return serialised


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Lets every `Reshape` to [1, ...] keep the number of pictures that comes in (a 0 copies it)."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for name in shapes & constants.keys():
        values = onnx.numpy_helper.to_array(constants[name]).copy()
        if values.size > 1 and values[0] == 1:
            values[0] = 0
            constants[name].CopyFrom(onnx.numpy_helper.from_array(values, constants[name].name))


def _holds(network: Network, task: str) -> bool:
    """Whether an opened network gives pictures of another size sound outputs, and together the same as alone."""
    side = (96, 128) if task == "detection" else (112, 112)
    blobs = np.random.default_rng(0).normal(size=(2, 3, *side)).astype(np.float32)
    try:
        together = network.run(blobs)
        alone = [network.run(blobs[i : i + 1]) for i in range(2)]
    except Exception:  # onnxruntime has no base of its errors; the graph as it came is used instead
        return False
    if task == "detection":
        kind = network.kind
        cells = [side[0] // stride * (side[1] // stride) for stride in kind._feat_stride_fpn]
        if [out.shape[:2] for out in together[: kind.fmc]] != [(2, n * kind._num_anchors) for n in cells]:
            return False
    return all(np.array_equal(whole[i], alone[i][k][0]) for k, whole in enumerate(together) for i in range(2))
