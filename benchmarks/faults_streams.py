"""Streams as the web has them, made by chance, each with what is right of it; for `faults.py`."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 64, 48, 25
QUIET = {"x264-params": "log-level=none", "preset": "veryfast"}
B_FRAMES = {"bf": "3", "b-pyramid": "none", "x264-params": "log-level=none:b-adapt=0", "preset": "veryfast"}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Stream:
    """A file, and what is right of it.

    Attributes:
        shows: what each of its frames shows, in the order of presentation.
        damaged: whether some of its frames cannot be had.
        cut: whether frames are missing without a trace, so that the others are found by time.
        span: the range that is read.
        seen: what a shown frame looks like as it was stored.
    """

    path: Path
    shows: list[Pixels]
    damaged: bool = False
    cut: bool = False
    span: tuple[float | None, float | None] = (None, None)
    seen: Callable[[Pixels], Pixels] = lambda pixels: pixels


def picture(index: int, noise: int = 40) -> Pixels:
    """Eight bars, and below them noise that no other frame has."""
    bars = np.array([(index >> bit & 1) * 200 + 28 for bit in range(8)], np.uint8)
    image = np.repeat(bars, WIDTH // 8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)
    image[HEIGHT // 2 :] = np.random.default_rng(index).integers(0, noise, (HEIGHT // 2, WIDTH, 1), np.uint8)
    return image


def write(
    path: Path,
    codec: str,
    options: dict[str, str],
    indices: list[int],
    ticks: list[int] | None = None,
    width: int = WIDTH,
    **set_: object,
) -> Path:
    """Frames that tell `indices`, at `ticks` (milliseconds) or 25 a second; `set_` are attributes of the encoder."""
    even = ticks is None or all(tick % 40 == 0 for tick in ticks)  # MPEG encoders have no other times
    base = Fraction(1, RATE) if even else Fraction(1, 1000)
    with av.open(path, "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = width, HEIGHT
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.gop_size = 8
        stream.codec_context.time_base = base
        for name, value in set_.items():
            setattr(stream.codec_context, name, value)
        for number, index in enumerate(indices):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(index)[:, :width]), format="rgb24")
            frame.pts, frame.time_base = (ticks[number] // (40 if even else 1)) if ticks else number, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def bars(pixels: Pixels) -> Pixels:
    """The middles of the bars, which survive a stretch."""
    return np.repeat(pixels[2 : HEIGHT // 2 - 2, 4::8], 4, 1)


def as_decoded(path: Path) -> list[Pixels]:
    """The frames of a sound file as PyAV gives them."""
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def some(chance: random.Random, low: int = 10, high: int = 30) -> list[int]:
    """Indices of the frames of one stream."""
    first = chance.randrange(100)
    return list(range(first, first + chance.randint(low, high)))


def known(path: Path) -> Stream:
    return Stream(path, as_decoded(path))


def copied(source: Path, target: Path, packets: Callable[[list[av.Packet]], list[av.Packet]]) -> Path:
    """A file of the same stream with other packets."""
    with av.open(source) as one, av.open(target, "w") as other:
        stream = other.add_stream_from_template(one.streams.video[0])
        for packet in packets([packet for packet in one.demux(video=0) if packet.size]):
            packet.stream = stream
            other.mux(packet)
    return target


PLAIN = [
    ("mp4", "libx264", QUIET), ("mkv", "libx264", B_FRAMES), ("ts", "libx264", B_FRAMES), ("avi", "mpeg4", {}),
    ("mp4", "mpeg4", {"bf": "2"}), ("webm", "libvpx", {"deadline": "realtime"}), ("mpg", "mpeg2video", {"bf": "2"}),
    ("mpg", "mpeg1video", {}), ("mov", "mjpeg", {}), ("gif", "gif", {}), ("flv", "flv", {}),
    ("mov", "libx264", B_FRAMES), ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
]  # fmt: skip


def sound(folder: Path, chance: random.Random) -> Stream:
    ending, codec, options = chance.choice(PLAIN)
    return known(write(folder / f"a.{ending}", codec, options, some(chance)))


def variable_rate(folder: Path, chance: random.Random) -> Stream:
    ending, codec, options = chance.choice([PLAIN[0], PLAIN[1], PLAIN[5]])
    indices = some(chance)
    gaps = [chance.choice([7, 20, 33, 40, 40, 500, 12_000]) for _ in indices]
    return known(write(folder / f"a.{ending}", codec, options, indices, np.cumsum(gaps).tolist()))


def joined(folder: Path, chance: random.Random) -> Stream:
    """Parts whose clocks begin again, leap ahead, or were set back."""
    ending, codec, options = chance.choice([PLAIN[2], ("ts", "mpeg2video", {"bf": "2"}), PLAIN[6], PLAIN[7]])
    parts, shows = [], []
    for number in range(chance.randint(2, 4)):
        indices, start = some(chance), chance.choice([0, 0, 40, 30_000, 90_000])
        part = write(
            folder / f"{number}.{ending}", codec, options, indices, [start + 40 * k for k in range(len(indices))]
        )
        parts.append(part.read_bytes())
        shows += as_decoded(part)
    path = folder / f"a.{ending}"
    path.write_bytes(b"".join(parts))
    return Stream(path, shows)


def elementary(folder: Path, chance: random.Random) -> Stream:
    kinds: list[tuple[str, str, dict[str, str]]] = [
        ("h264", "libx264", B_FRAMES),
        ("h264", "libx264", {**QUIET, "bf": "0"}),
        ("hevc", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
        ("m2v", "mpeg2video", {"bf": "2"}),
        ("m4v", "mpeg4", {"bf": "2"}),
        ("ivf", "libvpx", {"deadline": "realtime"}),
        ("mjpeg", "mjpeg", {}),
    ]
    ending, codec, options = chance.choice(kinds)
    return known(write(folder / f"a.{ending}", codec, options, some(chance)))


def reordered_avi(folder: Path, chance: random.Random) -> Stream:
    codec, options = chance.choice([("mpeg4", {"bf": "2"}), ("libx264", B_FRAMES)])
    return known(write(folder / "a.avi", codec, options, some(chance)))


def broken_clock(folder: Path, chance: random.Random) -> Stream:
    """FLV whose times stand still, fall, leap, or are negative."""
    codec, options = chance.choice([("flv", {}), ("libx264", B_FRAMES), ("libx264", {**QUIET, "bf": "0"})])
    indices = some(chance)
    path = write(folder / "a.flv", codec, options, indices)
    stream = known(path)
    data, at, clock = bytearray(path.read_bytes()), 13, chance.choice([0, -300, 9_000])
    while at + 11 < len(data):
        if data[at] == 9 and not (data[at + 11] & 15 == 7 and data[at + 12] != 1):
            clock = 0 if chance.random() < 0.03 else clock + chance.choice([40] * 6 + [0, -70, 120, 20_000])
            data[at + 4 : at + 8] = (clock & 0xFFFFFF).to_bytes(3, "big") + (clock >> 24 & 255).to_bytes(1, "big")
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    path.write_bytes(data)
    return stream


def negative_times(folder: Path, chance: random.Random) -> Stream:
    path = write(folder / "a.mkv", "libvpx", {"deadline": "realtime"}, some(chance))
    stream, early = known(path), chance.randint(1, 8)
    with av.open(path) as container:
        packets = [(packet.pos, bytes(packet)[:16]) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, begins in packets:  # a block: track, time relative to its cluster, flags, the packet
        block = data.index(begins, place) - 3
        relative = int.from_bytes(data[block : block + 2], "big", signed=True)
        data[block : block + 2] = (relative - 40 * early).to_bytes(2, "big", signed=True)
    path.write_bytes(data)
    return stream


def private_units(folder: Path, chance: random.Random) -> Stream:
    """Messages of the wrong size, unescaped ones, units of unknown kinds; between sound slices."""
    plain = write(folder / "plain.mp4", "libx264", QUIET, some(chance))
    body = bytes(chance.choice([0, 0, chance.randrange(256)]) for _ in range(chance.randint(17, 60)))
    kind = chance.choice([bytes([6, 5, chance.randrange(256)]), bytes([6, chance.randrange(2, 160), len(body)]),
                          bytes([chance.choice([14, 21, 24, 30, 31])])])  # fmt: skip
    unit = kind + body.replace(b"\0\0\1", b"\0\0\4") + b"\x80"  # a start code would begin a slice

    def insert(packets: list[av.Packet]) -> list[av.Packet]:
        more = []
        for packet in packets:
            chosen = chance.random() < 0.6
            copy = av.Packet((len(unit).to_bytes(4, "big") + unit if chosen else b"") + bytes(packet))
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
            more.append(copy)
        return more

    return Stream(copied(plain, folder / "a.mp4", insert), as_decoded(plain))


def headless(folder: Path, chance: random.Random) -> Stream:
    """A recording that begins between two key frames."""
    codec, options = chance.choice([("libx264", B_FRAMES), ("libx264", QUIET), ("mpeg2video", {"bf": "2"})])
    plain = write(folder / "plain.ts", codec, options, some(chance, 24, 40))
    cut = chance.randint(1, 7)
    with av.open(plain) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    rank = {time: place for place, time in enumerate(sorted(times))}
    shows = as_decoded(plain)
    kept = sorted(rank[time] for time in times[cut:])
    return Stream(copied(plain, folder / "a.ts", lambda packets: packets[cut:]), [shows[k] for k in kept], damaged=True)


def sizes(folder: Path, chance: random.Random) -> Stream:
    ending = chance.choice(["ts", "h264"])
    parts = [write(folder / f"{k}.{ending}", "libx264", B_FRAMES, some(chance), width=width)
             for k, width in enumerate(chance.sample([64, 48, 32], 2))]  # fmt: skip
    path = folder / f"a.{ending}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return Stream(path, [pixels for part in parts for pixels in as_decoded(part)])


def turned(folder: Path, chance: random.Random) -> Stream:
    plain = write(folder / "plain.mp4", "libx264", QUIET, some(chance))
    a, b, c, d = chance.choice(
        [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0)]
    )
    with av.open(plain) as one, av.open(folder / "a.mp4", "w") as other:
        stream = other.add_stream_from_template(one.streams.video[0])
        stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        for packet in one.demux(video=0):
            if packet.size:
                packet.stream = stream
                other.mux(packet)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    return Stream(folder / "a.mp4", as_decoded(plain), seen=lambda pixels: pixels[down, right])


def not_square(folder: Path, chance: random.Random) -> Stream:
    ratio = Fraction(*chance.choice([(3, 2), (4, 3), (2, 1), (64, 45), (8, 9), (1, 2)]))
    ending = chance.choice(["mp4", "mkv", "ts"])
    path = write(folder / f"a.{ending}", "libx264", QUIET, some(chance), sample_aspect_ratio=ratio)
    wide, high = (round(WIDTH * ratio), HEIGHT) if ratio > 1 else (WIDTH, round(HEIGHT / ratio))

    def seen(pixels: Pixels) -> Pixels:
        if pixels.shape[:2] != (high, wide):
            return np.zeros((1, 1, 3), np.uint8)
        return pixels[(np.arange(HEIGHT) * high // HEIGHT)[:, None], np.arange(WIDTH) * wide // WIDTH]

    shows = [pixels.copy() for pixels in as_decoded(path)]
    return Stream(path, shows, seen=lambda pixels: bars(seen(pixels)))


def ranges(folder: Path, chance: random.Random) -> Stream:
    ending, codec, options = chance.choice(PLAIN[:5])
    path = write(folder / f"a.{ending}", codec, options, some(chance, 30, 60))
    shows = as_decoded(path)
    start, end = sorted(chance.sample(range(len(shows) + 1), 2))
    return Stream(path, shows[start:end], span=(start / RATE, end / RATE))


def several(folder: Path, chance: random.Random) -> Stream:
    """Two streams, of which one is marked; it is smaller, shorter, or neither."""
    lengths, widths, marked = (
        (chance.randint(10, 20), chance.randint(10, 20)),
        chance.sample([64, 48], 2),
        chance.randrange(2),
    )
    with av.open(folder / "a.mkv", "w") as container:
        streams = [container.add_stream("libx264", rate=RATE, options=QUIET) for _ in range(2)]
        for number, (stream, width) in enumerate(zip(streams, widths, strict=True)):
            stream.width, stream.height, stream.pix_fmt = width, HEIGHT, "yuv420p"
            stream.disposition = av.stream.Disposition(number == marked)
        for number, (stream, length, width) in enumerate(zip(streams, lengths, widths, strict=True)):
            for index in range(length):
                view = np.ascontiguousarray(picture(100 * number + index)[:, :width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
            container.mux(stream.encode())
    with av.open(folder / "a.mkv") as container:
        shows = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=marked)]
    return Stream(folder / "a.mkv", shows)


def holes(folder: Path, chance: random.Random) -> Stream:
    """Blocks that were never written: zeros inside of pictures."""
    ending, codec, options = chance.choice([("mp4", "libx264", QUIET), ("mkv", "libx264", B_FRAMES)])
    path = write(folder / f"a.{ending}", codec, {**options, "crf": "12"}, some(chance, 20, 40))
    shows = as_decoded(path)
    with av.open(path) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size > 200]
    data = bytearray(path.read_bytes())
    for place, size in chance.sample(packets, min(len(packets), chance.randint(1, 3))):
        start, length = place + size // 4, chance.randint(32, max(size // 2, 33))
        data[start : start + min(length, size // 2)] = bytes(min(length, size // 2))
    path.write_bytes(data)
    return Stream(path, shows, damaged=True)


def cut_off(folder: Path, chance: random.Random) -> Stream:
    ending, codec, options = chance.choice([("mp4", "libx264", QUIET), ("avi", "mpeg4", {})])
    path = write(folder / f"a.{ending}", codec, options, some(chance, 20, 40))
    shows = as_decoded(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * chance.uniform(0.4, 0.95))])
    return Stream(path, shows, damaged=True, cut=True)


def lost_transport(folder: Path, chance: random.Random) -> Stream:
    """Transport packets out of the middle of pictures are missing."""
    path = write(folder / "a.ts", "libx264", {**B_FRAMES, "crf": "8"}, some(chance, 20, 40))
    shows = as_decoded(path)
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    first = [k for k, packet in enumerate(packets) if packet[1] & 0x40][6]  # later frames need what the first brings
    middle = [
        k for k in range(first, len(packets) - 1) if not any(p[1] & 0x40 or p[3] & 0x20 for p in packets[k - 1 : k + 2])
    ]
    gone = set(chance.sample(middle, min(len(middle), chance.randint(1, 3))))
    path.write_bytes(b"".join(packet for k, packet in enumerate(packets) if k not in gone))
    return Stream(path, shows, damaged=True, cut=True)


KINDS: dict[str, Callable[[Path, random.Random], Stream]] = {
    "sound": sound,
    "variable rate": variable_rate,
    "joined end to end": joined,
    "elementary stream": elementary,
    "AVI, reordered": reordered_avi,
    "clock stands, falls, leaps": broken_clock,
    "negative times": negative_times,
    "private units": private_units,
    "begins between key frames": headless,
    "size changes": sizes,
    "turned or mirrored": turned,
    "pixels not square": not_square,
    "range of a video": ranges,
    "several streams": several,
    "holes": holes,
    "cut off": cut_off,
    "transport packets lost": lost_transport,
}


def streams(count: int) -> Iterator[tuple[str, Stream]]:
    """So many streams, of all kinds in turn; the folder of each is gone when the next comes."""
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            yield kind, KINDS[kind](Path(folder), random.Random(number))
