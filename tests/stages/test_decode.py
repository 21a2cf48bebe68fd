from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ErrorKind, SourceError
from curate.sampling import sample
from curate.stages import decode_decord, decode_pyav
from curate.stages.decode_index import read_index

from .streams import CODECS, HEIGHT, NAMES, WIDTH, picture, read, render, told


def failure(path: Path) -> SourceError:
    with pytest.raises(SourceError) as raised:
        read(path, 5)
    return raised.value


@pytest.mark.parametrize(("ending", "codec", "options"), CODECS, ids=NAMES)
def test_every_codec_gives_the_frames_of_the_instants(
    tmp_path: Path, ending: str, codec: str, options: dict[str, str]
) -> None:
    path = render(tmp_path / f"a.{ending}", codec, options, range(60), noise=60)
    frames, info = read(path, 5)
    assert [told(frame.pixels) for frame in frames] == [frame.index for frame in frames] == list(range(0, 60, 5))
    assert np.allclose([frame.time_s for frame in frames], np.arange(12) / 5, atol=0.011)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.frames_total == 60 and info.frames_sampled == 12 and info.frames_damaged == 0
    assert abs(info.fps - 25) < 0.6 and abs(info.duration_s - 2.4) < 0.06
    assert all(frame.pixels.shape == (HEIGHT, WIDTH, 3) and frame.pixels.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize(("ending", "codec", "options"), CODECS[:3], ids=NAMES[:3])
@pytest.mark.parametrize("start", [0, 5000])
def test_variable_rates_and_late_starts(
    tmp_path: Path, ending: str, codec: str, options: dict[str, str], start: int
) -> None:
    chance = random.Random(start)
    ticks = [start]
    for _ in range(70):
        ticks.append(ticks[-1] + chance.choice([7, 20, 33, 40, 40, 40, 500]))
    path = render(tmp_path / f"a.{ending}", codec, options, ticks, tick=Fraction(1, 1000))
    times = [(tick - start) / 1000 for tick in ticks]
    for fps in (2, 11, 100):
        frames, info = read(path, fps)
        assert [frame.index for frame in frames] == sample(np.array(times), fps, 0.0005).frames.tolist()
        assert [told(frame.pixels) for frame in frames] == [frame.index for frame in frames]
        assert np.allclose([frame.time_s for frame in frames], [times[frame.index] for frame in frames], atol=0.002)
    assert abs(info.duration_s - times[-1]) < 0.3


def test_a_rate_above_the_videos_gives_every_frame_once(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {}, range(20))
    frames, _ = read(path, 1000)
    assert [frame.index for frame in frames] == list(range(20))


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("mpg", "mpeg1video"), ("gif", "gif")])
def test_a_video_of_one_frame(tmp_path: Path, ending: str, codec: str) -> None:
    frames, info = read(render(tmp_path / f"a.{ending}", codec, {}, [0]), 5)
    assert [(frame.index, frame.time_s) for frame in frames] == [(0, 0.0)]
    assert info.frames_total == 1 and info.fps > 0 and info.duration_s > 0


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "yuv422p", "gray", "yuvj420p"])
def test_odd_pixel_formats(tmp_path: Path, pix_fmt: str) -> None:
    frames, _ = read(render(tmp_path / "a.mp4", "libx264", {}, range(30), pix_fmt=pix_fmt), 5)
    assert [told(frame.pixels) for frame in frames] == list(range(0, 30, 5))
    if pix_fmt != "gray":  # the encoder is given full range there, and says limited
        assert abs(int(frames[-1].pixels[5, 5, 0]) - int(picture(25)[5, 5, 0])) < 12


@pytest.mark.parametrize("width", [2, 34, 98, 130])
def test_narrow_frames(tmp_path: Path, width: int) -> None:
    frames, info = read(render(tmp_path / "a.mp4", "libx264", {}, range(30), width=width), 5)
    assert info.width == width and {frame.pixels.shape for frame in frames} == {(HEIGHT, width, 3)}
    assert all(abs(int(frame.pixels[5, 0, 0]) - int(picture(frame.index)[5, 0, 0])) < 30 for frame in frames)


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("careful", [False, True])
def test_rotated_videos_stand_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int, careful: bool
) -> None:
    if careful:
        monkeypatch.setattr(decode_decord, "CODECS", frozenset())
    plain = render(tmp_path / "plain.mp4", "libx264", {}, range(10))
    turned = tmp_path / "turned.mp4"
    with av.open(plain) as source, av.open(turned, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(turn)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with av.open(turned) as container:
        stored = next(container.decode(video=0))
    frames, info = read(turned, 5)
    upright = np.rot90(stored.to_ndarray(format="rgb24"), stored.rotation // 90)
    assert stored.rotation % 360 in (turn, 360 - turn)
    assert (info.height, info.width) == upright.shape[:2]
    assert np.array_equal(frames[0].pixels, upright)


@pytest.mark.parametrize(("ending", "codec", "options"), CODECS, ids=NAMES)
def test_both_readers_give_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, codec: str, options: dict[str, str]
) -> None:
    path = render(tmp_path / f"a.{ending}", codec, options, range(50), noise=80)
    one, _ = read(path, 7)
    monkeypatch.setattr(decode_decord, "CODECS", frozenset())
    other, _ = read(path, 7)
    assert [frame.index for frame in one] == [frame.index for frame in other]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_regular_videos_are_decoded_once_and_by_decord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {}, range(60))

    def never(*_: object) -> None:
        raise AssertionError("a sound video is decoded a second time")

    monkeypatch.setattr(decode_pyav, "frames", never)
    assert len(read(path, 5)[0]) == 12


def test_the_careful_reader_takes_over_where_decord_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {}, range(80))
    whole, _ = read(path, 5)

    def gives_up(*given: object) -> object:
        for count, pixels in enumerate(decode_decord_frames(*given)):
            if count == 7:
                raise decode_decord.Suspicious
            yield pixels

    decode_decord_frames: Callable[..., object] = decode_decord.frames
    monkeypatch.setattr(decode_decord, "frames", gives_up)
    again, info = read(path, 5)
    assert [frame.index for frame in again] == [frame.index for frame in whole] and info.frames_damaged == 0
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(whole, again, strict=True))


def largest_packets(path: Path, count: int, keys: bool) -> list[tuple[int, int]]:
    with av.open(path) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.is_keyframe == keys]
    return sorted(packets, key=lambda packet: packet[1])[-count:]


@pytest.mark.parametrize(
    ("ending", "codec", "options"), [CODECS[0], CODECS[1], CODECS[4], CODECS[8]], ids=lambda value: str(value)[:12]
)
@pytest.mark.parametrize("harm", ["zeros", "noise"])
def test_damaged_frames_are_counted_and_the_sound_ones_behind_are_read(
    tmp_path: Path, ending: str, codec: str, options: dict[str, str], harm: str
) -> None:
    path = render(tmp_path / f"a.{ending}", codec, options | {"b": "3000k"}, range(120), gop=20, noise=255)
    whole, sound = read(path, 25)
    assert sound.frames_damaged == 0 and sound.frames_sampled == 120
    data = bytearray(path.read_bytes())
    position, size = sorted(largest_packets(path, 20, keys=False))[6]
    start, end = position + size // 3, position + size * 2 // 3
    data[start:end] = bytes(end - start) if harm == "zeros" else random.Random(1).randbytes(end - start)
    hurt = tmp_path / f"hurt.{ending}"
    hurt.write_bytes(data)
    frames, info = read(hurt, 25)
    assert 0 < info.frames_damaged < 60
    assert info.frames_sampled == len(frames) == 120 - info.frames_damaged
    assert frames[-1].index == 119
    by_index = {frame.index: frame.pixels.astype(np.float32) for frame in whole}
    errors = [np.square(frame.pixels - by_index[frame.index]).mean() for frame in frames]
    assert max(errors) < 20, "a damaged frame came through"


def test_a_cut_off_file_gives_what_is_there_and_counts_the_rest(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {"movflags": "faststart"}, range(120), noise=255)
    with av.open(path) as source, av.open(tmp_path / "front.mp4", "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    frames, info = read(tmp_path / "cut.mp4", 25)
    assert info.frames_total == 120
    assert 20 < info.frames_sampled == len(frames) < 80
    assert abs(info.frames_sampled + info.frames_damaged - 120) <= 2
    for ending, codec in (("mkv", "libx264"), ("avi", "mpeg4")):
        path = render(tmp_path / f"b.{ending}", codec, {}, range(120), noise=255)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        frames, info = read(path, 25)
        assert len(frames) > 20 and info.frames_damaged > 20


def test_a_cut_off_index_is_damage_not_another_format(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", "libx264", {}, range(60), noise=255)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert failure(path).kind == ErrorKind.DAMAGED


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ErrorKind.DAMAGED),
        (bytes(5000), ErrorKind.DAMAGED),
        (b"<!DOCTYPE html><html><body>Not here</body></html>", ErrorKind.NOT_VIDEO),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", ErrorKind.NOT_VIDEO),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", ErrorKind.NOT_VIDEO),
        (random.Random(0).randbytes(5000), ErrorKind.NOT_VIDEO),
        (b"\0\0\0\x18ftypmp42" + bytes(3000), ErrorKind.DAMAGED),
        (b"\x1a\x45\xdf\xa3" + bytes(3000), ErrorKind.DAMAGED),
    ],
)
def test_what_is_no_video(tmp_path: Path, data: bytes, kind: ErrorKind) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert failure(path).kind == kind


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    error = failure(path)
    assert error.kind == ErrorKind.NOT_VIDEO and "audio" in error.message


@settings(max_examples=25)
@given(st.data())
def test_no_damage_stops_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    ending, codec, options = data.draw(st.sampled_from(CODECS))
    clean = folder / f"{codec}.{ending}"
    if not clean.exists():
        render(clean, codec, options, range(40), noise=120)
    content = bytearray(clean.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(1, 64))] = data.draw(st.binary(max_size=64))
    hurt = folder / f"hurt.{ending}"
    hurt.write_bytes(content)
    try:
        frames, info = read(hurt, 5)
    except SourceError as error:
        assert error.message
        return
    assert info.frames_sampled == len(frames)
    assert all(b.index > a.index and b.time_s > a.time_s for a, b in pairwise(frames))
    assert all(frame.pixels.shape == (info.height, info.width, 3) for frame in frames)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = render(tmp_path / "a.mkv", "libx264", {"x264-params": "log-level=none"}, range(60), noise=255)
    capfd.readouterr()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    path.write_bytes(content)
    read(path, 25)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_real_videos_are_sound(videos: Path) -> None:
    for path in sorted(videos.iterdir()):
        frames, info = read(path, 2)
        assert info.frames_damaged == 0 and info.frames_sampled == len(frames) > 0, path.name
        assert all(frame.pixels.shape == (info.height, info.width, 3) for frame in frames)


def test_damaged_files_have_their_reasons(shared: Path) -> None:
    folder = shared / "data" / "damaged"
    for path in sorted(folder.iterdir()):
        try:
            frames, info = read(path, 5)
        except SourceError as error:
            assert error.kind in (ErrorKind.NOT_VIDEO, ErrorKind.DAMAGED, ErrorKind.UNSUPPORTED), path.name
        else:
            assert len(frames) == info.frames_sampled > 0, path.name
    assert (read_index(folder / "video_90.mov").info.width, read_index(folder / "video_180.mov").info.width) == (
        320,
        568,
    )
