"""The chosen pictures, packed side by side so that any of them can be read at any time.

Parquet cannot give one picture without its whole page, and faces of one video lie together in a row group. So a run
reads each needed row group once, in order, and writes the JPEG bytes of the chosen faces one after another into a
file of its own. A global shuffle is then a list of numbers: 12 bytes a picture in memory, whatever their count, and
the bytes stay on disk. Remote builds are read once and not again. The file goes when the run is done.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.pretrain.faces import Faces
from curate.progress import Progress, silent
from curate.records import Pixels
from curate.storage.documents import mapping, try_json, write_json
from curate.storage.files import atomic_write

WRITE_BUFFER = 4 << 20
SURVEY = "survey.npy"
"""File beside the packed pictures that says which are sound (`curate.pretrain.survey`)."""


@dataclass(frozen=True)
class PackedPictures:
    """Packed pictures.

    Attributes:
        descriptor: of the open file.
        offset: int64 [n], where picture i begins.
        length: uint32 [n], its bytes; 0 where the picture is no JPEG.
        height, width: pixels of the first sound picture; pictures of another size are resized to it.
    """

    descriptor: int
    offset: NDArray[np.int64]
    length: NDArray[np.uint32]
    height: int
    width: int

    def jpeg(self, position: int) -> bytes:
        """The JPEG bytes of one picture. Threads may call it together."""
        return os.pread(self.descriptor, int(self.length[position]), int(self.offset[position]))

    def decode(self, position: int, out: Pixels) -> bool:
        """Decodes one picture into `out`, uint8 [height, width, 3]; False where it is damaged."""
        data = self.jpeg(position)
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            if (height, width) == (self.height, self.width):
                simplejpeg.decode_jpeg(data, "RGB", buffer=out)
            else:
                pixels = simplejpeg.decode_jpeg(data, "RGB")
                cv2.resize(pixels, (self.width, self.height), dst=out, interpolation=cv2.INTER_AREA)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """Closes the file."""
        os.close(self.descriptor)


def pack(faces: Faces, folder: Path, progress: Progress = silent) -> None:
    """Writes the pictures of `faces` into `folder`, unless they are there.

    Args:
        faces: whose pictures.
        folder: where.
        progress: how it is shown.

    Raises:
        UsageError: a file or row that the manifest names is not in the build.
        StorageError: the disk is full or the folder cannot be written.
    """
    if _packed(faces, folder):
        return
    offset = np.zeros(len(faces), np.int64)
    length = np.zeros(len(faces), np.uint32)
    end = 0
    with (
        progress("packing pictures", len(faces), "pictures") as advance,
        atomic_write(folder / "pictures.bin") as temporary,
        temporary.open("wb", buffering=WRITE_BUFFER) as out,
    ):
        for positions, pictures in faces.pictures():
            for position, picture in zip(positions, pictures, strict=True):
                offset[position] = end
                if _is_jpeg(picture):
                    length[position] = out.write(picture)
                    end += len(picture)
            advance(len(positions), f"{end / 2**20:.0f} MB")
    with atomic_write(folder / "index.npz") as temporary, temporary.open("wb") as out:
        np.savez(out, offset=offset, length=length)
    (folder / SURVEY).unlink(missing_ok=True)  # of other pictures
    write_json(folder / "packed.json", {"manifest": faces.sha256, "bytes": end})


def open_pictures(faces: Faces, folder: Path) -> PackedPictures:
    """Opens what `pack` wrote.

    Raises:
        UsageError: not one picture of the manifest is a JPEG.
    """
    with np.load(folder / "index.npz") as index:
        offset, length = index["offset"], index["length"]
    sound = np.flatnonzero(length)
    if not len(sound):
        raise UsageError(f"{faces.path}: none of {len(faces)} pictures can be decoded (curate verify checks a build)")
    descriptor = os.open(folder / "pictures.bin", os.O_RDONLY)
    first = os.pread(descriptor, int(length[sound[0]]), int(offset[sound[0]]))
    height, width, _, _ = simplejpeg.decode_jpeg_header(first)
    return PackedPictures(descriptor, offset, length, height, width)


def discard(folder: Path) -> None:
    """Removes what `pack` wrote."""
    for name in ("packed.json", "index.npz", "pictures.bin", SURVEY):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)


def _packed(faces: Faces, folder: Path) -> bool:
    try:
        size = (folder / "pictures.bin").stat().st_size
    except OSError:
        return False
    done = try_json(folder / "packed.json", mapping)
    return bool(done == {"manifest": faces.sha256, "bytes": size}) and (folder / "index.npz").exists()


def _is_jpeg(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True
