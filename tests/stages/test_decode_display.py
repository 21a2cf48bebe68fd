"""Frames are shown as a player shows them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from curate.records import Pixels
from curate.stages.decode_display import Orientation, aspect, combed, orientation, square

from .streams import HEIGHT, WIDTH, read, render, told

PHOTO = np.ascontiguousarray(cv2.resize(data.astronaut()[:360, 40:400], (160, 120), interpolation=cv2.INTER_AREA))
QUIET = {"x264-params": "log-level=none", "crf": "10"}


def still(path: Path, pictures: list[Pixels], codec: str = "libx264", **set_: object) -> Path:
    """Pictures as a video, 5 a second; `set_` are attributes of the encoder."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=5, options=dict(QUIET) if codec == "libx264" else {"q": "2"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for name, value in set_.items():
            setattr(stream.codec_context, name, value)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def remuxed(source: Path, target: Path, change: object) -> Path:
    with av.open(source) as one, av.open(target, "w") as other:
        stream = other.add_stream_from_template(one.streams.video[0])
        change(stream)  # type: ignore[operator]
        for packet in one.demux(video=0):
            if packet.size:
                packet.stream = stream
                other.mux(packet)
    return target


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


MATRICES = {
    (0, False): (1, 0, 0, 1),
    (90, False): (0, 1, -1, 0),
    (180, False): (-1, 0, 0, -1),
    (270, False): (0, -1, 1, 0),
    (0, True): (-1, 0, 0, 1),
    (180, True): (1, 0, 0, -1),
    (90, True): (0, -1, -1, 0),
    (270, True): (0, 1, 1, 0),
}
"""(rotation, mirrored) -> where the matrix puts the picture's axes: right is (a, b), down is (c, d)."""


@pytest.mark.parametrize(("shown", "axes"), MATRICES.items(), ids=str)
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_the_whole_display_matrix_is_applied(
    tmp_path: Path, shown: tuple[int, bool], axes: tuple[int, int, int, int], ending: str
) -> None:
    a, b, c, d = axes
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    plain = still(tmp_path / f"plain.{ending}", [PHOTO] * 3)
    turned = remuxed(plain, tmp_path / f"turned.{ending}", lambda stream: stream.set_display_matrix(matrix))
    stored = read(plain, 5)[0][0].pixels
    height, width = stored.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    right, down = a * x + c * y, b * x + d * y
    expected = np.zeros((np.ptp(down) + 1, np.ptp(right) + 1, 3), np.uint8)
    expected[down - down.min(), right - right.min()] = stored
    frames, info = read(turned, 5)
    assert np.array_equal(frames[0].pixels, expected)
    assert (info.rotation, info.mirrored) == shown and (info.height, info.width) == expected.shape[:2]


@given(st.sampled_from([0, 90, 180, 270]), st.booleans())
def test_orientations_keep_pixels(rotation: int, mirrored: bool) -> None:
    small = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turned = Orientation(rotation, mirrored).applied(small)
    assert sorted(map(tuple, turned.reshape(-1, 3))) == sorted(map(tuple, small.reshape(-1, 3)))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("ratio", [Fraction(64, 45), Fraction(8, 9)])
def test_pixels_become_square(tmp_path: Path, ending: str, ratio: Fraction) -> None:
    path = still(tmp_path / f"a.{ending}", [PHOTO] * 4, sample_aspect_ratio=ratio)
    frames, info = read(path, 5)
    expected = (round(160 * ratio), 120) if ratio > 1 else (160, round(120 / ratio))
    assert (info.width, info.height) == expected == frames[0].pixels.shape[1::-1]
    assert info.sample_aspect_ratio == pytest.approx(float(ratio))
    assert difference(frames[0].pixels, cv2.resize(PHOTO, expected, interpolation=cv2.INTER_LINEAR)) < 8


def test_absurd_shapes_of_pixels_are_not_believed() -> None:
    assert [aspect(ratio) for ratio in (None, 0, 1e-9, 1e9, 0.5)] == [1, 1, 1, 1, 0.5]
    assert square(8000, 8000, 9.0) == (8000, 8000)


@pytest.mark.parametrize("ending", ["ts", "h264"])
def test_sizes_that_change_midway_are_kept(tmp_path: Path, ending: str) -> None:
    wide = render(tmp_path / f"1.{ending}", "libx264", QUIET, range(20))
    narrow = render(tmp_path / f"2.{ending}", "libx264", QUIET, range(20), width=WIDTH // 2)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(wide.read_bytes() + narrow.read_bytes())
    frames, info = read(path, 5)
    assert [frame.pixels.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 4 + [(HEIGHT, WIDTH // 2, 3)] * 4
    assert [told(frame.pixels) for frame in frames[:4]] == [0, 5, 10, 15]
    assert difference(frames[4].pixels, read(narrow, 5)[0][0].pixels) == 0
    assert (info.frames_damaged, info.width) == (0, WIDTH)


def test_sizes_that_change_inside_a_container_are_kept(tmp_path: Path) -> None:
    """MP4 whose later key frames bring a parameter set of their own, as a call that is recorded does."""
    parts = [still(tmp_path / f"{k}.mp4", [PHOTO[:, :width]] * 5) for k, width in enumerate((160, 96))]
    with av.open(parts[0]) as first, av.open(parts[1]) as second, av.open(tmp_path / "a.mp4", "w") as target:
        stream = target.add_stream_from_template(first.streams.video[0])
        head = b""
        for source in (first, second):
            config = bytes(source.streams.video[0].codec_context.extradata)
            size = int.from_bytes(config[6:8], "big")
            sets = [config[8 : 8 + size], config[8 + size + 3 :]]
            head = b"".join(len(one).to_bytes(4, "big") + one for one in sets)
            for packet in source.demux(video=0):
                if packet.size:
                    copy = av.Packet((head if packet.is_keyframe else b"") + bytes(packet))
                    late = int(source is second and 1 / packet.time_base)
                    copy.pts, copy.dts, copy.time_base = packet.pts + late, packet.dts + late, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                    target.mux(copy)
    frames, info = read(tmp_path / "a.mp4", 5)
    assert [frame.pixels.shape[1] for frame in frames] == [160] * 5 + [96] * 5 and info.frames_damaged == 0
    assert difference(frames[7].pixels, PHOTO[:, :96]) < 4


def woven(shift: int) -> Pixels:
    """Two moments in one frame: its odd lines are `shift` pixels further."""
    frame = PHOTO.copy()
    frame[1::2] = np.roll(PHOTO, shift, 1)[1::2]
    return frame


def test_interlaced_frames_show_one_moment(tmp_path: Path) -> None:
    raw = np.stack([woven(9)] * 5 + [PHOTO] * 5).tobytes()
    path = tmp_path / "a.mpg"
    given_ = "-f rawvideo -pix_fmt rgb24 -s 160x120 -r 25 -i - -vf setfield=tff -c:v mpeg2video -q:v 2 -g 1"
    command = ["ffmpeg", "-v", "error", *given_.split(), "-flags", "+ildct+ilme", "-top", "1", str(path)]
    subprocess.run(command, input=raw, check=True)
    frames, info = read(path, 1000)
    assert info.field_order == "tt" and len(frames) == 10
    for frame in frames[:5]:
        luma = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY).astype(np.int16)
        lines = np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean()
        assert lines < 4 and difference(frame.pixels, PHOTO) < 10
    assert difference(frames[9].pixels, PHOTO) < difference(frames[0].pixels, PHOTO), "a still frame keeps its lines"


@pytest.mark.parametrize(("picture", "expected"), [(PHOTO, False), (woven(9), True), (woven(0), False)])
def test_combs(picture: Pixels, expected: bool) -> None:
    assert combed(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")) == expected


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_of_the_stream_are_used(tmp_path: Path, matrix: int, full: bool) -> None:
    names = {1: "bt709", 5: "bt601"}
    patch = np.full((96, 160, 3), (200, 40, 60), np.uint8)
    path = tmp_path / "a.mp4"
    scale = f"scale=out_color_matrix={names[matrix]}:out_range={'pc' if full else 'tv'},format=yuv420p"
    tags = f"-colorspace {'bt709' if matrix == 1 else 'smpte170m'} -color_range {'pc' if full else 'tv'}"
    command = f"ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s 160x96 -r 5 -i - -vf {scale} {tags} -c:v libx264 -crf 5"
    subprocess.run([*command.split(), str(path)], input=patch.tobytes() * 3, check=True)
    assert np.abs(read(path, 5)[0][0].pixels[40, 80].astype(int) - (200, 40, 60)).max() <= 4


@pytest.mark.parametrize(("width", "matrix"), [(1280, "bt709"), (640, "bt601")])
def test_where_no_matrix_is_named_size_decides(tmp_path: Path, width: int, matrix: str) -> None:
    patch = np.full((96, width, 3), (200, 40, 60), np.uint8)
    scale = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p"
    command = f"ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s {width}x96 -r 5 -i - -vf {scale} -c:v libx264 -crf 5"
    path = tmp_path / "a.mp4"
    subprocess.run([*command.split(), "-preset", "ultrafast", str(path)], input=patch.tobytes() * 2, check=True)
    assert np.abs(read(path, 5)[0][0].pixels[40, 80].astype(int) - (200, 40, 60)).max() <= 4


def test_a_frame_is_let_go_once_its_orientation_is_known() -> None:
    """Not when the garbage collector runs: a frame of 1080p takes 3 MB."""
    frame = av.VideoFrame.from_ndarray(PHOTO, format="rgb24")
    before = sys.getrefcount(frame)
    assert orientation(frame) is None and sys.getrefcount(frame) == before
