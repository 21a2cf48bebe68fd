"""Where the pixels of a sample come from: a file, bytes, an array, a frame of a video, an entry of a MATLAB file.

Annotations in pixels are of the picture as stored, so its EXIF orientation is applied only where there are none.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from PIL import Image

from curate.errors import CurateError, SourceError, one_line
from curate.records import Pixels
from curate.stages import align, decode_pyav
from curate.stages.decode_index import Index, read_index

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
"""File names that count as pictures, lower case."""


class DamagedPictureError(CurateError):
    """A picture cannot be decoded; its sample is counted and left out."""


class PictureSource(Protocol):
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
    """A picture file; `upright`: turned as its EXIF orientation says."""

    path: Path
    upright: bool = False

    def read(self) -> Pixels:
        """See `PictureSource`."""
        try:
            data = self.path.read_bytes()
            pixels = decode(data, str(self.path))
            return turned(pixels, orientation(data)) if self.upright else pixels
        except OSError as error:
            raise DamagedPictureError(f"{self.path}: {error.strerror or error}") from None

    def stamp(self) -> str:
        """See `PictureSource`."""
        try:
            about = self.path.stat()
        except OSError:
            return f"{self.path}:missing"
        return f"{self.path}:{about.st_size}:{about.st_mtime_ns}{':upright' if self.upright else ''}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a picture file."""

    data: bytes

    def read(self) -> Pixels:
        """See `PictureSource`."""
        return decode(self.data, "a picture in memory")

    def stamp(self) -> str:
        """See `PictureSource`."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Grey uint8 [H, W] or RGB uint8 [H, W, 3] pixels."""

    pixels: Pixels

    def read(self) -> Pixels:
        """See `PictureSource`."""
        return (
            np.ascontiguousarray(np.broadcast_to(self.pixels[..., None], (*self.pixels.shape, 3)))
            if (self.pixels.ndim == 2)
            else self.pixels
        )

    def stamp(self) -> str:
        """See `PictureSource`."""
        return hashlib.blake2b(np.ascontiguousarray(self.pixels).tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video file, by its index in order of presentation."""

    path: Path
    index: int

    def read(self) -> Pixels:
        """See `PictureSource`. By one thread at a time; reading frames in order costs one pass through the video."""
        return _reader(self.path).frame(self.index)

    def stamp(self) -> str:
        """See `PictureSource`."""
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


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture file as stored, pixels, from its head alone.

    Raises:
        DamagedPictureError: it is no picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedPictureError(f"{path}: no picture, or a damaged one ({one_line(error, 80)})") from None


def orientation(data: bytes) -> int:
    """The EXIF orientation of an encoded picture, 1 to 8; 1 (as stored) where there is none or a damaged one."""
    if not any(mark in data[:_EXIF_WITHIN] for mark in (b"Exif", b"eXIf", b"EXIF", b"II*\0", b"MM\0*")):
        return 1
    try:
        with Image.open(io.BytesIO(data)) as picture:
            found = picture.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


_EXIF_WITHIN, _ORIENTATION = 1 << 16, 0x0112


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels [H, W, 3] as they are to be seen, for an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


class _VideoReader:
    """Frames of one video, for one thread: read forwards; a step back, or far ahead, begins at the key frame before."""

    def __init__(self, path: Path) -> None:
        self.path, self.next = path, 0
        self.frames: Iterator[tuple[int, av.VideoFrame]] | None = None
        self.last: Pixels | None = None

    def frame(self, index: int) -> Pixels:
        if self.last is None or index != self.next - 1:
            self._advance(index)
        if self.last is None:
            raise DamagedPictureError(f"{self.path}: there is no frame {index}")
        return self.last

    def _advance(self, index: int) -> None:
        frames, self.frames, self.last = self.frames, None, None
        if frames is None or not self.next <= index <= self.next + _NEAR:
            frames = self._from(index)
        try:
            for place, frame in frames:
                if place == index:
                    self.frames, self.next, self.last = frames, index + 1, frame.to_ndarray(format="rgb24")
                if place >= index:
                    return
        except (av.error.FFmpegError, SourceError) as error:
            raise DamagedPictureError(f"{self.path}: frame {index}: {one_line(error)}") from None

    def _from(self, index: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their places, from one that is not after `index`."""
        known = _regular(self.path) if index else None
        if known is None or index >= len(known.times):
            with av.open(str(self.path)) as container:
                container.streams.video[0].thread_type = "NONE"
                yield from enumerate(container.decode(video=0))
            return
        for decoded in decode_pyav.frames(self.path, known, None, index):
            yield decoded.place, decoded.frame


_NEAR = 100
"""Frames ahead that are rather decoded than skipped."""


@lru_cache(64)
def _regular(path: Path) -> Index | None:
    """The frames' times, of a video whose n-th time is surely that of the n-th frame."""
    try:
        found = read_index(path)
    except SourceError:
        return None
    return found if found.regular else None


_readers: OrderedDict[Path, _VideoReader] = OrderedDict()
_OPEN_VIDEOS = 2


def _reader(path: Path) -> _VideoReader:
    """The reader of `path`; only the last few videos stay open."""
    if path not in _readers:
        while len(_readers) >= _OPEN_VIDEOS:
            _readers.popitem(last=False)
        _readers[path] = _VideoReader(path)
    return _readers[path]
