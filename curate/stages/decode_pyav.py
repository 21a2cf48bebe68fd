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
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np

from curate.records import Pixels
from curate.stages.decode_index import Index, libav_log, open_container

HEALING_S = 10.0
"""Seconds without a further sign of damage after which a stream without key frames is believed again."""

_REORDERED = 16
"""Frames that may be shown before one that was decoded earlier, at most (H.264 and HEVC: size of their buffer)."""

_GAP = "Frame num gap"
"""H.264: a packet that others refer to is not there. libav calls it a debugging message, and conceals the frame."""


@dataclass(frozen=True)
class Decoded:
    """A frame as libav gave it, and whether it can be believed."""

    pts: int
    frame: av.VideoFrame
    sound: bool


@dataclass
class _Damage:
    """Where damage begins and key frames end it, in decoding order."""

    healing: float
    starts: list[tuple[int, int]] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)

    def begin(self, order: int, pts: int) -> None:
        """The packet or frame at `order` is damaged."""
        if not self.starts or self.starts[-1][0] < order:
            self.starts.append((order, pts))

    def reaches(self, order: int, pts: int) -> bool:
        """Whether damage reaches the frame that was decoded as `order` and is shown at `pts` (ticks)."""
        place = bisect_right(self.starts, order, key=lambda start: start[0])
        if not place:
            return False
        start, start_pts = self.starts[place - 1]
        # A frame that is shown before a key frame although it was decoded after it may build on what lies before it.
        last = bisect_right(self.keys, order, key=lambda key: key[0])
        key = next((at for at, shown in reversed(self.keys[max(last - 2, 0) : last]) if shown <= pts), -1)
        return start >= key and pts - start_pts <= self.healing


def frames(path: Path, index: Index, wanted: frozenset[int] | None, start: int | None = None) -> Iterator[Decoded]:
    """Decodes a video in presentation order.

    Args:
        wanted: times (ticks) of the frames to yield, None for every frame. Frames that are neither wanted nor referred
            to are not decoded.
        start: begin at the key frame before this time.

    Yields:
        The wanted frames that could be decoded at all, sound or not.
    """
    container, stream = open_container(path)
    with container:
        if start is not None:
            _seek(container, stream, start)
        damage = _Damage(HEALING_S / index.tick_s)
        held: deque[tuple[int, Decoded]] = deque()
        for order, decoded in _decode(container, stream, index, wanted, damage):
            if wanted is None or decoded.pts in wanted:
                held.append((order, decoded))
            # A mark on a frame may come after frames that build on it and are shown before it.
            while held and held[0][0] < order - _REORDERED:
                yield _judged(*held.popleft(), damage)
        while held:
            yield _judged(*held.popleft(), damage)


def pixels(frame: av.VideoFrame, index: Index) -> Pixels:
    """The upright RGB picture of a frame, at the size of the video's first frame."""
    stored = (index.info.width, index.info.height)
    if index.rotation in (90, 270):
        stored = stored[::-1]
    rgb = frame.to_ndarray(format="rgb24", width=stored[0], height=stored[1])
    return np.ascontiguousarray(np.rot90(rgb, -index.rotation // 90)) if index.rotation else rgb


def _decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """The decoder that tells most of damage, on one thread.

    Of visible damage to VP9 libvpx reports 32 of 37 cases, libav's own decoder 10, and libvpx is no slower.
    """
    context = stream.codec_context
    if context.codec.canonical_name == "vp9" and "libvpx-vp9" in av.codecs_available:
        context = av.CodecContext.create("libvpx-vp9", "r")
        context.extradata = stream.codec_context.extradata
    context.thread_count = 1
    context.options = {"err_detect": "crccheck"}  # where the stream carries checksums of its pictures
    return context


def _judged(order: int, decoded: Decoded, damage: _Damage) -> Decoded:
    return Decoded(decoded.pts, decoded.frame, not damage.reaches(order, decoded.pts))


def _seek(container: av.container.InputContainer, stream: av.VideoStream, start: int) -> None:
    """Goes to the key frame before `start`, or stays at the beginning where the container cannot."""
    try:
        container.seek(start, stream=stream, backward=True)
        first = next(container.demux(stream), None)
        there = first is not None and first.pts is not None and first.is_keyframe and first.pts <= start
        container.seek(start if there else 0, stream=stream, backward=True)
    except av.FFmpegError:
        container.seek(0)


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    index: Index,
    wanted: frozenset[int] | None,
    damage: _Damage,
) -> Iterator[tuple[int, Decoded]]:
    """Every frame with its place in decoding order; tells `damage` what goes wrong."""
    context = _decoder(stream)
    level = av.logging.DEBUG if context.name == "h264" else av.logging.ERROR
    places: dict[int, int] = {}
    order = -1
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            return
        pts = packet.pts if packet.pts is not None else packet.dts
        if packet.size:
            order += 1
            if pts is not None:
                places[pts] = order
            if packet.is_keyframe:
                damage.keys.append((order, pts or 0))
            needed = wanted is None or not index.timed or pts in wanted
            context.skip_frame = "DEFAULT" if needed else "NONREF"
        with libav_log(level) as log:
            try:
                out = context.decode(packet if packet.size else None)
                failed = False
            except av.FFmpegError:
                out, failed = [], True
        if failed or pts in index.flawed or any(at <= av.logging.ERROR or _GAP in text for at, _, text in log):
            damage.begin(order, pts or 0)
        for frame in out:
            shown = frame.pts if frame.pts is not None else pts or 0
            place = places.pop(shown, order)
            if frame.is_corrupt:
                damage.begin(place, shown)
            yield place, Decoded(shown, frame, True)
        if len(places) > 4 * _REORDERED:  # frames that were lost or skipped
            places = dict(list(places.items())[-2 * _REORDERED :])
