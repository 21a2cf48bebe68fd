"""What a container says of its video stream, before any frame of it is wanted: one pass over the packets.

Demuxing decodes nothing and costs about a hundredth of decoding. It gives the presentation time of every frame, by
which frames are sampled, and the packets that cannot be sound:

* the demuxer says so (a lost transport packet, a failed checksum, an end that comes too early);
* H.264 and HEVC in length-prefixed units: the lengths must fill the packet, and four zero bytes may not stand inside a
  unit, because the encoder escapes them (ITU-T H.264 7.4.1, H.265 7.4.2). Blocks of a file that were never written, or
  were overwritten, break one or the other;
* VP8, VP9 and AV1: a run of `LONGEST_ZEROS` zero bytes, which an arithmetic coder does not write. Their decoders in
  libav check almost nothing, so this is the only sign of a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np
from numpy.typing import NDArray

from curate.errors import ErrorKind, SourceError, one_line
from curate.records import VideoInfo

LONGEST_ZEROS = 64
"""Zero bytes in a row from which a packet of an arithmetic-coded video is not believed."""

MOST_PIXELS = 1 << 26
"""Pixels of a frame above which a video is refused: twice 8K; what claims more is hostile."""

_PACKETS_TO_FIRST_FRAME = 2_000


@dataclass(frozen=True)
class Index:
    """The frames of a video as its packets announce them.

    Attributes:
        info: what is known before the frames are read.
        stream: index of the video stream in its container.
        pts: int64 [n], presentation times of its frames in ticks, ascending.
        tick_s: seconds a tick.
        timed: whether every packet carries a time of its own; where not, `pts` is only a guess.
        flawed: times of packets that cannot be sound.
        missing_s: seconds that the container announces after the last packet that is there.
        rotation: degrees clockwise by which a stored frame is turned to stand upright.
        plain: the stream is so regular that its n-th decoded frame is surely the n-th of `pts`.
    """

    info: VideoInfo
    stream: int
    pts: NDArray[np.int64]
    tick_s: float
    timed: bool
    flawed: frozenset[int]
    missing_s: float
    rotation: int
    plain: bool

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 [n]: seconds from the first frame."""
        return (self.pts - self.pts[0]) * self.tick_s if len(self.pts) else np.zeros(0)


@contextmanager
def libav_log(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """Collects what PyAV's libav says on this thread as (level, part, text), and keeps it off the terminal."""
    av.logging.set_skip_repeated(False)  # a repeated complaint would be held back, and told of a later packet
    av.logging.set_level(level)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(None)


def open_container(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Opens a file and picks its video stream (cover pictures of music are none).

    Raises:
        SourceError: not_video, damaged or unsupported.
    """
    _sniff(path)
    try:
        # Playlists and manifests that pose as videos must not reach the network.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _cannot_open(path, error) from None
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["no stream at all"]
        container.close()
        raise SourceError(ErrorKind.NOT_VIDEO, f"there is no video in it, only {', '.join(kinds)}")
    stream = max(streams, key=lambda s: s.codec_context.width * s.codec_context.height if s.codec_context else -1)
    problem = _unusable(stream)
    if problem:
        container.close()
        raise problem
    stream.codec_context.thread_count = 1
    return container, stream


def read_index(path: Path) -> Index:
    """Demuxes a whole file once and decodes its first frame.

    Raises:
        SourceError: not_video, damaged or unsupported; the message says what is wrong.
    """
    with libav_log() as log:
        container, stream = open_container(path)
        with container:
            first = _first_frame(container, stream)
        container, stream = open_container(path)
        with container:
            packets = _scan(container, stream)
            packets.broken |= bool(log)
            return _index(container, stream, first, packets, path)


@dataclass(frozen=True)
class _First:
    """The first frame that could be decoded."""

    pts: int | None
    width: int
    height: int
    rotation: int


@dataclass
class _Packets:
    """What one pass over the packets showed."""

    pts: list[int] = field(default_factory=list)
    flawed: set[int] = field(default_factory=set)
    timed: bool = True
    keyed: bool = False
    hidden: int = 0
    broken: bool = False


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> _First:
    packets = container.demux(stream)
    for _ in range(_PACKETS_TO_FIRST_FRAME):
        try:
            packet = next(packets, None)
            if packet is None:
                break
            for frame in packet.decode():
                return _First(frame.pts, frame.width, frame.height, round(-frame.rotation / 90) * 90 % 360)
        except av.FFmpegError:
            continue
    raise SourceError(ErrorKind.DAMAGED, "there is a video stream in it, but no frame of it can be decoded")


def _scan(container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    found = _Packets()
    sound = _checker(stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            found.broken = True  # what stands before it is still good
            return found
        if packet is None:
            return found
        if not packet.size:
            continue
        if packet.is_discard:
            found.hidden += 1
            continue
        if not found.pts:
            found.keyed = packet.is_keyframe
        time = packet.pts if packet.pts is not None else packet.dts
        found.timed &= packet.pts is not None
        if time is not None:
            found.pts.append(time)
            if packet.is_corrupt or not sound(memoryview(packet)):
                found.flawed.add(time)


def _index(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    first: _First,
    packets: _Packets,
    path: Path,
) -> Index:
    tick = float(stream.time_base or 1 / av.time_base)
    pts = np.unique(np.array(packets.pts, dtype=np.int64))
    timed = packets.timed and len(pts) == len(packets.pts) > 0
    trimmed = len(pts)
    if timed and first.pts is not None:
        pts = pts[pts >= first.pts]  # what an edit list cuts off is decoded and not shown
    trimmed += packets.hidden - len(pts)
    frames = max(len(pts), 1)
    span = float(pts[-1] - pts[0]) * tick if len(pts) else 0.0
    fps = _rate(stream, len(pts), span)
    cut_off = _promised(path) > path.stat().st_size
    missing = _missing(container, stream, span + 1 / fps, fps) if packets.broken or cut_off else 0.0
    if stream.frames > len(pts) + trimmed and timed:
        missing = max(missing, (stream.frames - len(pts) - trimmed) / fps)
        frames = stream.frames - trimmed
    turned = first.rotation in (90, 270)
    info = VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        fps=fps,
        duration_s=span + 1 / fps + missing,
        frames_total=frames,
    )
    videos = len(container.streams.video)
    plain = timed and not trimmed and packets.keyed and not packets.broken and not cut_off and videos == 1
    flawed = frozenset(packets.flawed)
    return Index(info, stream.index, pts, tick, timed, flawed, missing, first.rotation, plain)


def _rate(stream: av.VideoStream, frames: int, span_s: float) -> float:
    """Frames a second: the container's figure where the packets bear it out, else what they show."""
    told = float(stream.average_rate or stream.guessed_rate or 0)
    shown = (frames - 1) / span_s if span_s > 0 else 0.0
    if shown and not 0.98 < told / shown < 1.02:
        return shown
    return told or shown or 25.0


def _missing(container: av.container.InputContainer, stream: av.VideoStream, shown_s: float, fps: float) -> float:
    """Seconds that the container announces and does not have, if more than a frame."""
    if stream.duration is not None:
        told = float(stream.duration * (stream.time_base or 0))
    else:
        told = (container.duration or 0) / av.time_base
    return told - shown_s if told - shown_s > 1.5 / fps else 0.0


def _promised(path: Path) -> int:
    """Bytes that a Matroska or RIFF file says it has; 0 where it says nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8
    segment = head.find(b"\x18\x53\x80\x67") + 4
    if not head.startswith(_MATROSKA) or segment < 4 or segment >= len(head) or not head[segment]:
        return 0
    length = 9 - head[segment].bit_length()  # of the size that follows, in EBML's way of writing numbers
    size = int.from_bytes(head[segment : segment + length], "big") & (1 << 7 * length) - 1
    unknown = size == (1 << 7 * length) - 1  # written as it streamed
    return 0 if unknown else segment + length + size


def _checker(stream: av.VideoStream) -> Callable[[memoryview], bool]:
    """The test that a packet of this stream must pass to be believed."""
    codec = stream.codec_context.codec.canonical_name
    extradata = stream.codec_context.extradata or b""
    if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
        return lambda packet: _units_fit(packet, (extradata[4] & 3) + 1)
    if codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
        return lambda packet: _units_fit(packet, (extradata[21] & 3) + 1)
    if codec in ("vp8", "vp9", "av1"):
        zeros = bytes(LONGEST_ZEROS)
        return lambda packet: bytes(packet).find(zeros) < 0
    return lambda _: True


def _units_fit(packet: memoryview, length_size: int) -> bool:
    """Whether the units of an H.264 or HEVC packet fill it, and none holds a hole."""
    data = bytes(packet)
    start, end = 0, len(data)
    while start + length_size <= end:
        body = start + length_size
        start = body + int.from_bytes(data[start:body], "big")
        if start > end or (start > body and data[body] & 0x80):  # forbidden_zero_bit
            return False
        hole = data.find(b"\0\0\0\0", body, start)
        if hole >= 0 and data[hole:start].strip(b"\0"):  # zeros at the very end are padding
            return False
    return not data[start:].strip(b"\0")


def _unusable(stream: av.VideoStream) -> SourceError | None:
    context = stream.codec_context
    if context is None:
        return SourceError(ErrorKind.UNSUPPORTED, "no decoder for its video codec is built into libav here")
    if context.codec_tag in ("encv", "drmi"):
        return SourceError(ErrorKind.UNSUPPORTED, "the video is encrypted; get a copy without copy protection")
    if context.width * context.height > MOST_PIXELS:
        return SourceError(ErrorKind.UNSUPPORTED, f"frames of {context.width} x {context.height} pixels are too large")
    return None


_MATROSKA = b"\x1a\x45\xdf\xa3"
_MAGIC = (_MATROSKA, b"RIFF", b"OggS", b"FLV", b"GIF8", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u")
"""How files of common containers begin: Matroska, AVI, Ogg, Flash, GIF, MPEG program and video streams, ASF."""


def _sniff(path: Path) -> None:
    """Refuses what is no media file at all, and text, which libav would read as a playlist or as subtitles."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise SourceError(ErrorKind.STORAGE, f"cannot be read: {error.strerror or error}") from None
    if not head:
        raise SourceError(ErrorKind.DAMAGED, "the file is empty")
    if not head.strip(b"\0"):
        raise SourceError(ErrorKind.DAMAGED, "the file begins with zeros only; it was never written whole")
    printable = sum(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
    if printable == len(head) and not head.startswith(b"YUV4MPEG2"):
        web = b"<html" in head.lower() or b"<!doctype" in head.lower()
        raise SourceError(ErrorKind.NOT_VIDEO, f"this is {'a web page' if web else 'text'}, not a video")


def _cannot_open(path: Path, error: Exception) -> SourceError:
    with path.open("rb") as file:
        head = file.read(16)
    reason = one_line(getattr(error, "strerror", None) or error, 100)
    log = getattr(error, "log", None)
    detail = f"{reason}: {one_line(log[2], 80)}" if log else reason
    if head.startswith(_MAGIC) or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return SourceError(ErrorKind.DAMAGED, f"the container is damaged or cut off ({detail})")
    return SourceError(ErrorKind.NOT_VIDEO, f"no video that libav knows ({detail})")
