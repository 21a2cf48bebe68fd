"""What the packets of a stream show without being decoded: their times, places and sizes, and which cannot be sound."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

import av

from curate.heartbeat import DECODE, beat
from curate.records import Spans
from curate.stages import decode_units
from curate.stages.decode_times import NO_TIME

_CORRUPT = re.compile(r"Packet corrupt \(stream = \d+, dts = (-?\d+)\)")
"""How libav says which packet it doubts. It marks packets, too, but where a parser cuts them, the one before."""


@dataclass
class Packets:
    """What one pass over the packets showed, by number.

    Attributes:
        flawed: packets whose bytes cannot be sound.
        marked: packets that carry the demuxer's mark of doubt; what it doubts is this one or the next.
        doubtful: packets that the demuxer doubts. It doubts the last one before a joint, too, since transport packets
            are counted from the start again behind it.
    """

    ticks: list[int] = field(default_factory=list)
    decoded_at: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    flawed: set[int] = field(default_factory=set)
    marked: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    headers: set[bytes] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)
    held_back: bool = False
    broken: bool = False

    def ends_part(self, number: int, parts: frozenset[int]) -> bool:
        """Whether a joint explains a doubt: of this packet, or (doubts name times, parts repeat them) of the next."""
        return number + 1 in parts or (number + 1 in self.doubtful and number + 2 in parts)


def span_of(packet: av.Packet) -> tuple[int, int]:
    """Where a packet lies in the file; -1 where the container does not say."""
    return (-1, -1) if packet.pos is None or packet.pos < 0 else (packet.pos, packet.pos + packet.size)


def is_here(span: tuple[int, int], spans: Spans | None) -> bool:
    """Whether all of a packet is among the parts of the file that are here; None: all is."""
    if spans is None:
        return True
    at = bisect_right(spans, span[0], key=lambda one: one[0]) - 1
    return at >= 0 and span[1] <= spans[at][1]


def scan(
    container: av.container.InputContainer, stream: av.VideoStream, spans: Spans | None, log: list[tuple[int, str, str]]
) -> Packets:
    """Reads all packets of a stream.

    Args:
        spans: what of the file is here; of other packets only their entries in its table count. None: all of it.
        log: what libav says while the file is open (see `libav_log`).
    """
    said = len(log)
    found = _read(container, stream, spans)
    said = len(log) if spans is None else said  # holes are complained of
    complaints = [text for at, _, text in log[:said] if at <= av.logging.ERROR]
    found.broken |= any(map(decode_units.harms_pictures, complaints))
    doubted = {int(found_at[1]) for _, _, text in log if (found_at := _CORRUPT.match(text))}
    marked = found.marked | {number + 1 for number in found.marked} | {0}
    found.doubtful |= {n for n in marked if n < len(found.ticks) and found.decoded_at[n] in doubted}
    return found


def _read(container: av.container.InputContainer, stream: av.VideoStream, spans: Spans | None) -> Packets:
    found = Packets(held_back=spans is not None)  # where it cannot be known, times tell the order
    look = decode_units.reader(stream)
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
        beat(DECODE)
        span = span_of(packet)
        found.spans.append(span)
        seen = look(bytes(packet)) if is_here(span, spans) else decode_units.Seen()
        if not seen.sound:
            found.flawed.add(len(found.ticks))
        if packet.is_corrupt:
            found.marked.add(len(found.ticks))
        found.ticks.append(NO_TIME if packet.pts is None else packet.pts)
        found.decoded_at.append(NO_TIME if packet.dts is None else packet.dts)
        found.durations.append(packet.duration or 0)
        found.keys.append(packet.is_keyframe)
        found.shown.append(seen.picture and not packet.is_discard)  # an edit list cuts off what is to be discarded
        found.held_back |= seen.held_back
        if packet.has_sidedata("new_extradata"):
            found.headers |= {b"", b"new"}
        if seen.header:
            found.headers.add(seen.header)
