"""Runs ONNX networks on batches of pictures of any number and, for detectors, of any size.

Exported graphs often fix one picture, and SCRFD's a square of 640. Their layers do not care, so a graph is opened up
as it is loaded: several pictures go through at once, and a wide frame is not padded to a square. This is done only
where every picture gets, bit for bit, what it gets alone: no result depends on which pictures came together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from curate import hardware
from curate.records import Pixels

Float = NDArray[np.float32]

CUDA = "CUDAExecutionProvider"

MOST_PIXELS = 1 << 18
"""Pixels of all pictures that go through a network at once on a CPU: a thread runs more of them no faster, and what
the layers hold grows with them (1.1 GB for eight frames of 1440 x 832 through SCRFD, 3 GB through CenterFace)."""


class Network(Protocol):
    """A network, ready to run in this process (`Loaded`) or in the one of a GPU (`curate.stages.gpu_process`).

    Attributes:
        free: whether pictures of any size may go in; else only those that the model asks for.
        side: height of the pictures that the model asks for; None where any will do.
        widths: size of the last axis of each output; None where it depends on the pictures.
        device: where it really runs, `cpu` or `cuda`: onnxruntime falls back without a word.
    """

    @property
    def free(self) -> bool: ...  # noqa: D102
    @property
    def side(self) -> int | None: ...  # noqa: D102
    @property
    def widths(self) -> tuple[int | None, ...]: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102

    def run(self, pictures: Sequence[Pixels]) -> list[Float]:
        """The outputs for RGB pictures of one size, each [n, ...]."""


@dataclass(frozen=True)
class Loaded:
    """One ONNX model in this process; see `Network`.

    Attributes:
        mean, deviation: what the values of all channels are shifted and scaled by before they go in.
        batch: pictures that go through at once at most; on a CPU fewer where they are large.
        fill: whether short batches are filled up, so that each batch has the same shape (GPU kernels depend on it).
    """

    session: onnxruntime.InferenceSession
    mean: float
    deviation: float
    batch: hardware.BatchSize
    fill: bool
    free: bool

    @property
    def side(self) -> int | None:
        """See `Network`."""
        return _number(self.session.get_inputs()[0].shape[2])

    @property
    def widths(self) -> tuple[int | None, ...]:
        """See `Network`."""
        return tuple(_number(output.shape[-1]) for output in self.session.get_outputs())

    @property
    def device(self) -> str:
        """See `Network`."""
        return device_of(self.session)

    def run(self, pictures: Sequence[Pixels]) -> list[Float]:
        """The outputs for RGB pictures of one size, each [n, ...]."""
        most = None if self.fill else max(MOST_PIXELS // max(pictures[0].size // 3, 1), 1)
        parts = self.batch.run(len(pictures), lambda start, end: self._run(pictures[start:end]), most)
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _run(self, pictures: Sequence[Pixels]) -> list[Float]:
        blobs = cv2.dnn.blobFromImages(list(pictures), 1 / self.deviation, mean=(self.mean,) * 3, swapRB=False)
        missing = self.batch.size - len(blobs) if self.fill else 0
        filled = np.pad(blobs, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing > 0 else blobs
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: filled})
        # packs of 2021 export SCRFD's outputs without the axis of pictures; they are run one by one
        return [out[: len(blobs)] if len(out) == len(filled) else out[None] for out in outputs]


@dataclass(frozen=True)
class Kind:
    """What has to be known of a model before it is run.

    Attributes:
        task: `detection` or `identity`.
        side: height and width of pictures with which the opened graph is tried; of recognisers the one that fits.
    """

    task: str
    mean: float
    deviation: float
    batch: int
    side: tuple[int, int]


def load(data: bytes, kind: Kind, device: str, threads: int) -> Loaded:
    """The network of an ONNX file, opened for many pictures of any size where that changes no number."""
    opened = session(opened_up(data, kind.task == "detection"), device, threads)
    fill = device_of(opened) == "cuda"
    network = Loaded(opened, kind.mean, kind.deviation, hardware.BatchSize(kind.batch), fill, free=True)
    if _independent(network, kind.side):
        return network
    closed = session(with_constants(onnx.load_model_from_string(data)).SerializeToString(), device, threads)
    return Loaded(closed, kind.mean, kind.deviation, hardware.BatchSize(1), fill, free=False)


def session(data: bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on `cuda`, where that is chosen and onnxruntime can, else on the CPU; see `device_of`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # its notes about unused constants are no user's concern
    options.enable_mem_pattern = False  # a plan of memory for each size that comes by would be kept for ever
    wanted = [CUDA] if device == "cuda" and CUDA in onnxruntime.get_available_providers() else []
    return onnxruntime.InferenceSession(data, options, providers=[*wanted, "CPUExecutionProvider"])


def device_of(session: onnxruntime.InferenceSession) -> str:
    """Where a session really runs; see `Network`."""
    return "cuda" if CUDA in session.get_providers() else "cpu"


def _number(size: int | str | None) -> int | None:
    """A size that a model names; None where it is free."""
    return size if isinstance(size, int) else None


def opened_up(data: bytes, any_size: bool) -> bytes:
    """The model with a free number of pictures and, where `any_size`, free height and width."""
    model = with_constants(onnx.load_model_from_string(data))
    graph = model.graph
    shape = graph.input[0].type.tensor_type.shape.dim
    for axis, name in enumerate(("pictures", None, "height", "width")):
        if name and (axis == 0 or any_size):
            shape[axis].dim_param = name
    for output in graph.output:
        dimensions = output.type.tensor_type.shape.dim
        for axis, dimension in enumerate(dimensions):
            channels = 1 if len(dimensions) == 4 else len(dimensions) - 1
            if axis != channels:
                dimension.dim_param = f"{output.name}_{axis}"
    del graph.value_info[:]
    _free_reshapes(graph)
    serialised: bytes = model.SerializeToString()
    return serialised


def with_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights that nobody can pass in: old exports name each as an input too.

    onnxruntime then takes it for one that may change and merges no layers; without, CenterFace takes two fifths of the
    time, with outputs that are equal to five digits (`benchmarks/runtimes.py`).
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    pictures = [one for one in model.graph.input if one.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(pictures)
    model.ir_version = max(model.ir_version, 4)  # before it, weights had to be inputs
    return model


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


def _independent(network: Loaded, side: tuple[int, int]) -> bool:
    """Whether an opened network gives each of two pictures, bit for bit, what it gets alone."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, *side, 3), np.uint8)
    try:
        together = network.run(list(pictures))
        apart = [network.run([picture]) for picture in pictures]
    except Exception:  # onnxruntime has no base of its errors; the graph as it came is used instead
        return False
    return all(
        len(out) == 2 and np.array_equal(out[i], apart[i][k][0]) for k, out in enumerate(together) for i in (0, 1)
    )
