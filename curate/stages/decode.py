"""Reads the sampled frames of a video, by time, in bounded memory, and only the sound ones.

Frames are taken by the rule of `curate.sampling`. Times are those of the frames (`decode_times`), so variable frame
rates and streams that do not start at zero, begin to count again or do not count at all need no special care.

One pass over the packets (`decode_index`) finds times and obvious flaws; then decord reads short regular streams
(`decode_decord`), or a GPU those that it takes where the recipe asks for it (`decode_torchcodec`), and PyAV all else
and everything behind a sign of damage (`decode_pyav`). They give the same frames, as a player shows them
(`decode_display`). Every frame of the stream is sampled, passed over by the rate, or counted as damaged: a sampled
frame that is damaged, or that no decoder gives, is counted and not yielded, and reading goes on behind it. How much of
visible damage is found depends on what a codec lets its decoder see: nearly all in
H.264, MPEG-1, 2 and 4, most in AV1 and VP9; VP8 and HEVC show little but holes and cut-off packets.

The *source frame*, in whose pixels boxes, landmarks and crop matrices are, is the frame as a player shows it: upright,
in square pixels, at its own size where sizes change midway.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from curate.errors import ErrorKind, SourceError
from curate.records import Frame, Pixels, Spans, VideoInfo
from curate.sampling import sample
from curate.stages import decode_decord, decode_pyav, decode_torchcodec
from curate.stages.decode_display import Display, aspect
from curate.stages.decode_index import Index, Suspicious, read_index
from curate.stages.decode_times import NO_TIME

ASPECT_IN_STREAM = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"})
"""Containers that leave the shape of pixels to the stream, where it may change midway."""

_MOST_MISSING = 10_000_000
"""Frames that a header can announce and not have; what claims more is hostile."""


def open_video(
    path: Path,
    start_s: float | None = None,
    end_s: float | None = None,
    spans: Spans | None = None,
    device: str = "cpu",
) -> Video:
    """Opens a video; use it as a context.

    Args:
        start_s, end_s: the range that is meant, seconds from the first frame, `end_s` not included; None: to the
            beginning or the end. Only frames that begin in it are given and accounted for. Their index and time are
            those in the whole video, but instants count from `start_s`, so that a range gives what the same part of
            the video gives when it is cut out.
        spans: what of the file is here (see `fetch_part`); None: all of it.
        device: where frames are decoded if they can be, `cpu` or `cuda`.

    Raises:
        SourceError: it is no video (`not_video`), holds no frame that can be decoded (`damaged`), is of a kind that
            cannot be read (`unsupported`), or has no frame in the range (`not_found`).
    """
    index = read_index(path, spans)
    return Video(path, index, places_between(index, start_s, end_s), start_s or 0.0, device)


def places_between(index: Index, start_s: float | None, end_s: float | None) -> range:
    """The frames that begin in a range, see `open_video`.

    Raises:
        SourceError: there is none (`not_found`).
    """
    half_tick = index.tick_s / 2
    low = int(np.searchsorted(index.times, start_s - half_tick)) if start_s is not None else 0
    high = int(np.searchsorted(index.times, end_s - half_tick)) if end_s is not None else len(index.times)
    if low >= high:
        raise SourceError(
            ErrorKind.NOT_FOUND,
            f"no frame begins between {start_s or 0:g} s and {'the end' if end_s is None else f'{end_s:g} s'} "
            f"(the video has {index.info.duration_s:.2f} s); correct start and end in the list",
        )
    return range(low, high)


class Video:
    """An open video: what it says of itself, its sampled frames, and what reading them showed.

    Attributes:
        on_gpu: whether all frames that were read so far were decoded on the GPU.
    """

    def __init__(self, path: Path, index: Index, places: range, origin_s: float, device: str) -> None:
        self._path, self._index = path, index
        self._device, self.on_gpu = device, device == "cuda"
        self._places, self._origin_s = places, origin_s
        self._missing = index.missing if places.stop == len(index.times) else 0
        self._sampled = self._damaged = 0

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def info(self) -> VideoInfo:
        """What was known before the frames were read; of a range, its own duration and number of frames."""
        info, times = self._index.info, self._index.times
        until = times[self._places.stop] if self._places.stop < len(times) else info.duration_s
        return replace(info, duration_s=float(until) - self._origin_s, frames_total=len(self._places) + self._missing)

    @property
    def read(self) -> VideoInfo:
        """The same with `frames_sampled` (sound ones) and `frames_damaged`, once `frames` has ended."""
        return replace(self.info, frames_sampled=self._sampled, frames_damaged=self._damaged)

    @property
    def divisible(self) -> bool:
        """Whether a part of it can be read by itself, as far as its packets tell."""
        index = self._index
        return index.seekable and not (index.flawed or index.headless or index.missing or index.parts)

    def frames(self, fps: float, part: tuple[int, int, int] | None = None) -> Iterator[Frame]:
        """Yields the sound sampled frames in order, each uint8 [height, width, 3] RGB.

        Args:
            fps: instants a second.
            part: first instant of a part, the one after its last, and so many frames before and after that are
                yielded, too, but not accounted for; None: the whole.

        Raises:
            SourceError: `damaged`, at the end, if not one sampled frame was sound.
        """
        index = self._index
        times = index.times[self._places.start : self._places.stop] - self._origin_s
        lost = times[-1] + 1 / index.info.fps * np.arange(1, min(self._missing, _MOST_MISSING) + 1)
        taken = sample(np.concatenate([times, lost]), fps, index.tick_s / 2)
        wanted = {
            int(place) + self._places.start: (int(first), int(last))
            for place, first, last in zip(taken.frames, taken.first, taken.last, strict=True)
            if place < len(times)
        }
        order = sorted(wanted)
        mine: Container[int] = wanted
        self._sampled, self._damaged = 0, len(taken.frames)
        if part is not None:
            first, last, around = part
            start, stop = (bisect_left(order, instant, key=lambda place: wanted[place][0]) for instant in (first, last))
            mine, self._damaged = frozenset(order[start:stop]), stop - start
            order = order[max(start - around, 0) : stop + around]
        for place, pixels in self._pictures(order):
            self._sampled += place in mine
            self._damaged -= place in mine
            pts = None if index.pts[place] == NO_TIME else int(index.pts[place])
            yield Frame(place, float(index.times[place]), pixels, instants=wanted[place], pts=pts)
        if not self._sampled:
            raise SourceError(ErrorKind.DAMAGED, f"none of {self._damaged} sampled frames could be decoded soundly")

    def _pictures(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        """The sound frames among those at `wanted`, ascending places."""
        index = self._index
        done = 0
        for frames in self._readers():
            try:
                for pixels in frames(self._path, index, wanted[done:]):
                    yield wanted[done], pixels
                    done += 1
                return
            except Suspicious:
                pass
        rest = wanted[done:]
        last = wanted[done - 1] if done else -1
        bottom_first = index.info.field_order in ("bb", "tb")
        display = Display(index.upright, bottom_first)
        for decoded in decode_pyav.frames(self._path, index, frozenset(rest), rest[0]):
            if decoded.sound and decoded.place > last:  # damage can make a decoder give a frame twice
                last = decoded.place
                yield last, display.show(decoded.frame, self._ratio(decoded))

    def _readers(self) -> Iterator[Callable[[Path, Index, list[int]], Iterator[Pixels]]]:
        """What reads faster than PyAV, in order of preference; what one leaves over, the next one tries."""
        if self._device == "cuda" and decode_torchcodec.suits(self._index):
            yield decode_torchcodec.frames
        self.on_gpu = False
        if decode_decord.suits(self._index):
            yield decode_decord.frames

    def _ratio(self, decoded: decode_pyav.Decoded) -> float:
        """The sample aspect ratio of a frame: the container's where it has one, else what the decoder found there."""
        if self._index.info.container in ASPECT_IN_STREAM:
            return aspect(decoded.aspect)
        return self._index.info.sample_aspect_ratio
