"""Frames decoded by torchcodec are those of the other decoders, and whatever it cannot give, the others give.

torchcodec decodes on the CPU here: builds of it for CUDA do not load beside a torch without. Where it is missing, or
FFmpeg's libraries are, a module with its interface stands in, which reads with PyAV.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from curate import hardware
from curate.errors import UnavailableError
from curate.stages import decode, decode_decord, decode_torchcodec
from curate.stages.decode_index import read_index

from .streams import CODECS, NAMES, read, render, told


def loads() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


class StandIn:
    """The part of `torchcodec.decoders.VideoDecoder` that is used."""

    cpu_fallback = False

    def __init__(self, source: Path, *, stream_index: int, dimension_order: str, device: str) -> None:
        assert dimension_order == "NHWC"
        with av.open(source) as container:
            stream = container.streams[stream_index]
            shown = sorted(container.decode(stream), key=lambda frame: frame.pts)
            self.frames = [frame.to_ndarray(format="rgb24") for frame in shown]
            self.seconds = [float(frame.pts * stream.time_base) for frame in shown]

    def __len__(self) -> int:
        return len(self.frames)

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        data = torch.from_numpy(np.stack([self.frames[at] for at in indices]))
        seconds = torch.tensor([self.seconds[at] for at in indices], dtype=torch.float64)
        return SimpleNamespace(data=data, pts_seconds=seconds)


@pytest.fixture(params=["torchcodec", "stand-in"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """torchcodec's decoder, on the CPU for what asks for a GPU."""
    if request.param == "torchcodec" and not loads():
        pytest.skip("torchcodec, or FFmpeg's libraries, are not installed here")
    if request.param == "stand-in":
        stand_in(monkeypatch, StandIn)
    monkeypatch.setattr(decode_torchcodec, "frames", functools.partial(decode_torchcodec.frames, device="cpu"))
    from torchcodec.decoders import VideoDecoder

    yield VideoDecoder


def stand_in(monkeypatch: pytest.MonkeyPatch, decoder: type) -> None:
    package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = decoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)


def read_on_gpu(path: Path, fps: float, *span: float) -> tuple[list[tuple[int, np.ndarray]], bool]:
    """Places and pictures of the sampled frames, and whether all came from the GPU."""
    with decode.open_video(path, *span, device="cuda") as video:
        found = [(frame.index, frame.pixels) for frame in video.frames(fps)]
        return found, video.on_gpu


@pytest.mark.parametrize(("ending", "codec", "options"), CODECS, ids=NAMES)
def test_it_gives_the_frames_of_the_other_decoders(
    tmp_path: Path, decoder: type, ending: str, codec: str, options: dict[str, str]
) -> None:
    path = render(tmp_path / f"a.{ending}", codec, options, range(60), noise=60)
    found, on_gpu = read_on_gpu(path, 7)
    others, _ = read(path, 7)
    assert [place for place, _ in found] == [frame.index for frame in others]
    assert [told(pixels) for _, pixels in found] == [frame.index for frame in others]
    for (_, pixels), frame in zip(found, others, strict=True):
        assert np.abs(pixels.astype(int) - frame.pixels).max() <= 3  # rounding of colours
    assert on_gpu == decode_torchcodec.suits(read_index(path))
    assert on_gpu or ending not in ("mp4", "mkv", "webm")


def test_a_range_and_a_late_start(tmp_path: Path, decoder: type) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {}, range(40, 120))
    found, on_gpu = read_on_gpu(path, 5, 1.0, 2.0)
    assert [told(pixels) for _, pixels in found] == [25, 30, 35, 40, 45] and on_gpu


def broken(at: int) -> type:
    """A decoder that fails at a frame, as one does whose GPU has no memory left."""

    class Broken(StandIn):
        def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
            if at in indices:
                raise RuntimeError("CUDA error: out of memory")
            return super().get_frames_at(indices)

    return Broken


class Elsewhen(StandIn):
    """A decoder that gives other frames than those that are meant."""

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        batch = super().get_frames_at(indices)
        return SimpleNamespace(data=batch.data.roll(1, 0), pts_seconds=batch.pts_seconds.roll(1, 0))


class Fewer(StandIn):
    def __len__(self) -> int:
        return len(self.frames) - 1


class Falling(StandIn):
    """A decoder that decodes on the CPU after all."""

    cpu_fallback = True


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("kind", [broken(0), broken(51), Elsewhen, Fewer, Falling])
def test_what_the_gpu_cannot_give_the_cpu_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, careful: bool
) -> None:
    stand_in(monkeypatch, kind)
    if careful:
        monkeypatch.setattr(decode_decord, "CODECS", frozenset())
    path = render(tmp_path / "a.mp4", "libx264", {}, range(60))
    found, on_gpu = read_on_gpu(path, 25)
    assert [told(pixels) for _, pixels in found] == list(range(60)) and not on_gpu


def test_packets_that_show_damage_are_not_left_to_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object, **named: object) -> None:
        raise AssertionError("a damaged stream is decoded where damage is not told")

    path = render(tmp_path / "a.mp4", "libx264", {}, range(60))
    with av.open(path) as container:
        packet = [one for one in container.demux(video=0) if one.size][30]
        at, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    stand_in(monkeypatch, never)  # type: ignore[arg-type]
    found, on_gpu = read_on_gpu(path, 25)
    assert not on_gpu and 30 not in [place for place, _ in found]


def test_where_frames_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.decoder("cpu", "cuda") == hardware.decoder("auto", "cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(UnavailableError, match=r"decode = cuda: .*torch sees no GPU here.*--set decode=cpu"):
            hardware.decoder("cuda", "cpu")
    monkeypatch.setattr(hardware, "device", lambda wish="auto": "cuda")
    stand_in(monkeypatch, StandIn)
    assert hardware.decoder("auto", "cuda") == hardware.decoder("cuda", "cuda") == "cuda"
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert hardware.decoder("auto", "cuda") == "cpu"
    with pytest.raises(UnavailableError, match=r"decode = cuda: .*pip install torchcodec"):
        hardware.decoder("cuda", "cuda")
