"""Streams as the web has them, 1,000 of them, made by chance: what is tried, survived, lost and invented of each kind.

    tried      streams
    survived   streams of which every frame is there, at its place, or counted as damaged where the stream is damaged
    lost       frames that are neither given nor counted, and sound ones that are counted as damaged
    invented   frames that show what the stream does not show there

Frames are small, and tell their index by eight bars. `ours_s` is the time that it takes to read all of them, `floor_s`
that of a loop over PyAV's frames, which accounts for nothing.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import measure
from faults_streams import HEIGHT, KINDS, RATE, Pixels, Stream, as_decoded, bars, streams

from curate.errors import SourceError
from curate.hardware import limit_threads
from curate.stages import decode

VISIBLE = 60.0
"""Mean squared error, grey levels, above which a frame does not show what it should."""


@dataclass
class Count:
    """What came of the streams of one kind."""

    tried: int = 0
    survived: int = 0
    lost: int = 0
    invented: int = 0


def judge(stream: Stream, count: Count) -> None:
    """Reads a stream at every frame and at a fifth of them, and counts."""
    count.tried += 1
    lost, invented = _judged(stream, 1000.0)
    slower = _judged(stream, 5.0)
    count.lost += lost + slower[0]
    count.invented += invented + slower[1]
    count.survived += not (lost or invented or any(slower))


def _judged(stream: Stream, fps: float) -> tuple[int, int]:
    """Frames lost and invented."""
    try:
        with decode.open_video(stream.path, *stream.span) as video:
            start_s = stream.span[0] or 0.0
            first = 0 if stream.cut else round(start_s * RATE)
            frames = [
                (round(frame.time_s * RATE) if stream.cut else frame.index - first, frame.pixels)
                for frame in video.frames(fps)
            ]
            info = video.read
    except SourceError as error:
        return (0, 0) if stream.damaged and error.kind == "damaged" else (len(stream.shows), 0)
    lost = abs(len(stream.shows) - info.frames_total)
    if fps > RATE:
        lost += abs(info.frames_total - info.frames_sampled - info.frames_damaged)
    if not stream.damaged:
        lost += info.frames_damaged
    return lost, sum(_differs(stream.seen(pixels), stream.shows, place) for place, pixels in frames)


def _differs(pixels: Pixels, shows: list[Pixels], place: int) -> bool:
    if not 0 <= place < len(shows):
        return True
    wanted = bars(shows[place]) if pixels.shape[0] == HEIGHT // 2 - 4 else shows[place]
    return pixels.shape != wanted.shape or float(np.square(pixels.astype(np.float32) - wanted).mean()) > VISIBLE


def main() -> None:
    """Makes, reads and counts."""
    asked = measure.arguments(__doc__ or "")
    limit_threads(1)
    av.logging.set_level(None)
    counts = {kind: Count() for kind in KINDS}
    ours_s = floor_s = 0.0
    number = 12 * len(KINDS) if asked.quick else 1000
    for kind, stream in streams(number):
        started = time.perf_counter()
        judge(stream, counts[kind])
        read = time.perf_counter()
        with suppress(av.FFmpegError):
            as_decoded(stream.path)
        ours_s += read - started
        floor_s += time.perf_counter() - read
    print(f"{'':30}{'tried':>8}{'survived':>10}{'lost':>8}{'invented':>10}")
    for kind, count in counts.items():
        print(f"{kind:30}{count.tried:8}{count.survived:10}{count.lost:8}{count.invented:10}")
    measure.report(
        {
            "name": "faults",
            "work": {"streams": number, "kinds": {kind: vars(count) for kind, count in counts.items()}},
            "ours_s": ours_s,
            "quality": f"{sum(count.survived for count in counts.values())} of {number} survived",
            "peers": {},
            "floor_s": floor_s,
            "floor": "PyAV's loop, every frame once",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
