"""Opens a file as a video: what is none is refused, with its reason, and of several streams one is chosen.

Says, too, how long a file claims to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
from av.stream import Disposition

from curate.errors import ErrorKind, SourceError, one_line

MOST_PIXELS = 1 << 26
"""Pixels of a frame above which a video is refused: twice 8K; what claims more is hostile."""

_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
"""Streams that are pictures for another one, such as the cover of a piece of music."""

_MOST_BOXES = 100_000


@contextmanager
def libav_log(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """Collects what PyAV's libav says on this thread as (level, part, text), and keeps it off the terminal."""
    av.logging.set_skip_repeated(False)  # a repeated complaint would be held back, and put down to a later packet
    av.logging.set_level(level)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(None)


def open_container(path: Path, index: int | None = None) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Opens a file at its beginning.

    Args:
        index: of the stream; None for the one that a player would show: one that is marked as default before others,
            then the one of most frames, then the first. Cover pictures and thumbnails are never shown.

    Raises:
        SourceError: not_video, damaged or unsupported.
    """
    container = _open(path)
    try:
        if index is None:
            index = _choose(container)
            if len(container.streams.video) > 1:  # their frames were counted
                container.close()
                container = _open(path)
        stream = container.streams[index]
        problem = _unusable(stream)
        if problem:
            raise problem
    except BaseException:
        container.close()
        raise
    stream.codec_context.thread_count = 1
    return container, stream


def _open(path: Path) -> av.container.InputContainer:
    _sniff(path)
    try:
        # Playlists and manifests that pose as videos must not reach the network.
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _cannot_open(path, error) from None


def _choose(container: av.container.InputContainer) -> int:
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["no stream at all"]
        raise SourceError(ErrorKind.NOT_VIDEO, f"there is no video in it, only {', '.join(kinds)}")
    streams = [stream for stream in streams if not _unusable(stream)] or streams
    streams = [stream for stream in streams if stream.disposition & Disposition.default] or streams
    if len(streams) == 1:
        return int(streams[0].index)
    frames = dict.fromkeys((int(stream.index) for stream in streams), 0)
    try:
        for packet in container.demux(streams):
            frames[packet.stream_index] += bool(packet.size)
    except av.FFmpegError:
        pass  # what stands before it counts
    return max(frames, key=lambda index: frames[index])


def _unusable(stream: av.VideoStream) -> SourceError | None:
    context = stream.codec_context
    if context is None:
        return SourceError(ErrorKind.UNSUPPORTED, "no decoder for its video codec is built into libav here")
    if context.codec_tag in ("encv", "drmi"):
        return SourceError(ErrorKind.UNSUPPORTED, "the video is encrypted; get a copy without copy protection")
    if context.width * context.height > MOST_PIXELS:
        return SourceError(ErrorKind.UNSUPPORTED, f"frames of {context.width} x {context.height} pixels are too large")
    return None


MATROSKA = b"\x1a\x45\xdf\xa3"
_MAGIC = (MATROSKA, b"RIFF", b"OggS", b"FLV", b"GIF8", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u")
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


def promised_bytes(path: Path) -> int:
    """Bytes that a Matroska, RIFF or MP4 file says it has; 0 where it says nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes_end(file)
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8
    segment = head.find(b"\x18\x53\x80\x67") + 4
    if not head.startswith(MATROSKA) or segment < 4 or segment >= len(head) or not head[segment]:
        return 0
    length = 9 - head[segment].bit_length()  # of the size that follows, in EBML's way of writing numbers
    size = int.from_bytes(head[segment : segment + length], "big") & (1 << 7 * length) - 1
    unknown = size == (1 << 7 * length) - 1  # written as it streamed
    return 0 if unknown else segment + length + size


def _boxes_end(file: BinaryIO) -> int:
    """Where the last box of media data in an MP4 file ends, by its own words."""
    end = place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if len(header) < 8 or size < 8:  # 0: to the end of the file, whatever that is
            break
        place += size
        end = place if header[4:8] == b"mdat" else end
    return end
