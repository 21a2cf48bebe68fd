"""JPEG decoding on an NVIDIA GPU, by nvImageCodec: the only file that knows the package.

Decoding has a thread and a CUDA stream of its own, a `Lane`, beside the steps':

    threads       read bytes, and decode on the CPU what the GPU does not decode as the CPU does
    lane          decodes a batch into memory of the package's, copies it into the batch's, records an event
    steps         their stream waits for that event; no thread does

The package orders its work after what its stream has to do already, but nvJPEG's hardware engine writes as soon as it
is called (github.com/meta-pytorch/torchcodec, pull request 1634). So the lane's thread lets its stream run empty before
each batch: what the package takes from its memory pool is then read by nobody any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from curate import hardware
from curate.errors import StorageError, UnavailableError, one_line
from curate.pretrain import distributed, survey
from curate.pretrain.decoders import AT_ONCE, Pending, next_sound
from curate.pretrain.pictures import PackedPictures

Kind = Literal["cpu", "gpu"]
CLOSE = 4.0
"""Mean difference, of 255, up to which a picture decoded here and by libjpeg-turbo is the same one."""


# ------------------------------------------------------------------------------------------------------ where to decode


@dataclass(frozen=True)
class Choice:
    """Where the JPEGs of a run are decoded.

    Attributes:
        kind: by all processes alike.
        why: as it is reported; empty where nobody asked for anything else.
    """

    kind: Kind
    why: str = ""


def choose(wish: str, recorded: str | None, device: torch.device) -> Choice:
    """Where to decode. Every process asks, and all get the same answer.

    Args:
        wish: the recipe's `auto`, `cpu` or `gpu`.
        recorded: where the run that is resumed began to; None: it is a new one.
        device: of this process's network.

    Raises:
        UnavailableError: the GPU is wished for, or the run began there, and some process cannot.
    """
    if wish == "cpu":
        return Choice("cpu")
    recorded = next((kind for kind in distributed.everywhere(recorded or "") if kind), "")
    if wish == "auto" and recorded == "cpu":
        return Choice("cpu", "this run began so")
    obstacles = distributed.everywhere(obstacle(device) or "")
    rank, found = next(((rank, text) for rank, text in enumerate(obstacles) if text), (0, ""))
    if not found:
        return Choice("gpu", f"nvImageCodec {version()}")
    where = f" (process {rank})" if len(obstacles) > 1 else ""
    if recorded == "gpu":
        raise UnavailableError(f"data.decode: this run decodes JPEGs on the GPU; {found}{where}; or use another --out")
    if wish == "gpu":
        raise UnavailableError(f"data.decode = gpu: {found}{where}; data.decode=cpu does without")
    return Choice("cpu", found + where)


def obstacle(device: torch.device) -> str | None:
    """Why JPEGs cannot be decoded on a network's device, and what helps; None where they can."""
    if device.type != "cuda":
        return "the network runs on the CPU, and its pictures are decoded there"
    if torch.version.cuda is None:
        return "nvImageCodec is for NVIDIA's GPUs"
    install = f'pip install "curate-faces[nvjpeg-cuda{torch.version.cuda.partition(".")[0]}]"'
    try:
        close = _tried(device)
    except ImportError:
        return f"nvImageCodec is missing: {install}"
    except Exception as error:  # the package raises RuntimeError, its libraries what they like
        return f"nvImageCodec does not run ({one_line(error)}): {install}, or a newer driver"
    return None if close else f"nvImageCodec decodes a JPEG wrongly here: {install} -U"


def version() -> str | None:
    """The package's version; None where it is not installed."""
    return next(filter(None, map(hardware.version_of, ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"))), None)


def _tried(device: torch.device) -> bool:
    """Whether a small picture comes out as from libjpeg-turbo; raises whatever the package does."""
    y, x = np.mgrid[0:64, 0:64]
    jpeg = simplejpeg.encode_jpeg(np.stack([4 * x, 4 * y, 128 + x - y], 2).astype(np.uint8))
    lane = Lane(device)
    with lane.current():
        (picture,) = Codec(lane, 1).decode([jpeg])
        if picture is None:
            raise RuntimeError("it refuses a plain JPEG; is its nvJPEG there?")
        difference = picture.cpu().float() - torch.from_numpy(simplejpeg.decode_jpeg(jpeg)).float()
    return float(difference.abs().mean()) <= CLOSE


# ------------------------------------------------------------------------------------------------------------- decoding


class Lane:
    """A stream for decoding, and its order with the stream of the steps. A CPU has no streams: all is done at once.

    Args:
        device: the network's.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def handle(self) -> int:
        """As CUDA knows it."""
        return self.stream.cuda_stream if self.stream is not None else 0

    def current(self) -> AbstractContextManager[Any]:
        """What the calling thread does within goes to this lane."""
        return torch.cuda.stream(self.stream)  # None: nothing changes

    def run_empty(self) -> None:
        """The calling thread waits until all is done."""
        if self.stream is not None:
            self.stream.synchronize()

    def done(self) -> torch.cuda.Event | None:
        """The moment at which all that was given to this lane so far is done."""
        return self.stream.record_event() if self.stream is not None else None

    def after(self, moment: torch.cuda.Event | None) -> None:
        """What this lane is given from now on comes after that moment."""
        if self.stream is not None and moment is not None:
            self.stream.wait_event(moment)

    def steps_done(self) -> torch.cuda.Event | None:
        """The moment at which the steps so far are done; for the thread that takes them."""
        return torch.cuda.current_stream(self.device).record_event() if self.stream is not None else None

    def steps_after(self, moment: torch.cuda.Event | None) -> None:
        """Steps from now on come after that moment; the thread that takes them does not wait."""
        if self.stream is not None and moment is not None:
            torch.cuda.current_stream(self.device).wait_event(moment)


class Codec:
    """nvImageCodec's decoder: JPEG bytes to RGB.

    On a CPU it is the package's own libjpeg-turbo, so that all but CUDA can be run without a GPU.

    Args:
        lane: where it decodes.
        threads: of the CPU that it may take for what it does there, the caller's among them.

    Raises:
        ImportError: the package is not installed.
        RuntimeError: it finds no device or none of its libraries.
    """

    def __init__(self, lane: Lane, threads: int) -> None:
        from nvidia import nvimgcodec

        kinds = nvimgcodec.BackendKind
        on_gpu = lane.stream is not None
        # Without its CPU backend the package gives None for what the GPU does not decode; with it, it would not say.
        backends = [kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU] if on_gpu else [kinds.CPU_ONLY]
        self.lane, self.nvimgcodec = lane, nvimgcodec
        self.decoder: Any = nvimgcodec.Decoder(
            device_id=lane.device.index or 0 if on_gpu else nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
            max_num_cpu_threads=max(1, threads - 1),  # beside the one that calls
            backends=[nvimgcodec.Backend(kind) for kind in backends],
            options=":fancy_upsampling=1",  # colours between their samples as libjpeg-turbo has them
        )
        self.params: Any = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)

    def decode(self, jpegs: Sequence[bytes]) -> list[Tensor | None]:
        """Decodes some pictures; to be called within the lane.

        Returns:
            uint8 [H, W, 3] on the device, for work on the lane alone; None for what is refused.
        """
        streams = [self.nvimgcodec.CodeStream(jpeg) for jpeg in jpegs]
        images = self.decoder.decode(streams, params=self.params, cuda_stream=self.lane.handle)
        return [None if image is None else self._tensor(image) for image in images]

    def _tensor(self, image: Any) -> Tensor:
        """The image's own memory, which lives as long as the tensor."""
        if self.lane.stream is not None:
            return from_dlpack(image)
        return torch.from_numpy(np.asarray(image))


class GpuDecoder:
    """A `decoders.Decoder` on a GPU.

    Args:
        pictures: where they are read.
        everything: int64 [n], sorted positions of the pictures that may be shown.
        kinds: uint8 [n], what each picture is (`curate.pretrain.survey`).
        device: the network's.
        threads: of the CPU that the package may take.

    Attributes:
        refused: positions of sound pictures that the GPU refused; the CPU decodes them.
    """

    def __init__(
        self,
        pictures: PackedPictures,
        everything: NDArray[np.int64],
        kinds: NDArray[np.uint8],
        device: torch.device,
        threads: int = 1,
    ) -> None:
        self.pictures, self.everything, self.kinds = pictures, everything, kinds.copy()
        self.lane = Lane(device)
        self.codec = Codec(self.lane, threads)
        self.thread = ThreadPoolExecutor(1, "decode-gpu")
        self.read_until: dict[int, torch.cuda.Event | None] = {}
        self.refused: set[int] = set()

    def memory(self, shape: tuple[int, ...]) -> Tensor:
        """On the device."""
        images = torch.empty(shape, dtype=torch.uint8, device=self.lane.device)
        self.reuse(images)  # it may have been another tensor's, which the steps' stream still reads
        return images

    def begin(self, pool: Executor, positions: NDArray[np.int64], images: Tensor) -> Pending:
        """Threads read, the lane's thread waits for them and decodes."""
        damaged = self._replace(positions)
        parts = [pool.submit(self._read, positions[at : at + AT_ONCE]) for at in range(0, len(positions), AT_ONCE)]
        free = self.read_until.pop(images.data_ptr())
        filled = self.thread.submit(self._fill, positions, parts, images, free)

        def wait() -> list[int]:
            self.lane.steps_after(filled.result())
            return damaged

        return wait

    def reuse(self, images: Tensor) -> None:
        """The lane writes there when the steps so far are done."""
        self.read_until[images.data_ptr()] = self.lane.steps_done()

    def close(self) -> None:
        """Nothing is written to any batch afterwards."""
        self.thread.shutdown(cancel_futures=True)
        self.lane.run_empty()

    def _replace(self, positions: NDArray[np.int64]) -> list[int]:
        """Puts the next sound pictures in the place of damaged ones, and returns these."""
        rows = np.flatnonzero(self.kinds[positions] == survey.DAMAGED)
        damaged: list[int] = positions[rows].tolist()
        for row, position in zip(rows, damaged, strict=True):
            positions[row] = next_sound(self.everything, position, lambda other: self.kinds[other] != survey.DAMAGED)
        return damaged

    def _read(self, positions: NDArray[np.int64]) -> list[bytes | Tensor]:
        """What the GPU decodes, and the pixels of what it does not."""
        return [
            self.pictures.jpeg(position) if self.kinds[position] == survey.GPU else self._by_cpu(position)
            for position in positions.tolist()
        ]

    def _by_cpu(self, position: int) -> Tensor:
        out = np.empty((self.pictures.height, self.pictures.width, 3), np.uint8)
        if not self.pictures.decode(position, out):
            raise StorageError(
                f"picture {position} of the packed copy (data.cache) cannot be read any more; start again"
            )
        return torch.from_numpy(out)

    def _fill(
        self,
        positions: NDArray[np.int64],
        parts: list[Future[list[bytes | Tensor]]],
        images: Tensor,
        free: torch.cuda.Event | None,
    ) -> torch.cuda.Event | None:
        """Fills a batch in the lane's thread; returns the moment at which it is full."""
        read = [one for part in parts for one in part.result()]
        self.lane.run_empty()
        with self.lane.current():
            decoded = iter(self.codec.decode([one for one in read if isinstance(one, bytes)]))
            self.lane.after(free)
            for position, one, place in zip(positions.tolist(), read, images, strict=True):
                picture = next(decoded) if isinstance(one, bytes) else one
                place.copy_(self._refusal(position) if picture is None else picture, non_blocking=True)
            return self.lane.done()

    def _refusal(self, position: int) -> Tensor:
        """Notes that the GPU refuses a picture, for later passes too; returns the CPU's pixels."""
        self.refused.add(position)
        self.kinds[position] = survey.CPU
        return self._by_cpu(position)
