"""What a container says of its video stream, before any frame of it is wanted: one pass over the packets.

Demuxing decodes nothing and costs about a hundredth of decoding. It gives the presentation time of every frame, by
which frames are sampled, and the packets that cannot be sound: the demuxer says so (a lost transport packet, a failed
checksum, an end that comes too early), or their bytes do (`decode_units`). Where times do not tell the order of
presentation (elementary streams and AVI files whose frames are shown in another order than they are decoded, streams
whose clock falls), the frames are decoded once more to learn it.

Every packet of the stream that holds a picture to be shown has a place in `Index`, whether it can be decoded or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from curate.errors import ErrorKind, SourceError
from curate.heartbeat import DECODE, beat
from curate.records import Spans, VideoInfo
from curate.stages.decode_container import libav_log, open_container, promised_bytes
from curate.stages.decode_display import FIELD_ORDERS, TRANSFERS, Orientation, aspect, is_plain, orientation, square
from curate.stages.decode_packets import Packets, is_here, scan, span_of
from curate.stages.decode_times import LEAP_S, NO_TIME, Floats, Ints, order_by_times, parts, timeline

_PACKETS_TO_FIRST_FRAME = 2_000
_PROGRESSIVE = 1

_REORDERING = frozenset(
    {"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "cavs", "avs2", "avs3", "rv30", "rv40",
     "dirac"}
)  # fmt: skip
"""Codecs that may show frames in another order than they are decoded."""

_IN_ORDER_PROFILES = frozenset({"Baseline", "Constrained Baseline"})
"""Profiles of H.264 without such frames."""

_TIMES_OF_DECODING = frozenset({"avi"})
"""Containers whose times are those of decoding, whatever libav makes of them."""

_MADE_TO_BE_CUT = frozenset({"mpegts", "mpeg"})

_TRUSTED_HEADERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers whose header knows how long the last picture stays; others are measured, or guessed by libav."""


class Suspicious(Exception):  # noqa: N818  # no error of the program: it says where to read with more care
    """The frame that was asked for, or one that it builds on, may be damaged, or is not the one that is meant."""


@dataclass(frozen=True)
class Index:
    """The frames of a video as its packets announce them. A *place* is an index in the order of presentation, a
    *number* one in the order of decoding, among all packets that are not empty.

    Attributes:
        info: what is known before the frames are read.
        stream: index of the video stream in its container.
        times: float64 [n], seconds from the first frame, ascending, by place.
        pts: int64 [n], the stream's own presentation times in ticks, `NO_TIME` where it has none, by place.
        numbers: int64 [n], the packets of the frames, by place.
        places: int64 [packets], the frames of the packets, -1 where a packet shows none.
        tick_s: seconds a tick.
        flawed: numbers of packets that cannot be sound.
        parts: numbers of the packets that begin a further part, of a stream that is joined from several.
        headless: the stream begins before its first key frame, so that what is shown of that part cannot be sound.
        missing: frames that the container announces behind the last packet that is there.
        upright: how a stored frame is made so.
        seekable: whether times find packets.
        regular: the n-th decoded frame is surely that of the n-th place, and all are of one size.
        spans: int64 [packets, 2], where each packet lies in the file, -1 where the container does not say.
        plain: it is regular, of one rate, counts from 0 or later (decord repeats frames where it does not), and frames
            are shown as they are stored.
    """

    info: VideoInfo
    stream: int
    times: Floats
    pts: Ints
    numbers: Ints
    places: Ints
    tick_s: float
    flawed: frozenset[int]
    parts: frozenset[int]
    headless: bool
    missing: int
    upright: Orientation
    seekable: bool
    regular: bool
    plain: bool
    spans: Ints

    def number_at(self, pts: int) -> int | None:
        """The packet of a time in ticks, of a stream that is seekable."""
        place = int(np.searchsorted(self.pts, pts))
        return int(self.numbers[place]) if place < len(self.pts) and self.pts[place] == pts else None


def read_index(path: Path, spans: Spans | None = None) -> Index:
    """Demuxes a whole file once and decodes its first frame.

    Args:
        spans: what of the file is here; of other packets only their entries in its table count. None: all of it.

    Raises:
        SourceError: not_video, damaged or unsupported; the message says what is wrong.
    """
    with libav_log(av.logging.WARNING) as log:
        container, stream = open_container(path)
        with container:
            first, chosen = _first_frame(container, stream, spans), stream.index
        container, stream = open_container(path, chosen)
        with container:
            packets = scan(container, stream, spans, log)
            index = _index(container, stream, first, packets, path)
            return index if spans is None else replace(index, plain=False)


@dataclass(frozen=True)
class _First:
    """The first frame that could be decoded."""

    width: int
    height: int
    upright: Orientation
    transfer: int
    field_order: int
    plain: bool


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream, spans: Spans | None) -> _First:
    packets = container.demux(stream)
    for _ in range(_PACKETS_TO_FIRST_FRAME):
        try:
            packet = next(packets, None)
            if packet is None or not is_here(span_of(packet), spans):
                break
            for frame in packet.decode():
                order = stream.codec_context.field_order or (0 if frame.interlaced_frame else _PROGRESSIVE)
                upright = orientation(frame) or Orientation()
                return _First(frame.width, frame.height, upright, frame.color_trc, order, is_plain(frame))
        except av.FFmpegError:
            continue
    raise SourceError(ErrorKind.DAMAGED, "there is a video stream in it, but no frame of it can be decoded")


def _index(
    container: av.container.InputContainer, stream: av.VideoStream, first: _First, packets: Packets, path: Path
) -> Index:
    tick_s = float(stream.time_base or 1 / av.time_base)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    order = _order(container, stream, packets, path)
    times = timeline(order.pts, 1 / (rate * tick_s), _leap(container, tick_s)) * tick_s
    places = np.full(len(packets.ticks), -1, np.int64)
    places[order.numbers] = np.arange(len(times))
    end_s = float(times[-1]) + (packets.durations[order.numbers[-1]] * tick_s or _usual(times, 1 / rate))
    fps = rate if 0.98 < rate * end_s / len(times) < 1.02 else len(times) / end_s

    whole = not packets.broken and promised_bytes(path) <= path.stat().st_size
    missing = 0 if whole else _missing(container, stream, end_s, fps, len(places))
    if whole and order.pts[0] != NO_TIME:
        end_s = _shown_until(container, float(order.pts[0]) * tick_s, end_s)
    info = _info(container, stream, first, fps)
    seekable = order.by_times and not order.parts
    regular = seekable and whole and len(times) == len(places) and packets.keys[0]
    regular = regular and len(container.streams.video) == 1 and _same_size(stream, packets.headers)
    return Index(
        info=replace(info, duration_s=end_s + missing / fps, frames_total=len(times) + missing),
        stream=stream.index,
        times=times,
        pts=order.pts,
        numbers=order.numbers,
        places=places,
        tick_s=tick_s,
        flawed=frozenset(packets.flawed | {n for n in packets.doubtful if not packets.ends_part(n, order.parts)}),
        parts=order.parts,
        headless=any(packets.keys) and not packets.keys[0],
        missing=missing,
        upright=first.upright,
        seekable=seekable,
        regular=regular,
        spans=np.array(packets.spans, np.int64).reshape(-1, 2),
        plain=regular and _even(times) and order.pts[0] >= 0 and first.plain and info.sample_aspect_ratio == 1,
    )


def _info(container: av.container.InputContainer, stream: av.VideoStream, first: _First, fps: float) -> VideoInfo:
    ratio = aspect(stream.sample_aspect_ratio)
    width, height = square(first.width, first.height, ratio)
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=height if first.upright.sideways else width,
        height=width if first.upright.sideways else height,
        fps=fps,
        duration_s=0.0,
        frames_total=0,
        rotation=first.upright.rotation,
        mirrored=first.upright.mirrored,
        sample_aspect_ratio=ratio,
        field_order=FIELD_ORDERS[first.field_order],
        color_transfer=TRANSFERS[first.transfer] if first.transfer < len(TRANSFERS) else "unknown",
    )


@dataclass(frozen=True)
class _Order:
    """The frames in the order of presentation.

    Attributes:
        numbers: int64 [n], their packets.
        pts: int64 [n], their times in ticks.
        by_times: whether the order is by these.
        parts: numbers of the packets with which the clock begins to count again.
    """

    numbers: Ints
    pts: Ints
    by_times: bool
    parts: frozenset[int]


def _order(container: av.container.InputContainer, stream: av.VideoStream, packets: Packets, path: Path) -> _Order:
    shown = np.flatnonzero(np.array(packets.shown, np.bool_))
    if not len(shown):
        raise SourceError(ErrorKind.DAMAGED, "there is a video stream in it, but nothing of it is to be shown")
    ticks, decoded_at = np.array(packets.ticks)[shown], np.array(packets.decoded_at)[shown]
    keys = np.array(packets.keys)[shown]
    leap = _leap(container, float(stream.time_base or 1 / av.time_base))
    if leap is not None:  # what stands at a joint is given the time of what follows it
        wrong = (decoded_at != NO_TIME) & ((ticks < decoded_at) | (ticks - decoded_at > leap))
        ticks = np.where(wrong, NO_TIME, ticks)
    found = parts(ticks, decoded_at, keys, leap)
    begins = frozenset(int(shown[start]) for start, _ in found[1:])
    codec = stream.codec_context
    reorders = codec.codec.canonical_name in _REORDERING and codec.profile not in _IN_ORDER_PROFILES
    if codec.codec.canonical_name == "mpeg4":
        reorders = packets.held_back
    timed = not np.all(ticks == NO_TIME) and not (reorders and container.format.name in _TIMES_OF_DECODING)
    believed = timed and (_steady(decoded_at, keys) if reorders else bool(np.all(np.diff(ticks) > 0)))
    order = order_by_times(ticks, found) if believed else None
    if order is not None:
        return _Order(shown[order], ticks[order], True, begins)
    order = _output_order(path, stream.index, shown) if reorders else np.arange(len(shown))
    return _Order(shown[order], ticks[order] if timed else decoded_at, False, begins if timed else frozenset())


def _leap(container: av.container.InputContainer, tick_s: float) -> float | None:
    """Ticks between two frames from which the stream is taken to have been cut."""
    return LEAP_S / tick_s if container.format.name in _MADE_TO_BE_CUT else None


def _steady(decoded_at: Ints, keys: NDArray[np.bool_]) -> bool:
    """Whether the clock of decoding runs without a hole, and never falls but where a key frame begins a further part.

    Where it falls for a packet, libav leaves that packet's time out; at the beginning of a stream it may not know it.
    """
    known = np.flatnonzero(decoded_at != NO_TIME)
    if not len(known):
        return True
    running = decoded_at[known[0] :]
    return not np.any((np.diff(running) < 0) & ~keys[known[0] + 1 :]) and not np.any(running == NO_TIME)


def _output_order(path: Path, index: int, shown: Ints) -> Ints:
    """The order of presentation by decoding; a packet that gives no frame stands before the first that follows it."""
    container, stream = open_container(path, index)
    context = stream.codec_context
    context.copy_opaque = True
    context.options = {"skip_loop_filter": "all", "skip_idct": "all"}  # pictures do not matter
    came: list[int] = []
    with container, libav_log():
        number = 0
        for packet in _packets(container, stream):
            beat(DECODE)
            if packet is not None:
                packet.opaque, number = [number], number + 1  # an object of its own: PyAV knows it by its address
            with suppress(av.FFmpegError):
                came += [frame.opaque[0] for frame in context.decode(packet) if frame.opaque is not None]
    rank = {int(number): at for at, number in enumerate(shown)}
    ranks = [rank[number] for number in dict.fromkeys(came) if number in rank]
    lost = sorted(set(range(len(shown))).difference(ranks), reverse=True)
    order: list[int] = []
    for one in ranks:
        while lost and lost[-1] < one:
            order.append(lost.pop())
        order.append(one)
    return np.array(order + lost[::-1], np.int64)


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """The packets that are not empty, as far as they can be had, and None at the end."""
    with suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(stream) if packet.size)
    yield None


def _usual(times: Floats, otherwise: float) -> float:
    """Seconds from one frame to the next."""
    return float(np.median(np.diff(times))) if len(times) > 1 else otherwise


def _even(times: Floats) -> bool:
    """Whether frames follow each other at one rate, but for rounding."""
    gaps = np.diff(times)
    return not len(gaps) or bool(gaps.max() <= 1.5 * gaps.min())


def _same_size(stream: av.VideoStream, headers: set[bytes]) -> bool:
    """Whether nothing in the stream changes the size of its pictures."""
    extradata = stream.codec_context.extradata or b""
    if stream.codec_context.codec.canonical_name in ("h264", "hevc"):
        return all(header in extradata for header in headers)
    return len(headers) <= 1


def _shown_until(container: av.container.InputContainer, first_s: float, measured_s: float) -> float:
    """Seconds from the first frame to the end: the last frame stays as long as a header that can be trusted says."""
    if container.format.name not in _TRUSTED_HEADERS or container.duration is None:
        return measured_s
    begins = 0 if container.format.name.startswith("matroska") else container.start_time or 0  # it counts from 0
    return float(max(measured_s, (begins + container.duration) / av.time_base - first_s))


def _missing(
    container: av.container.InputContainer, stream: av.VideoStream, shown_s: float, fps: float, packets: int
) -> int:
    """Frames that the header of a file announces and the file does not have."""
    if container.format.name in _MADE_TO_BE_CUT:
        return 0  # no header
    if stream.duration is not None:
        promised_s = float(stream.duration * (stream.time_base or 0))
    else:
        promised_s = (container.duration or 0) / av.time_base
    frames = round((promised_s - shown_s) * fps) if (promised_s - shown_s) * fps > 1.5 else 0
    return max(frames, int(stream.frames) - packets)
