"""Which faces of a build are the person of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from curate.errors import UsageError, one_line
from curate.hardware import device
from curate.recipe import BuildRecipe
from curate.records import Detection
from curate.run.spaces.builtin import IDENTITY, vectors
from curate.run.video import loaded_backend
from curate.stages import align
from curate.storage.build import Build


@dataclass(frozen=True)
class LikeFace:
    """A face of the build, the row that it has there, its video's source, and its cosine to the photograph's face."""

    face_id: str
    row: int
    source: str
    time_s: float
    cosine: float


@dataclass(frozen=True)
class Likeness:
    """How a build is like a photograph.

    Attributes:
        faces: that reach the threshold, most similar first.
        threshold: cosine.
        nearest: cosine of the most similar face, whether it reaches the threshold or not.
    """

    faces: list[LikeFace]
    threshold: float
    nearest: float


def find_like(built: Build, photo: Path, threshold: float | None = None) -> Likeness:
    """Faces whose identity vector is like that of the largest face of a photograph.

    Args:
        threshold: cosine; None: at which the build takes two faces for one person.

    Raises:
        UsageError: the build has no identity space, or the photograph cannot be read or shows no face.
    """
    if IDENTITY not in built.spaces:
        raise UsageError(f"{built.path}: has no identity space to look in; name a --source, --video or --face")
    recipe = BuildRecipe.model_validate(built.info.recipe)
    own = _vector(_upright(photo), photo, recipe)
    cosine = built.vectors(IDENTITY).astype(np.float32) @ own
    limit = built.info.spaces[IDENTITY].threshold if threshold is None else threshold
    rows = np.flatnonzero(cosine >= limit)
    rows = rows[np.argsort(-cosine[rows], kind="stable")]
    faces = built.faces(["face_id", "video_id", "time_s"]).take(rows).to_pylist()
    source = dict(zip(*(built.videos[name].to_pylist() for name in ("video_id", "source")), strict=True))
    alike = [
        LikeFace(face["face_id"], int(row), source[face["video_id"]], face["time_s"], float(cosine[row]))
        for face, row in zip(faces, rows, strict=True)
    ]
    return Likeness(alike, limit, float(cosine.max()))


def _upright(photo: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(photo) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), np.uint8)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"--like {photo}: cannot be read as a picture ({one_line(error)})") from None


def _vector(pixels: NDArray[np.uint8], photo: Path, recipe: BuildRecipe) -> NDArray[np.float32]:
    """float32 [D]: the largest face, as a face of the build would be described."""
    backend = loaded_backend(recipe, device(recipe.embed.device))
    faces = backend.detect([pixels])[0].faces
    if not faces:
        raise UsageError(
            f"--like {photo}: no face is found in it; take a picture that shows it larger and from the front"
        )
    largest = max(faces, key=_area)
    matrix = align.crop_matrix(largest.landmarks, recipe.crop.size, recipe.crop.margin)
    crop = align.decode(align.encode(align.warp(pixels, matrix, recipe.crop.size), recipe.crop.jpeg_quality))
    found: NDArray[np.float32] = vectors(IDENTITY, crop[None], backend, recipe)[0]
    return found


def _area(face: Detection) -> float:
    x0, y0, x1, y1 = face.bbox
    return float((x1 - x0) * (y1 - y0))
