"""The faces of evaluation pictures, as the build would have stored them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError, UsageError
from curate.evaluate.datasets import CATALOGUE, read
from curate.evaluate.datasets.folder import pictures_of
from curate.evaluate.pictures import File, PictureSource
from curate.hardware import cores, limit_threads
from curate.recipe import BuildRecipe
from curate.records import Pixels
from curate.stages import align
from curate.stages.detect import Backend
from curate.storage.files import files_below

SMALL = 160
"""Shorter side, pixels, below which a picture is enlarged before faces are looked for."""
BORDER = 0.5
"""Share of its sides that a picture gets as a border where no face is found without: many sets are cut tightly."""
CHUNK = 32
"""Pictures that a thread takes at once."""

Describe = Callable[[Pixels, Backend], dict[str, NDArray[np.float32]]]
"""Vectors, float32 [n, D] by space, of crops uint8 [n, side, side, 3]."""


@dataclass(frozen=True)
class EvaluationFaces:
    """The faces of a set of pictures: as vectors, since the pictures of large sets do not fit in memory.

    Attributes:
        faces: the picture of each face, by its name relative to the set's folder, and which of its faces it is.
        vectors: float32 [n, D] by space.
        pictures, without_face, unreadable: how many pictures there are, and how many of them gave nothing.
    """

    faces: tuple[tuple[str, int], ...]
    vectors: dict[str, NDArray[np.float32]]
    pictures: int
    without_face: int
    unreadable: int


def faces_of(
    sources: Sequence[tuple[str, PictureSource]],
    load: Callable[[], Backend],
    recipe: BuildRecipe,
    describe: Describe,
    advance: Callable[[int], None] = lambda _: None,
) -> EvaluationFaces:
    """Finds the faces of pictures, on all cores.

    Args:
        sources: as `sources_of` gives them.
        load: makes the networks of one thread.
        describe: gives the vectors of faces.
        advance: called with so many more pictures.
    """
    own = threading.local()

    def look(chunk: Sequence[tuple[str, PictureSource]]) -> tuple[list[tuple[str, int]], Any, int, int]:
        if not hasattr(own, "backend"):
            own.backend = load()
        found, without, unreadable = _look(chunk, own.backend, recipe)
        faces = [(name, number) for name, crops in found for number in range(len(crops))]
        crops = [crop for _, crops in found for crop in crops]
        return faces, describe(np.stack(crops), own.backend) if crops else {}, without, unreadable

    faces: list[tuple[str, int]] = []
    parts: dict[str, list[NDArray[np.float32]]] = {}
    counts = np.zeros(2, np.int64)
    chunks = [sources[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
    limit_threads(1)  # of libraries: the threads are here
    try:
        with ThreadPoolExecutor(cores()) as pool:
            for chunk, (more, vectors, *missing) in zip(chunks, pool.map(look, chunks), strict=True):
                faces += more
                for space, values in vectors.items():
                    parts.setdefault(space, []).append(values)
                counts += missing
                advance(len(chunk))
    finally:
        limit_threads(cores())
    joined = {space: np.concatenate(values) for space, values in parts.items()}
    return EvaluationFaces(tuple(faces), joined, len(sources), *counts.tolist())


def crop_of(picture: PictureSource, number: int, backend: Backend, recipe: BuildRecipe) -> Pixels:
    """uint8 [side, side, 3]: one face of a picture in which `faces_of` found it."""
    return _crops(picture.read(), backend, recipe)[number]


def _look(
    chunk: Sequence[tuple[str, PictureSource]], backend: Backend, recipe: BuildRecipe
) -> tuple[list[tuple[str, list[Pixels]]], int, int]:
    """The faces of each picture by name, and how many pictures have none or cannot be read."""
    found: list[tuple[str, list[Pixels]]] = []
    without = unreadable = 0
    for name, picture in chunk:
        try:
            crops = _crops(picture.read(), backend, recipe)
        except (CurateError, OSError, ValueError, cv2.error):
            unreadable += 1
        else:
            without += not crops
            found.append((name, crops))
    return found, without, unreadable


def sources_of(folder: Path, dataset: str | None) -> list[tuple[str, PictureSource]]:
    """The pictures below a folder, by name.

    Args:
        dataset: its name for `curate evaluate`, where pictures are no files or only some files count; None: all files.

    Raises:
        UsageError: there is no such folder, or no picture in it.
    """
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
