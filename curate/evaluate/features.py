"""One forward pass over a data set, kept on disk: features by backbone and crop.

Pictures are decoded and cropped by threads ahead of the network. Every `chunk` pictures are one file, written whole, so
a killed run resumes with the next chunk; a file's name holds the hash of the weights, the crop, and the ids and stamps
of its pictures. Memory holds one chunk; what is used later is mapped, not read.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from curate import hardware
from curate.errors import UsageError
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.crops import CropRule, Matrix
from curate.evaluate.encoders import Encoder
from curate.evaluate.pictures import DamagedPictureError, VideoFrame
from curate.evaluate.samples import Sample
from curate.progress import Advance, Progress, silent
from curate.records import Pixels
from curate.stages.align import warp
from curate.storage.files import atomic_write

FeatureKind = Literal["pooled", "mirrored", "map", "pooled_flipped", "map_flipped", "none"]
"""`pooled`: the feature; `mirrored`: the feature plus that of the mirror image; `map`: the last map averaged to
`linear.grid` cells a side, row by row (the feature where there is no map); `..._flipped`: of the mirror image alone;
`none`: nothing but which pictures are sound, and their maps to the crop."""
VERSION = 2
"""Raised when the same weights come to other features, so that kept ones are not taken for them."""


class FeatureTable:
    """Rows of float32 vectors in several arrays that may lie on disk; only what is taken is read.

    Args:
        parts: float [n_i, D] each, arrays or memory maps.
    """

    def __init__(self, parts: Sequence[NDArray[np.float32]]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.shape = (int(self.starts[-1]), max((part.shape[1] for part in self.parts), default=0))

    def __len__(self) -> int:
        return self.shape[0]

    def followed_by(self, other: FeatureTable) -> FeatureTable:
        """The rows of this table, then those of another."""
        return FeatureTable([*self.parts, *other.parts])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """These rows, float32 [len(rows), D]; a part without sound pictures gives zeros."""
        out = np.zeros((len(rows), self.shape[1]), np.float32)
        home = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(home):
            part, own = self.parts[index], np.flatnonzero(home == index)
            if part.shape[1]:
                out[own] = part[rows[own] - self.starts[index]]
        return out

    def blocks(self, rows: NDArray[np.int64], size: int = 4096) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """These rows, `size` at a time, with where they stand among them."""
        for start in range(0, len(rows), size):
            yield slice(start, min(start + size, len(rows))), self.take(rows[start : start + size])


@dataclass(frozen=True, eq=False)
class Features:
    """Features of N samples.

    Attributes:
        vectors: N rows of D; those of damaged pictures are zero.
        matrices: float64 [N, 2, 3], pixels of the picture -> pixels of the crop; NaN for damaged ones.
        sound: bool [N]: False where the picture is damaged or cannot be cropped.
    """

    vectors: FeatureTable
    matrices: NDArray[np.float64]
    sound: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Chunk:
    vectors: NDArray[np.float32]
    matrices: NDArray[np.float64]
    sound: NDArray[np.bool_]


def crop_of(sample: Sample, crop: CropRule) -> tuple[Pixels, Matrix] | None:
    """A sample's crop, uint8 [size, size, 3], and its map; None where the picture is damaged or cannot be cropped."""
    try:
        picture = sample.picture.read()
        matrix = crop.matrix(picture.shape[0], picture.shape[1], sample.box, sample.points)
    except (DamagedPictureError, ValueError):
        return None
    return warp(picture, matrix, crop.size), matrix


def readers(samples: Sequence[Sample]) -> int:
    """How many threads may read these samples' pictures: one where frames of videos are among them."""
    return 1 if any(isinstance(s.picture, VideoFrame) for s in samples) else max(hardware.cores(), 1)


def crops_of(samples: Sequence[Sample], crop: CropRule, batch: int) -> Iterator[list[tuple[Pixels, Matrix] | None]]:
    """Crops in order, `batch` at a time, made by threads one batch ahead; frames of videos by one thread, in order."""
    with ThreadPoolExecutor(readers(samples)) as pool:

        def start(at: int) -> list[Future[tuple[Pixels, Matrix] | None]]:
            return [pool.submit(crop_of, sample, crop) for sample in samples[at : at + batch]]

        ahead = start(0)
        for at in range(0, len(samples), batch):
            current, ahead = ahead, start(at + batch)
            yield [future.result() for future in current]


@dataclass(frozen=True, eq=False)
class Extractor:
    """How samples become features.

    Attributes:
        crop: how faces are cut out.
        recipe: `extract` and `linear.grid` of it.
        cache: folder where features are kept, and found again; None keeps all in memory.
        progress: shows how far it is.
    """

    crop: CropRule
    recipe: EvaluateRecipe
    cache: Path | None = None
    progress: Progress = silent

    def extract(self, encoder: Encoder, samples: Sequence[Sample], kind: FeatureKind = "pooled") -> Features:
        """Features of samples, from the cache where they are there."""
        size = self.recipe.extract.chunk
        name = _name(encoder, self.crop, kind, self.recipe.linear.grid)
        parts: list[_Chunk] = []
        if not samples:
            return Features(FeatureTable([]), np.zeros((0, 2, 3)), np.zeros(0, bool))
        with self.progress("features", len(samples), "pictures") as advance:
            for start in range(0, len(samples), size):
                chunk = samples[start : start + size]
                path = self.cache / name / _stamp(chunk) if self.cache else None
                part = _read(path) if path else None
                if part is None:
                    part = self._forward(encoder, chunk, kind, advance)
                    if path:
                        part = _write(path, part)
                else:
                    advance(len(chunk))
                parts.append(part)
        return Features(
            FeatureTable([part.vectors for part in parts]),
            np.concatenate([part.matrices for part in parts]),
            np.concatenate([part.sound for part in parts]),
        )

    def _forward(self, encoder: Encoder, samples: Sequence[Sample], kind: FeatureKind, advance: Advance) -> _Chunk:
        vectors: list[NDArray[np.float32] | None] = []
        matrices: list[Matrix] = []
        sound: list[bool] = []
        encoder.eval()
        for found in crops_of(samples, self.crop, self.recipe.extract.batch):
            good = [item[0] for item in found if item is not None]
            sound += [item is not None for item in found]
            matrices += [item[1] if item else np.full((2, 3), np.nan) for item in found]
            wanted = bool(good) and kind != "none"
            rows = iter(_encode(encoder, np.stack(good), kind, self.recipe.linear.grid) if wanted else ())
            vectors += [next(rows, None) if item else None for item in found]
            advance(len(found))
        width = next((len(v) for v in vectors if v is not None), 0)
        table = np.zeros((len(vectors), width), np.float32)
        for row, vector in enumerate(vectors):
            if vector is not None:
                table[row] = vector
        return _Chunk(table, np.array(matrices).reshape(-1, 2, 3), np.array(sound, dtype=bool))


def _encode(encoder: Encoder, crops: Pixels, kind: FeatureKind, grid: int) -> NDArray[np.float32]:
    """float32 [n, D] of crops uint8 [n, S, S, 3]."""
    with torch.inference_mode():
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).to(encoder.mean.device)
        features, maps = encoder(pictures.flip(3) if kind.endswith("_flipped") else pictures)
        if kind == "mirrored":
            features = features + encoder(pictures.flip(3))[0]
        elif kind.startswith("map") and maps:
            features = pooled_map(maps[-1], grid).flatten(1)
        found = np.asarray(features.float().cpu().numpy(), dtype=np.float32)
    if not np.isfinite(found).all():
        raise UsageError(f"--backbone {encoder.origin.name}: its features are not all numbers (NaN or infinite)")
    return found


def pooled_map(feature_map: torch.Tensor, grid: int) -> torch.Tensor:
    """A map [n, C, h, w] averaged to at most `grid` cells a side, channels last: [n, h', w', C]."""
    if feature_map.shape[-1] > grid:
        feature_map = F.adaptive_avg_pool2d(feature_map, grid)
    return feature_map.permute(0, 2, 3, 1)


def _name(encoder: Encoder, crop: CropRule, kind: FeatureKind, grid: int) -> str:
    norm = np.concatenate([encoder.mean.flatten().cpu().numpy(), encoder.std.flatten().cpu().numpy()]).tobytes()
    cells = grid if kind.startswith("map") else ""
    text = f"{VERSION}:{encoder.origin.digest}:{crop.digest()}:{kind}:{cells}:{cv2.__version__}"
    return hashlib.sha256(text.encode() + norm).hexdigest()[:24]


def _stamp(samples: Sequence[Sample]) -> str:
    result = hashlib.sha256()
    for sample in samples:
        points = b"" if sample.points is None else sample.points.tobytes()
        result.update(f"{sample.id}\0{sample.picture.stamp()}\0{sample.box}\0".encode() + points)
    return result.hexdigest()[:32]


def _read(path: Path) -> _Chunk | None:
    """A chunk that is on disk, its vectors mapped; None where it is not, is damaged or is of another version."""
    try:
        # opened here, for np.load leaves a damaged file open
        with path.with_suffix(".npz").open("rb") as file, np.load(file) as about:
            return _Chunk(np.load(path.with_suffix(".npy"), mmap_mode="r"), about["matrices"], about["sound"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, part: _Chunk) -> _Chunk:
    """Writes a chunk, the file that marks it as done last, and gives it back mapped."""
    with atomic_write(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
        np.save(file, part.vectors)
    with atomic_write(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, matrices=part.matrices, sound=part.sound)
    return _read(path) or part
