"""Where the pixels of a sample come from: a file, bytes, an array, a frame of a video, an entry of a MATLAB file.

Annotations are in pixels as stored, so orientation flags are never applied.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from curate.errors import CurateError, one_line
from curate.records import Pixels
from curate.stages import align

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""File names that count as pictures, lower case."""


class DamagedPictureError(CurateError):
    """A picture cannot be decoded; its sample is counted and left out."""


class Picture(Protocol):
    """One picture that can be read again and again."""

    def read(self) -> Pixels:
        """The pixels.

        Raises:
            DamagedPictureError: they cannot be had.
        """
        ...

    def stamp(self) -> str:
        """A cheap fingerprint: it changes when the picture does."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A picture file."""

    path: Path

    def read(self) -> Pixels:
        """See `Picture`."""
        try:
            return decode(self.path.read_bytes(), str(self.path))
        except OSError as error:
            raise DamagedPictureError(f"{self.path}: {error.strerror or error}") from None

    def stamp(self) -> str:
        """See `Picture`."""
        try:
            about = self.path.stat()
        except OSError:
            return f"{self.path}:missing"
        return f"{self.path}:{about.st_size}:{about.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a picture file."""

    data: bytes

    def read(self) -> Pixels:
        """See `Picture`."""
        return decode(self.data, "a picture in memory")

    def stamp(self) -> str:
        """See `Picture`."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Grey uint8 [H, W] or RGB uint8 [H, W, 3] pixels."""

    pixels: Pixels

    def read(self) -> Pixels:
        """See `Picture`."""
        return (
            np.ascontiguousarray(np.broadcast_to(self.pixels[..., None], (*self.pixels.shape, 3)))
            if (self.pixels.ndim == 2)
            else self.pixels
        )

    def stamp(self) -> str:
        """See `Picture`."""
        return hashlib.blake2b(np.ascontiguousarray(self.pixels).tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video file, by its index in order of presentation."""

    path: Path
    index: int

    def read(self) -> Pixels:
        """See `Picture`. Reading frames in order costs one pass through the video."""
        return _reader(self.path).frame(self.index)

    def stamp(self) -> str:
        """See `Picture`."""
        return f"{File(self.path).stamp()}#{self.index}"


def decode(data: bytes, name: str) -> Pixels:
    """RGB pixels of an encoded picture; JPEG by libjpeg-turbo, all else by OpenCV.

    Raises:
        DamagedPictureError: it is no picture, or a damaged one.
    """
    if data[:2] == b"\xff\xd8":
        try:
            return align.decode(data)
        except ValueError:
            pass  # CMYK and the like: OpenCV may know them
    pixels = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data else None
    )
    if pixels is None:
        raise DamagedPictureError(f"{one_line(name)}: no picture, or a damaged one")
    return np.ascontiguousarray(pixels[..., ::-1])


class _VideoReader:
    """Frames of one video, read forwards; a step back starts again."""

    def __init__(self, path: Path) -> None:
        self.path, self.next = path, 0
        self.frames: Iterator[av.VideoFrame] = iter(())
        self.last: Pixels | None = None

    def frame(self, index: int) -> Pixels:
        if index != self.next - 1:
            self._advance(index)
        if self.last is None:
            raise DamagedPictureError(f"{self.path}: there is no frame {index}")
        return self.last

    def _advance(self, index: int) -> None:
        if index < self.next or not self.next:
            self.frames, self.next = self._decode(), 0
        self.last = None
        try:
            for frame in self.frames:
                self.next += 1
                if self.next == index + 1:
                    self.last = frame.to_ndarray(format="rgb24")
                    return
        except av.error.FFmpegError as error:
            self.next = 0
            raise DamagedPictureError(f"{self.path}: frame {index}: {one_line(error)}") from None
        self.next = 0

    def _decode(self) -> Iterator[av.VideoFrame]:
        with av.open(str(self.path)) as container:
            container.streams.video[0].thread_type = "NONE"
            yield from container.decode(video=0)


_readers: OrderedDict[Path, _VideoReader] = OrderedDict()
_OPEN_VIDEOS = 2


def _reader(path: Path) -> _VideoReader:
    """The reader of `path`; only the last few videos stay open."""
    if path not in _readers:
        while len(_readers) >= _OPEN_VIDEOS:
            _readers.popitem(last=False)
        _readers[path] = _VideoReader(path)
    return _readers[path]
