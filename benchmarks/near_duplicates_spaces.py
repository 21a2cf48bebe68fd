"""The candidates: each turns stored crops into vectors whose cosine says how alike they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image
from scipy.fft import dctn
from skimage.feature import hog

from curate.recipe import CropSettings, FaceSettings
from curate.stages import align, appearance
from curate.stages.backend import unit
from curate.stages.detect import load_backend

Vectors = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A space: crops uint8 [n, side, side, 3] -> float [n, D]; `bits` a stored number takes."""

    name: str
    vectors: Vectors
    bits: int = 16
    whitened: int = 0  # numbers kept after whitening with statistics of other videos


def candidates(
    margin: float, models: Path | None, pack: str | None, backbone: Path | None, crops: list[np.ndarray]
) -> list[Candidate]:
    """All candidates that can be had here; `crops` are those of which a backbone's mean is taken."""
    found = [
        Candidate("phash 64", _hash(8), 1),
        Candidate("phash 256", _hash(16), 1),
        Candidate("pixels 32 x 32", lambda crops: _each(crops, margin, _pixels)),
        Candidate("DCT, 128 lowest", lambda crops: _each(crops, margin, _dct)),
        Candidate("HOG", lambda crops: _each(crops, margin, _hog)),
        Candidate("LCN 28 x 28", lambda crops: _each(crops, margin, _lcn)),
        Candidate("LCN whitened to 128", lambda crops: _each(crops, margin, _lcn), whitened=128),
        Candidate("HOG whitened to 128", lambda crops: _each(crops, margin, _hog), whitened=128),
        Candidate("identity, dlib", load_backend(FaceSettings(backend="dlib"), CropSettings(margin=margin)).identity),
        Candidate("appearance", lambda crops: appearance.describe(crops, margin)),
        Candidate("appearance whitened", lambda crops: appearance.describe(crops, margin), whitened=128),
        Candidate(
            "appearance and HOG", lambda crops: _both(appearance.describe(crops, margin), _each(crops, margin, _hog))
        ),
    ]
    if models:
        arcface = load_backend(
            FaceSettings(backend="insightface", models=models, pack=pack), CropSettings(margin=margin)
        )
        found.insert(9, Candidate("identity, ArcFace", arcface.identity))
        found.append(
            Candidate(
                "appearance and ArcFace",
                lambda crops: _both(appearance.describe(crops, margin), arcface.identity(crops)),
            )
        )
    if backbone:
        from curate.run.spaces.backbone import CENTRED, Embedder

        embedder = Embedder(backbone, "cpu")
        embedder.centre = embedder.features(np.stack(crops[:: len(crops) // CENTRED + 1])).mean(0)
        found.append(Candidate(f"backbone {backbone.parent.name}", embedder))
    return found


def whitening(vectors: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and projection [D, keep] after which `vectors` have unit covariance (a tenth of the mean one added)."""
    mean = vectors.mean(0)
    values, directions = np.linalg.eigh(np.cov(vectors - mean, rowvar=False))
    order = np.argsort(-values)[:keep]
    return mean, directions[:, order] / np.sqrt(values[order] + 0.1 * values[order].mean())


def _each(crops: np.ndarray, margin: float, describe: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    faces = align.arcface(crops, margin)
    return np.stack([describe(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)) for face in faces])


def _both(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([unit(part) for part in parts], axis=1)


def _hash(side: int) -> Vectors:
    def vectors(crops: np.ndarray) -> np.ndarray:
        bits = [imagehash.phash(Image.fromarray(crop), hash_size=side).hash.ravel() for crop in crops]
        return np.where(np.array(bits), 1.0, -1.0).astype(np.float32)

    return vectors


def _small(grey: np.ndarray, side: int) -> np.ndarray:
    small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - small.mean()


def _pixels(grey: np.ndarray) -> np.ndarray:
    return _small(grey, 32).ravel()


def _dct(grey: np.ndarray) -> np.ndarray:
    row, column = np.mgrid[:32, :32]
    lowest = np.argsort((row**2 + column**2).ravel(), kind="stable")[1:129]
    return dctn(_small(grey, 32), norm="ortho").ravel()[lowest]


def _hog(grey: np.ndarray) -> np.ndarray:
    return hog(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA), cells_per_block=(2, 2)).astype(np.float32)


def _lcn(grey: np.ndarray) -> np.ndarray:
    small = cv2.resize(grey, (28, 28), interpolation=cv2.INTER_AREA).astype(np.float32)
    centred = small - cv2.GaussianBlur(small, (0, 0), 3)
    return (centred / (np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), 3)) + 4)).ravel()
