"""Reads the sampled frames of a video, by time, in bounded memory, and only the sound ones.

Frames are taken by the rule of `curate.sampling`. Times are those of the frames, so variable frame rates and streams
that do not start at zero need no special care.

One pass over the packets (`decode_index`) tells times and obvious flaws; then decord reads short regular streams
(`decode_decord`), and PyAV everything else and everything behind a sign of damage (`decode_pyav`). Both give the same
frames. A sampled frame that is damaged is counted and not yielded; reading goes on behind it. How much of visible
damage is found depends on what a codec lets its decoder see: nearly all in H.264, MPEG-1, 2 and 4, most in
AV1 and VP9; VP8 and HEVC show little but holes and cut-off packets.

Frames are upright. Their pixels are the stored ones: a sample aspect ratio other than 1 is not applied, so that boxes
are in pixels of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from curate.errors import ErrorKind, SourceError
from curate.records import Frame, Pixels, VideoInfo
from curate.sampling import sample
from curate.stages import decode_decord, decode_pyav
from curate.stages.decode_index import Index, read_index


def open_video(path: Path) -> Video:
    """Opens a video; use it as a context.

    Raises:
        SourceError: it is no video (`not_video`), holds no frame that can be decoded (`damaged`), or is of a kind that
            cannot be read (`unsupported`).
    """
    return Video(path, read_index(path))


class Video:
    """An open video: what it says of itself, its sampled frames, and what reading them showed."""

    def __init__(self, path: Path, index: Index) -> None:
        self._path, self._index = path, index
        self._sampled = self._damaged = 0

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def info(self) -> VideoInfo:
        """What was known before the frames were read."""
        return self._index.info

    @property
    def read(self) -> VideoInfo:
        """The same with `frames_sampled` (sound ones) and `frames_damaged`, once `frames` has ended."""
        return replace(self.info, frames_sampled=self._sampled, frames_damaged=self._damaged)

    def frames(self, fps: float) -> Iterator[Frame]:
        """Yields the sound sampled frames in order, each uint8 [height, width, 3] RGB.

        Args:
            fps: instants a second.

        Raises:
            SourceError: `damaged`, at the end, if not one sampled frame was sound.
        """
        self._sampled = self._damaged = 0
        for frame in self._timed(fps) if self._index.timed else self._untimed(fps):
            self._sampled += 1
            yield frame
        self._damaged += round(self._index.missing_s * min(fps, self.info.fps))
        if not self._sampled:
            raise SourceError(ErrorKind.DAMAGED, f"none of {self._damaged} sampled frames could be decoded soundly")

    def _timed(self, fps: float) -> Iterator[Frame]:
        index = self._index
        times = index.times
        chosen = sample(times, fps, index.tick_s / 2)
        taken = chosen.frames
        instants = dict(zip(taken.tolist(), zip(chosen.first.tolist(), chosen.last.tolist(), strict=True), strict=True))

        def frame(place: int, picture: Pixels) -> Frame:
            return Frame(place, float(times[place]), picture, instants=instants[place], pts=int(index.pts[place]))

        done = 0
        if _for_decord(index):
            shape = (self.info.height, self.info.width, 3)
            try:
                for picture in decode_decord.frames(self._path, taken, len(times), shape):
                    place = int(taken[done])
                    done += 1
                    yield frame(place, picture)
                return
            except decode_decord.Suspicious:
                pass
        rest = index.pts[taken[done:]]
        self._damaged += len(rest)
        start = int(rest[0]) if done else None
        last = int(taken[done - 1]) if done else -1
        for decoded in decode_pyav.frames(self._path, index, frozenset(rest.tolist()), start):
            place = int(np.searchsorted(index.pts, decoded.pts))
            if decoded.sound and place > last:  # damage can make a decoder give a time twice
                self._damaged -= 1
                last = place
                yield frame(place, decode_pyav.pixels(decoded.frame, index))

    def _untimed(self, fps: float) -> Iterator[Frame]:
        """Packets carry no times (AVI, raw streams), but their decoded frames do: the rule is applied as they come."""
        index = self._index
        origin, last = None, -1
        for place, decoded in enumerate(decode_pyav.frames(self._path, index, None)):
            origin = decoded.pts if origin is None else origin
            time_s = (decoded.pts - origin) * index.tick_s
            reached = sample(np.array([time_s]), fps, index.tick_s / 2).last
            if not len(reached) or reached[0] <= last:
                continue
            instants, last = (last + 1, int(reached[0])), int(reached[0])
            if decoded.sound:
                yield Frame(place, time_s, decode_pyav.pixels(decoded.frame, index), instants=instants)
            else:
                self._damaged += 1


def _for_decord(index: Index) -> bool:
    """Whether decord can be trusted with the stream, and with the memory."""
    info = index.info
    known = info.container in decode_decord.CONTAINERS and info.codec in decode_decord.CODECS
    fits = len(index.pts) * info.width * info.height * 3 <= decode_decord.MOST_BYTES
    return known and fits and index.plain and not index.flawed
