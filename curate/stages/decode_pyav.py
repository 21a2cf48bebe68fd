"""Reads frames with PyAV, packet by packet, so that every sign of damage is tied to a frame.

Frames that are neither wanted nor referred to by others are not decoded at all, which makes this the faster reader of
sampled frames, too; nothing is read ahead, so memory does not depend on the length of a video.

A frame is damaged if libav marks it so, if its packet failed or was complained about while it was decoded, or if the
index found its packet flawed. Later frames build on it, so everything that is decoded after it counts as damaged up to
the next key frame: measured on H.264, HEVC, MPEG-4, VP8, VP9 and MPEG-1 with flipped, zeroed, cut and dropped packets,
damage to a reference stays visible until then. A stream that heals without key frames (intra refresh) is believed
again `HEALING_S` seconds after the last sign of damage.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np

from curate.heartbeat import DECODE, beat
from curate.records import Spans
from curate.stages.decode_container import libav_log, open_container
from curate.stages.decode_index import Index
from curate.stages.decode_packets import is_here, span_of
from curate.stages.decode_times import REORDERED
from curate.stages.decode_units import harms_pictures

HEALING_S = 10.0
"""Seconds without a further sign of damage after which a stream without key frames is believed again."""

_GAP = "Frame num gap"
"""H.264: a packet that others refer to is not there. libav calls it a debugging message, and conceals the frame."""


@dataclass(frozen=True)
class Decoded:
    """A frame as libav gave it.

    Attributes:
        place: its index in the video.
        sound: whether it can be believed.
        aspect: sample aspect ratio, as the decoder has it.
    """

    place: int
    frame: av.VideoFrame
    sound: bool
    aspect: float | None


@dataclass
class _Damage:
    """Where damage begins and key frames end it: packets by number, and the seconds at which they are shown."""

    starts: list[tuple[int, float]] = field(default_factory=list)
    keys: list[tuple[int, float]] = field(default_factory=list)

    def begin(self, number: int, shown_s: float) -> None:
        """The packet of that number is damaged, or its frame."""
        if not self.starts or self.starts[-1][0] < number:
            self.starts.append((number, shown_s))

    def reaches(self, number: int, shown_s: float) -> bool:
        """Whether damage reaches a frame."""
        at = bisect_right(self.starts, number, key=lambda start: start[0])
        if not at:
            return False
        start, start_s = self.starts[at - 1]
        # A frame that is shown before a key frame although it was decoded after it may build on what lies before it.
        last = bisect_right(self.keys, number, key=lambda key: key[0])
        key = next((key for key, key_s in reversed(self.keys[max(last - 2, 0) : last]) if key_s <= shown_s), -1)
        return start >= key and shown_s - start_s <= HEALING_S


def frames(path: Path, index: Index, wanted: frozenset[int] | None, start: int | None = None) -> Iterator[Decoded]:
    """Decodes a video in presentation order.

    Args:
        wanted: places of the frames to yield, None for every frame. Frames that are neither wanted nor referred to are
            not decoded.
        start: begin at the key frame before the frame of this place, where the container can.

    Yields:
        The wanted frames that could be decoded at all, sound or not.
    """
    container, stream = open_container(path, index.stream)
    with container:
        first = _seek(container, stream, index, start) if start and index.seekable else 0
        damage = _Damage()
        if not first and index.headless:
            damage.begin(0, 0.0)
        held: deque[tuple[int, Decoded]] = deque()
        reach = np.maximum.accumulate(index.places)
        for number, decoded in _decode(container, stream, index, wanted, damage, first):
            if wanted is None or decoded.place in wanted:
                held.append((number, decoded))
            # A frame may be marked after frames that build on it and are shown before it: all that were decoded before
            # must have been shown. To wait for longer would cost a decoded frame of memory each.
            while held and reach[held[0][0]] <= decoded.place:
                yield _judged(*held.popleft(), index, damage)
        while held:
            yield _judged(*held.popleft(), index, damage)


def first_packet(path: Path, index: Index, start: int, spans: Spans | None = None) -> int:
    """The number of the packet with which `frames` begins to decode for the frame of a place.

    Args:
        spans: what of the file is here; of a packet that is not, the table says whether it is a key frame. None: all.
    """
    container, stream = open_container(path, index.stream)
    with container, libav_log():
        return _seek(container, stream, index, start, spans) if start and index.seekable else 0


def _decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """The decoder that tells most of damage, on one thread.

    Of visible damage to VP9 libvpx reports 32 of 37 cases, libav's own decoder 10, and libvpx is no slower; but it may
    be built for 8 bits alone.
    """
    context = stream.codec_context
    eight_bits = context.profile in ("Profile 0", "Profile 1")
    if context.codec.canonical_name == "vp9" and eight_bits and "libvpx-vp9" in av.codecs_available:
        context = av.CodecContext.create("libvpx-vp9", "r")
        context.extradata = stream.codec_context.extradata
        for name in ("color_trc", "color_primaries", "colorspace", "color_range"):  # what only the container knows
            setattr(context, name, getattr(stream.codec_context, name))
    context.thread_count = 1
    context.copy_opaque = True  # ties frames to the packets that they came from
    context.options = {"err_detect": "crccheck"}  # where the stream carries checksums of its pictures
    return context


def _judged(number: int, decoded: Decoded, index: Index, damage: _Damage) -> Decoded:
    sound = not damage.reaches(number, float(index.times[decoded.place]))
    return Decoded(decoded.place, decoded.frame, sound, decoded.aspect)


def _seek(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    index: Index,
    start: int,
    spans: Spans | None = None,
) -> int:
    """Goes to the key frame before a place, or stays at the beginning; the number of the packet that comes next."""
    pts = int(index.pts[start])
    with suppress(av.FFmpegError):
        container.seek(pts, stream=stream, backward=True)
        first = next(container.demux(stream), None)
        is_key = first is not None and (first.is_keyframe or not is_here(span_of(first), spans))
        if first is not None and first.pts is not None and is_key and first.pts <= pts:
            number = index.number_at(first.pts)
            if number is not None:
                container.seek(pts, stream=stream, backward=True)
                return number
    container.seek(0, any_frame=True)
    return 0


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    index: Index,
    wanted: frozenset[int] | None,
    damage: _Damage,
    first: int,
) -> Iterator[tuple[int, Decoded]]:
    """Every frame with the number of its packet; `damage` learns what goes wrong.

    Args:
        first: number of the packet that comes next.
    """
    context = _decoder(stream)
    level = av.logging.DEBUG if context.name == "h264" else av.logging.ERROR
    last = len(index.places) - 1
    if wanted is not None:
        last = min(last, max((int(index.numbers[place]) for place in wanted), default=-1) + 2 * REORDERED)
    for number, packet in _packets(container, stream, first, last):
        frames: list[av.VideoFrame] = []
        if packet is not None:
            if number in index.parts and number != first:
                frames, _ = _feed(context, None, level)
                context.flush_buffers()  # a further part knows nothing of the pictures before it
            if packet.is_keyframe:
                damage.keys.append((number, _shown_s(index, number)))
            packet.is_corrupt = False  # the index knows
            packet.opaque = [number]  # an object of its own: PyAV knows it by its address
            context.skip_frame = "DEFAULT" if wanted is None or index.places[number] in wanted else "NONREF"
        more, suspicious = _feed(context, packet, level)
        beat(DECODE, frames=len(frames) + len(more))
        if suspicious or (packet is not None and number in index.flawed):
            damage.begin(number, _shown_s(index, number))
        for frame in frames + more:
            origin = number if frame.opaque is None else int(frame.opaque[0])
            if frame.is_corrupt:
                damage.begin(origin, _shown_s(index, origin))
            if index.places[origin] >= 0:
                yield origin, Decoded(int(index.places[origin]), frame, True, stream.codec_context.sample_aspect_ratio)


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream, first: int, last: int
) -> Iterator[tuple[int, av.Packet | None]]:
    """The packets that are not empty up to a number, as far as they can be had, and None at the end."""
    number = first - 1
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size:
                number += 1
                if number > last:
                    break
                yield number, packet
    yield number, None


def _feed(context: av.VideoCodecContext, packet: av.Packet | None, level: int) -> tuple[list[av.VideoFrame], bool]:
    """What comes out when a packet goes in, and whether libav said anything of it that may harm pictures."""
    with libav_log(level) as log:
        try:
            out = context.decode(packet)
        except av.FFmpegError:
            return [], True
    return out, any((at <= av.logging.ERROR and harms_pictures(text)) or _GAP in text for at, _, text in log)


def _shown_s(index: Index, number: int) -> float:
    place = index.places[number] if 0 <= number < len(index.places) else -1
    return float(index.times[place]) if place >= 0 else 0.0
