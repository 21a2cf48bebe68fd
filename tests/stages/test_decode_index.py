"""Times and frames are accounted for: in streams that are joined, that count wrongly, or that do not count at all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ErrorKind, SourceError
from curate.stages.decode_index import read_index

from .streams import HEIGHT, WIDTH, picture, read, render, told

B_FRAMES = {"bf": "3", "x264-params": "log-level=none:b-adapt=0"}
COUNT = 40


def accounted(path: Path, fps: float = 1000) -> list[int]:
    """What the frames tell, once it is certain that all of the stream's are accounted for."""
    frames, info = read(path, fps)
    assert info.frames_sampled == len(frames)
    assert info.frames_sampled + info.frames_damaged == info.frames_total
    times = [frame.time_s for frame in frames]
    assert all(a < b for a, b in pairwise(times))
    return [told(frame.pixels) for frame in frames]


def joined(path: Path, parts: list[Path]) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(("ending", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video"), ("ts", "mpeg2video")])
@pytest.mark.parametrize("late", [0, 750])
def test_what_is_joined_goes_on_behind_the_joint(tmp_path: Path, ending: str, codec: str, late: int) -> None:
    options = B_FRAMES if codec == "libx264" else {"bf": "2", "b": "900k"}
    first = render(tmp_path / f"1.{ending}", codec, options, range(late, late + COUNT))
    second = render(tmp_path / f"2.{ending}", codec, options, range(COUNT // 2))
    path = joined(tmp_path / f"a.{ending}", [first, second, second])
    frames, info = read(path, 5)
    assert accounted(path) == [*range(COUNT), *range(COUNT // 2), *range(COUNT // 2)]
    assert [frame.index for frame in frames] == list(range(0, 2 * COUNT, 5))
    assert np.allclose([frame.time_s for frame in frames], np.arange(0, 2 * COUNT, 5) / 25, atol=1e-3)
    assert (info.frames_total, info.frames_damaged) == (2 * COUNT, 0)
    assert info.duration_s == pytest.approx(2 * COUNT / 25, abs=0.05) and info.fps == pytest.approx(25, abs=0.1)


def test_a_joint_throws_no_doubt_on_a_packet_of_the_same_time(tmp_path: Path) -> None:
    options = {"bf": "2", "b": "900k"}
    for length in (19, 16):  # the last packet of the second part has the time of the last but one of the first
        first = render(tmp_path / "1.ts", "mpeg2video", options, range(length))
        second = render(tmp_path / "2.ts", "mpeg2video", options, range(length - 1))
        path = joined(tmp_path / "a.ts", [first, second, first])
        assert accounted(path) == [*range(length), *range(length - 1), *range(length)]


@pytest.mark.parametrize(
    ("ending", "codec", "options"),
    [
        ("h264", "libx264", B_FRAMES),
        ("h264", "libx264", {"bf": "0", "x264-params": "log-level=none"}),
        ("hevc", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
        ("m2v", "mpeg2video", {"bf": "2", "b": "900k"}),
        ("m4v", "mpeg4", {"bf": "2", "b": "900k"}),
        ("avi", "mpeg4", {"bf": "2", "b": "900k"}),
        ("avi", "libx264", B_FRAMES),
        ("ivf", "libvpx", {"deadline": "realtime", "b": "500k"}),
        ("mjpeg", "mjpeg", {"q": "3"}),
    ],
)
def test_streams_without_times_count_their_frames(
    tmp_path: Path, ending: str, codec: str, options: dict[str, str]
) -> None:
    path = render(tmp_path / f"a.{ending}", codec, options, range(COUNT))
    frames, info = read(path, 5)
    assert accounted(path) == list(range(COUNT))
    assert [told(frame.pixels) for frame in frames] == [frame.index for frame in frames] == list(range(0, COUNT, 5))
    assert np.allclose([frame.time_s for frame in frames], np.arange(0, COUNT, 5) / 25, atol=1e-3)
    assert info.duration_s == pytest.approx(COUNT / 25, abs=0.01) and info.fps == pytest.approx(25, abs=0.1)


def flv_times(path: Path, times: list[int]) -> None:
    """Writes other times, milliseconds, into the video tags of an FLV file."""
    data, at, number = bytearray(path.read_bytes()), 13, 0
    while at + 11 < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        header = data[at + 11] & 15 == 7 and data[at + 12] != 1  # H.264: a parameter set, or the end
        if data[at] == 9 and not header:
            time = times[number] & 0xFFFFFFFF
            data[at + 4 : at + 8] = (time & 0xFFFFFF).to_bytes(3, "big") + (time >> 24).to_bytes(1, "big")
            number += 1
        at += 11 + size + 4
    assert number == len(times)
    path.write_bytes(data)


@st.composite
def clocks(draw: st.DrawFn) -> list[int]:
    """COUNT times that stand still, fall, leap or begin again."""
    times, clock = [], draw(st.sampled_from([0, -200, 5_000]))
    kinds = draw(st.lists(st.sampled_from(".....-=<>|"), min_size=COUNT, max_size=COUNT))
    for kind in kinds:
        clock += {"=": 0, "<": -70, ">": 20_000, "-": 120}.get(kind, 40)
        clock = 0 if kind == "|" else clock
        times.append(clock)
    return times


@settings(max_examples=25)
@given(clocks(), st.sampled_from([("flv", {"b": "900k"}), ("libx264", B_FRAMES)]))
def test_every_packet_is_accounted_for_whatever_its_time(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], codec: tuple[str, dict[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{codec[0]}.flv"
    path.unlink(missing_ok=True)
    render(path, *codec, range(COUNT), gop=13)
    flv_times(path, times)
    assert accounted(path) == list(range(COUNT))


def test_negative_times_of_matroska_lose_nothing(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mkv", "libvpx", {"deadline": "realtime", "b": "500k"}, range(COUNT))
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    for number, place in enumerate(places):
        # a simple block: track, time relative to its cluster, flags
        block = data.index(b"\x81" + (40 * number).to_bytes(2, "big"), place - 8) + 1
        data[block : block + 2] = (40 * (number - 5)).to_bytes(2, "big", signed=True)
    path.write_bytes(data)
    assert accounted(path) == list(range(COUNT))
    assert np.allclose(read_index(path).times, np.arange(COUNT) / 25)


def test_durations_are_measured(tmp_path: Path) -> None:
    """A slide show whose last picture is short, and a recording whose last picture stays."""
    plain = render(tmp_path / "a.mp4", "libx264", {}, range(3))
    for name, lengths in (("slides", (30, 30, 0.04)), ("still", (1, 1, 29.9))):
        for ending in ("mp4", "mkv"):
            path, shown_s = tmp_path / f"{name}.{ending}", 0.0
            with av.open(plain) as source, av.open(path, "w") as target:
                stream = target.add_stream_from_template(source.streams.video[0])
                packets = [packet for packet in source.demux(video=0) if packet.size]
                for packet, length in zip(packets, lengths, strict=True):
                    packet.pts = packet.dts = round(shown_s / packet.time_base)
                    packet.duration = round(length / packet.time_base)
                    packet.stream, shown_s = stream, shown_s + length
                    target.mux(packet)
            info = read_index(path).info
            assert info.duration_s == pytest.approx(sum(lengths), abs=0.01), path.name
            assert info.fps == pytest.approx(3 / sum(lengths), rel=0.01), path.name


def test_of_several_streams_the_one_that_a_player_shows_is_read(tmp_path: Path) -> None:
    def write(path: Path, default: int, lengths: tuple[int, int], sizes: tuple[int, int]) -> Path:
        with av.open(path, "w") as container:
            streams = []
            for number, width in enumerate(sizes):
                stream = container.add_stream("libx264", rate=25, options={"x264-params": "log-level=none"})
                stream.width, stream.height, stream.pix_fmt = width, HEIGHT, "yuv420p"
                stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
                streams.append(stream)
            for stream, length in zip(streams, lengths, strict=True):
                for index in range(length):
                    view = np.ascontiguousarray(picture(index)[:, : stream.width])
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
                container.mux(stream.encode())
        return path

    for default, lengths in ((0, (20, 40)), (1, (40, 20))):
        path = write(tmp_path / f"{default}.mkv", default, lengths, (WIDTH, 2 * WIDTH))
        assert read_index(path).info.frames_total == 20, "the stream that is marked is shown"
    path = write(tmp_path / "neither.mkv", 2, (40, 20), (WIDTH // 2, WIDTH))
    assert read_index(path).info.frames_total == 40, "else the one of most frames is, whatever its size"


def test_an_open_group_at_the_beginning_is_counted_as_damaged(tmp_path: Path) -> None:
    """A recording that begins in the middle: what is shown before its first key frame cannot be decoded."""
    whole = render(tmp_path / "a.ts", "libx264", B_FRAMES, range(COUNT), gop=10)
    with av.open(whole) as source, av.open(tmp_path / "cut.ts", "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets[4:]:
            packet.stream = stream
            target.mux(packet)
    found = accounted(tmp_path / "cut.ts")
    frames, info = read(tmp_path / "cut.ts", 1000)
    assert found == list(range(found[0], COUNT)) and info.frames_total == COUNT - 4
    assert info.frames_damaged == frames[0].index == COUNT - 4 - len(found) > 0


@pytest.mark.parametrize("ending", ["mp4", "ts", "avi"])
def test_a_range_gives_what_it_gives_when_it_is_cut_out(tmp_path: Path, ending: str) -> None:
    path = render(tmp_path / f"a.{ending}", "libx264" if ending != "avi" else "mpeg4", {}, range(100), gop=20)
    frames, info = read(path, 5, 1.0, 2.0)
    assert [told(frame.pixels) for frame in frames] == [frame.index for frame in frames] == list(range(25, 50, 5))
    assert np.allclose([frame.time_s for frame in frames], np.arange(25, 50, 5) / 25, atol=1e-3)
    assert [frame.instants for frame in frames] == [(k, k) for k in range(5)]
    assert (info.frames_total, info.frames_sampled, info.frames_damaged) == (25, 5, 0)
    assert info.duration_s == pytest.approx(1.0, abs=0.01)
    odd, _ = read(path, 5, 1.03, None)
    assert [frame.index for frame in odd] == list(range(26, 100, 5)), "instants count from the start of the range"
    assert [frame.index for frame in read(path, 5, None, 0.5)[0]] == [0, 5, 10]
    with pytest.raises(SourceError, match=r"between 9 s and 10 s .* 4\.00 s") as raised:
        read(path, 5, 9.0, 10.0)
    assert raised.value.kind == ErrorKind.NOT_FOUND
