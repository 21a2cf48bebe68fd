"""JPEG decoding on the GPU, without one: the package decodes on the CPU then, or a module like it does."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from curate.errors import StorageError, UnavailableError
from curate.pretrain import distributed, gpu_jpeg, loader, pictures, survey
from curate.pretrain.faces import ManifestFaces
from curate.pretrain.loader import EpochOrder
from curate.storage.manifest import open_manifest

from . import nvimgcodec_like
from .conftest import SIZE, picture

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


def put(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Makes `from nvidia import nvimgcodec` give a module; None: nothing."""
    package = types.ModuleType("nvidia")
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.delitem(sys.modules, "nvidia.nvimgcodec", raising=False)
    if module is not None:
        package.nvimgcodec = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", module)


@pytest.fixture(params=["like", "real"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, where it is installed, and the module like it."""
    if request.param == "real":
        return pytest.importorskip("nvidia.nvimgcodec")
    put(monkeypatch, nvimgcodec_like)
    return nvimgcodec_like


class Few:
    """Some JPEGs as faces to be packed."""

    sha256, path = "0" * 64, "few"

    def __init__(self, jpegs: list[bytes]) -> None:
        self.jpegs = jpegs

    def __len__(self) -> int:
        return len(self.jpegs)

    def pictures(self) -> Iterator[tuple[range, list[bytes]]]:
        yield range(len(self.jpegs)), self.jpegs


def looked_through(faces: Any, folder: Path) -> tuple[pictures.PackedPictures, np.ndarray]:
    pictures.pack(faces, folder)
    survey.survey(faces, folder, 2)
    return pictures.open_pictures(faces, folder), survey.read(folder)


def pil(mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(5, 5)).convert(mode).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def flipped(jpeg: bytes) -> bytes:
    """With one bit changed within its data: what comes after it is another picture, and ends too early."""
    middle = 3 * len(jpeg) // 5
    return jpeg[:middle] + bytes([jpeg[middle] ^ 0x80]) + jpeg[middle + 1 :]


PLAIN = simplejpeg.encode_jpeg(picture(1, 1), quality=95)
LARGER = simplejpeg.encode_jpeg(picture(2, 2, 2 * SIZE), quality=95)
TURNED = Image.Exif()
TURNED[0x112] = 6  # by 90 degrees
MIXED = {
    "plain": (PLAIN, survey.GPU),
    "grey": (pil("L"), survey.GPU),
    "progressive": (pil(progressive=True), survey.GPU),
    "turned by its tag": (pil(exif=TURNED), survey.GPU),
    "420": (pil(subsampling=2), survey.GPU),
    "larger": (LARGER, survey.CPU),
    "RGB": (pil(keep_rgb=True), survey.CPU),
    "CMYK": (pil("CMYK"), survey.CPU),
    "cut off": (PLAIN[: len(PLAIN) // 2], survey.DAMAGED),
    "without end": (PLAIN[:-2], survey.DAMAGED),
    "flipped": (flipped(simplejpeg.encode_jpeg(picture(3, 3, SIZE), quality=95)), survey.DAMAGED),
    "another plain": (simplejpeg.encode_jpeg(picture(4, 4), quality=95), survey.GPU),
    "PNG": (cv2.imencode(".png", picture(6, 6))[1].tobytes(), survey.DAMAGED),
    "empty": (b"", survey.DAMAGED),
}


def shown(batches: Iterator[loader.Batch]) -> list[tuple[list[int], list[int], np.ndarray]]:
    return [(one.positions.tolist(), sorted(one.damaged.tolist()), one.images.numpy().copy()) for one in batches]


def assert_equal(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> None:
    assert [one[:2] for one in a] == [one[:2] for one in b]
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x[2], y[2])


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize("part", [(0, 1), (1, 2)])
@pytest.mark.parametrize("ahead", [1, 3])
def test_batches_are_those_of_the_cpu(
    part: tuple[int, int], ahead: int, make_build: Callable[..., Path], tmp_path: Path
) -> None:
    """Pictures, positions and damage, over three passes, so that memory is used again."""
    faces = ManifestFaces(open_manifest(make_build(damage=(3, 17, 18, 63))))
    opened, kinds = looked_through(faces, tmp_path / "cache")
    assert np.bincount(kinds).tolist() == [4, 0, 60]
    order, reading = EpochOrder(np.arange(64), 20, 7), loader.ReadAhead(2, ahead)
    decoder = gpu_jpeg.GpuDecoder(opened, order.positions, kinds, CPU)
    steps = range(1, 10)
    assert_equal(
        shown(loader.batches(opened, order, steps, part, reading, decoder)),
        shown(loader.batches(opened, order, steps, part, reading)),
    )
    assert not decoder.refused


@pytest.mark.usefixtures("codec")
def test_what_the_gpu_does_not_decode_alike_is_left_to_the_cpu(tmp_path: Path) -> None:
    opened, kinds = looked_through(Few([jpeg for jpeg, _ in MIXED.values()]), tmp_path)
    assert dict(zip(MIXED, kinds.tolist(), strict=True)) == {name: kind for name, (_, kind) in MIXED.items()}
    order = EpochOrder(np.arange(len(MIXED)), len(MIXED), 0)
    decoder = gpu_jpeg.GpuDecoder(opened, order.positions, kinds, CPU)
    assert_equal(
        shown(loader.batches(opened, order, range(3), decoder=decoder)),
        shown(loader.batches(opened, order, range(3))),
    )
    assert survey.text(kinds) == "6 of 14 there, 3 of another size or other colours on the CPU, 5 damaged"


def test_what_the_gpu_refuses_is_decoded_by_the_cpu_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(monkeypatch, nvimgcodec_like)
    asked: list[bytes] = []
    progressive = MIXED["progressive"][0]
    monkeypatch.setattr(nvimgcodec_like.Decoder, "refuses", lambda _, jpeg: asked.append(jpeg) or jpeg == progressive)
    opened, kinds = looked_through(Few([PLAIN, progressive, PLAIN]), tmp_path)
    order = EpochOrder(np.arange(3), 3, 0)
    decoder = gpu_jpeg.GpuDecoder(opened, order.positions, kinds, CPU)
    reading = loader.ReadAhead(batches=1)
    assert_equal(
        shown(loader.batches(opened, order, range(4), reading=reading, decoder=decoder)),
        shown(loader.batches(opened, order, range(4), reading=reading)),
    )
    assert decoder.refused == {1} and asked.count(progressive) < 4  # it is not asked for ever


@pytest.mark.usefixtures("codec")
def test_a_packed_copy_that_cannot_be_read_any_more_is_said(tmp_path: Path) -> None:
    opened, kinds = looked_through(Few([PLAIN, LARGER]), tmp_path)
    with (tmp_path / "pictures.bin").open("r+b") as file:
        file.truncate(len(PLAIN) + 9)
    decoder = gpu_jpeg.GpuDecoder(opened, np.arange(2), kinds, CPU)
    with pytest.raises(StorageError, match=r"picture 1 of the packed copy \(data\.cache\) cannot be read"):
        list(loader.batches(opened, EpochOrder(np.arange(2), 2, 0), range(1), decoder=decoder))


def test_other_pictures_are_looked_through_anew(tmp_path: Path) -> None:
    _, kinds = looked_through(Few([PLAIN, LARGER]), tmp_path)
    assert kinds.tolist() == [survey.GPU, survey.CPU]
    others = Few([PLAIN[:-2], PLAIN, PLAIN])
    others.sha256 = "1" * 64
    assert looked_through(others, tmp_path)[1].tolist() == [survey.DAMAGED, survey.GPU, survey.GPU]
    pictures.discard(tmp_path)
    assert not tmp_path.exists()


class Watched(gpu_jpeg.Lane):
    """A lane that notes who asks for what; a moment is the number of steps taken by then."""

    taken = 0

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.asked: list[tuple[str, str]] = []
        self.moments: list[Any] = []

    def note(self, what: str) -> None:
        self.asked.append((what, "main" if threading.current_thread() is threading.main_thread() else "lane"))

    def run_empty(self) -> None:
        self.note("run_empty")

    def done(self) -> Any:
        self.note("done")
        return "done"

    def after(self, moment: Any) -> None:
        self.note("after")
        self.moments.append(moment)

    def steps_done(self) -> Any:
        self.note("steps_done")
        return self.taken

    def steps_after(self, moment: Any) -> None:
        assert moment == "done"
        self.note("steps_after")


def test_memory_is_written_when_its_step_is_done_and_no_step_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(monkeypatch, nvimgcodec_like)
    monkeypatch.setattr(gpu_jpeg, "Lane", Watched)
    opened, kinds = looked_through(Few([PLAIN] * 8), tmp_path)
    order, ahead, steps = EpochOrder(np.arange(8), 4, 0), 2, 12
    decoder = gpu_jpeg.GpuDecoder(opened, order.positions, kinds, CPU)
    lane: Any = decoder.lane
    places = []
    for batch in loader.batches(opened, order, range(steps), reading=loader.ReadAhead(1, ahead), decoder=decoder):
        places.append(batch.images.data_ptr())
        lane.taken += 1
    before = dict.fromkeys(places, 0)
    for step, (place, moment) in enumerate(zip(places, lane.moments, strict=True)):
        assert moment >= before[place], step
        before[place] = step + 1
    assert len(set(places)) == ahead + 2
    by_main = {what for what, who in lane.asked[:-1] if who == "main"}
    assert by_main == {"steps_done", "steps_after"} and lane.asked[-1] == ("run_empty", "main")  # when all is over
    assert [what for what, who in lane.asked if who == "lane"] == ["run_empty", "after", "done"] * steps


class TestChoice:
    def test_the_cpu_asks_for_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu_jpeg, "obstacle", lambda device: pytest.fail("asked"))
        assert gpu_jpeg.choose("cpu", None, CUDA) == gpu_jpeg.Choice("cpu")

    def test_without_a_gpu(self) -> None:
        assert (
            gpu_jpeg.choose("auto", None, CPU).why == "the network runs on the CPU, and its pictures are decoded there"
        )
        with pytest.raises(
            UnavailableError,
            match=r"^data\.decode = gpu: the network runs on the CPU.*; data\.decode=cpu does without$",
        ):
            gpu_jpeg.choose("gpu", None, CPU)

    @pytest.mark.parametrize(("cuda", "extra"), [("12.9", "nvjpeg-cuda12"), ("13.0", "nvjpeg-cuda13")])
    def test_without_the_package(self, cuda: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(gpu_jpeg, "Lane", lambda device: Watched(CPU))
        put(monkeypatch, None)
        message = f'nvImageCodec is missing: pip install "curate-faces[{extra}]"'
        assert gpu_jpeg.choose("auto", None, CUDA) == gpu_jpeg.Choice("cpu", message)
        with pytest.raises(UnavailableError) as refused:
            gpu_jpeg.choose("gpu", None, CUDA)
        assert str(refused.value) == f"data.decode = gpu: {message}; data.decode=cpu does without"

    def test_of_another_makers_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.version, "cuda", None)
        assert gpu_jpeg.obstacle(CUDA) == "nvImageCodec is for NVIDIA's GPUs"

    def test_a_picture_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the module like the package, as if the CPU were a GPU."""
        monkeypatch.setattr(torch.version, "cuda", "12.9")
        put(monkeypatch, nvimgcodec_like)
        assert "does not run" in str(gpu_jpeg.obstacle(CUDA))  # torch has no CUDA
        monkeypatch.setattr(gpu_jpeg, "Lane", lambda device: Watched(CPU))
        assert gpu_jpeg.obstacle(CUDA) is None
        with monkeypatch.context() as patch:
            patch.setattr(nvimgcodec_like.Decoder, "refuses", lambda *_: True)
            assert "it refuses a plain JPEG; is its nvJPEG there?" in str(gpu_jpeg.obstacle(CUDA))
        monkeypatch.setattr(gpu_jpeg.Codec, "decode", lambda *_: [torch.zeros(64, 64, 3, dtype=torch.uint8)])
        assert "decodes a JPEG wrongly here" in str(gpu_jpeg.obstacle(CUDA))

    @pytest.mark.parametrize("recorded", [None, "gpu"])
    def test_one_process_that_cannot_decides_for_all(
        self, recorded: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpu_jpeg, "obstacle", lambda device: None)
        found = iter([[recorded or "", ""], ["", "it is missing"]])
        monkeypatch.setattr(distributed, "everywhere", lambda text: next(found))
        if recorded is None:
            assert gpu_jpeg.choose("auto", None, CUDA) == gpu_jpeg.Choice("cpu", "it is missing (process 1)")
        else:
            with pytest.raises(UnavailableError, match=r"it is missing \(process 1\); or use another --out"):
                gpu_jpeg.choose("auto", None, CUDA)


@pytest.mark.usefixtures("codec")
def test_the_benchmark_measures_both_decoders(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    gpu = importlib.import_module("gpu")
    faces = ManifestFaces(open_manifest(manifest))
    pictures.pack(faces, tmp_path / "cache")
    monkeypatch.setattr(gpu_jpeg, "version", lambda: None)
    assert gpu.loaders(faces, tmp_path / "cache", CPU, 16)["gpu"] is None
    monkeypatch.setattr(gpu_jpeg, "version", lambda: "0.9")
    found = gpu.loaders(faces, tmp_path / "cache", CPU, 16)
    assert all(found[key] > 0 for key in ("cpu", "gpu", "looked_through")) and found["difference"] == [0, 0]


def arguments(text: str) -> list[str]:
    """Names of what a function of the package takes, by the signature in its documentation."""
    inside = text[text.index("(") + 1 : text.index(") ->")]
    return [name for name in re.findall(r"(?:^|, )\*?(\w+): ", inside) if name != "self"]


def test_the_module_like_the_package_is_like_it() -> None:
    real = pytest.importorskip("nvidia.nvimgcodec")
    like = nvimgcodec_like
    for name in ("Decoder", "DecodeParams", "CodeStream", "Backend"):
        known = list(inspect.signature(getattr(like, name)).parameters)
        texts = re.findall(r"__init__\(self.*", getattr(real, name).__init__.__doc__)
        assert any(arguments(text)[: len(known)] == known for text in texts), name
    decode = next(text for text in re.findall(r"decode\(self.*", real.Decoder.decode.__doc__) if "srcs: " in text)
    assert arguments(decode) == list(inspect.signature(like.Decoder.decode).parameters)[1:]
    assert real.NVIMGCODEC_DEVICE_CPU_ONLY == like.NVIMGCODEC_DEVICE_CPU_ONLY
    assert {kind.name for kind in like.BackendKind} <= set(real.BackendKind.__members__)
    assert {"__dlpack__", "__dlpack_device__", "__cuda_array_interface__"} <= set(dir(real.Image))
    decoder = gpu_jpeg.Codec(gpu_jpeg.Lane(CPU), 1)
    for name, (jpeg, _) in MIXED.items():  # what it gives and what it refuses, but for damage that it does not notice
        (given,) = decoder.decode([jpeg])
        expected = like.Decoder(like.NVIMGCODEC_DEVICE_CPU_ONLY).decode([like.CodeStream(jpeg)], params=like_params())[
            0
        ]
        assert name in ("flipped", "PNG") or (given is None) == (expected is None), name
        assert name != "flipped" or given is not None  # the damage that a survey is for


def like_params() -> nvimgcodec_like.DecodeParams:
    return nvimgcodec_like.DecodeParams(apply_exif_orientation=False)
