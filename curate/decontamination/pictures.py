"""The faces of evaluation pictures, as the build would have stored them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError, UsageError
from curate.evaluate.datasets import CATALOGUE, read
from curate.evaluate.datasets.folder import files_below, pictures_of
from curate.evaluate.pictures import File, PictureSource
from curate.progress import Progress, silent
from curate.recipe import BuildRecipe
from curate.records import Pixels
from curate.stages import align
from curate.stages.detect import Backend

SMALL = 160
"""Shorter side, pixels, below which a picture is enlarged before faces are looked for."""
BORDER = 0.5
"""Share of its sides that a picture gets as a border where no face is found without: many sets are cut tightly."""


@dataclass(frozen=True)
class EvaluationFaces:
    """The faces of a set of pictures.

    Attributes:
        names: of the picture of each face, relative to the set's folder.
        crops: uint8 [n, side, side, 3], aligned as the build's.
        pictures, without_face, unreadable: how many pictures there are, and how many of them gave nothing.
    """

    names: tuple[str, ...]
    crops: Pixels
    pictures: int
    without_face: int
    unreadable: int


def faces_of(
    folder: Path, dataset: str | None, backend: Backend, recipe: BuildRecipe, progress: Progress = silent
) -> EvaluationFaces:
    """Finds the faces of all pictures below a folder.

    Args:
        dataset: its name for `curate evaluate`, where pictures are no files or only some files count; None: all files.

    Raises:
        UsageError: there is no such folder, or no picture in it.
    """
    sources = _sources(folder, dataset)
    names: list[str] = []
    crops: list[Pixels] = []
    without = unreadable = 0
    with progress(f"faces of {folder}", len(sources), "pictures") as advance:
        for name, picture in sources:
            try:
                found = _crops(picture.read(), backend, recipe)
            except (CurateError, OSError, ValueError, cv2.error):
                unreadable += 1
            else:
                without += not found
                names += [name] * len(found)
                crops += found
            advance(1)
    side = recipe.crop.size
    stacked = np.stack(crops) if crops else np.empty((0, side, side, 3), np.uint8)
    return EvaluationFaces(tuple(names), stacked, len(sources), without, unreadable)


def _sources(folder: Path, dataset: str | None) -> list[tuple[str, PictureSource]]:
    if not folder.is_dir():
        raise UsageError(f"--against {folder}: there is no such folder")
    found: list[tuple[str, PictureSource]]
    if dataset is None:
        files = pictures_of(files_below(folder))
        found = [(path.relative_to(folder).as_posix(), File(path, upright=True)) for path in files]
    else:
        if dataset not in CATALOGUE:
            raise UsageError(f"--dataset {dataset}: is not known; there are: {', '.join(CATALOGUE)}")
        found = [(one.id, one.picture) for one in read(dataset, CATALOGUE[dataset].tasks[0], folder).samples]
    if not found:
        raise UsageError(f"--against {folder}: holds no pictures; name the folder of the data set, or give --dataset")
    return found


def _crops(pixels: Pixels, backend: Backend, recipe: BuildRecipe) -> list[Pixels]:
    """Each face as the build stores it, JPEG and all."""
    for frame in _views(pixels):
        (detected,) = backend.detect([frame])
        if detected.faces:
            return [
                align.decode(align.encode(_cut(frame, face.landmarks, recipe), recipe.crop.jpeg_quality))
                for face in detected.faces
            ]
    return []


def _cut(frame: Pixels, landmarks: NDArray[np.float32], recipe: BuildRecipe) -> Pixels:
    matrix = align.crop_matrix(landmarks, recipe.crop.size, recipe.crop.margin)
    return align.warp(frame, matrix, recipe.crop.size)


def _views(pixels: Pixels) -> Iterator[Pixels]:
    """The picture, large enough to find a face in; then with a border."""
    shorter = min(pixels.shape[:2])
    if shorter < SMALL:
        scale = SMALL / max(shorter, 1)
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    yield pixels
    down, across = (int(BORDER * side) for side in pixels.shape[:2])
    yield cv2.copyMakeBorder(pixels, down, down, across, across, cv2.BORDER_REPLICATE)
