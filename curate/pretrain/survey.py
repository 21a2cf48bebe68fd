"""What libjpeg-turbo says of each packed picture, before a run that decodes them on a GPU.

Decoders differ in what they call damaged, and nvJPEG's hardware engine gives no verdict on each picture of a batch. So
every picture is decoded once on the CPU, by the function that would decode it there in each pass. What is damaged and
what takes its place is then the same wherever pictures are decoded, and no step has to ask the GPU.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from curate.pretrain.faces import Faces
from curate.pretrain.pictures import SURVEY, PackedPictures, open_pictures
from curate.progress import Progress, silent
from curate.storage.files import atomic_write

DAMAGED, CPU, GPU = 0, 1, 2
"""A picture cannot be decoded; only the CPU makes it what it makes of it; the GPU makes it so up to rounding."""
COLOURS = ("YCbCr", "Gray")
"""Kinds of JPEGs that nvJPEG and libjpeg-turbo turn into the same colours."""
AT_ONCE = 64
"""Pictures that one task of a thread looks through."""


def survey(faces: Faces, folder: Path, threads: int, progress: Progress = silent) -> None:
    """Looks through what `pictures.pack` wrote into `folder`, unless that is done.

    Args:
        faces: whose pictures.
        folder: where they lie.
        threads: that decode.
        progress: how it is shown.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    if (folder / SURVEY).exists():
        return
    pictures = open_pictures(faces, folder)
    kinds = np.zeros(len(faces), np.uint8)
    parts = [slice(at, at + AT_ONCE) for at in range(0, len(faces), AT_ONCE)]
    try:
        with (
            progress("looking through pictures", len(faces), "pictures") as advance,
            ThreadPoolExecutor(threads) as pool,
        ):
            for part, found in zip(parts, pool.map(lambda part: _kinds(pictures, part), parts), strict=True):
                kinds[part] = found
                advance(len(found))
    finally:
        pictures.close()
    with atomic_write(folder / SURVEY) as temporary, temporary.open("wb") as out:
        np.save(out, kinds)


def read(folder: Path) -> NDArray[np.uint8]:
    """uint8 [n]: what each picture is."""
    kinds: NDArray[np.uint8] = np.load(folder / SURVEY)
    return kinds


def text(kinds: NDArray[np.uint8]) -> str:
    """How many pictures are decoded where, as it is reported."""
    damaged, cpu, gpu = np.bincount(kinds, minlength=3).tolist()
    parts = [f"{gpu} of {len(kinds)} there"]
    parts += [f"{cpu} of another size or other colours on the CPU"] if cpu else []
    parts += [f"{damaged} damaged"] if damaged else []
    return ", ".join(parts)


def _kinds(pictures: PackedPictures, part: slice) -> NDArray[np.uint8]:
    scratch = np.empty((pictures.height, pictures.width, 3), np.uint8)
    return np.array(
        [_kind(pictures, i, scratch) for i in range(part.start, min(part.stop, len(pictures.length)))], np.uint8
    )


def _kind(pictures: PackedPictures, position: int, scratch: NDArray[np.uint8]) -> int:
    if not pictures.decode(position, scratch):
        return DAMAGED
    height, width, colours, _ = simplejpeg.decode_jpeg_header(pictures.jpeg(position))
    return GPU if (height, width) == (pictures.height, pictures.width) and colours in COLOURS else CPU
