"""What all miniatures are made of: smooth random pictures, tables, points."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

RNG = np.random.default_rng


def picture(seed: int, height: int = 80, width: int = 80) -> np.ndarray:
    """A smooth random picture, uint8 [height, width, 3]."""
    coarse = RNG(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, seed: int = 0, size: tuple[int, int] = (80, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, *size)).save(path)
    return path


def jpeg(seed: int, side: int = 112) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed, side, side)).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, lines: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def face(seed: int, points: int = 68) -> np.ndarray:
    """Points float64 [points, 2] within a picture of 80 pixels."""
    return RNG(seed).uniform(15, 65, (points, 2))


def pts(path: Path, points: np.ndarray) -> Path:
    body = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    return write(path, [f"version: 1\nn_points:  {len(points)}\n{{\n{body}\n}}"])


def shape(seed: int) -> dict[str, np.ndarray]:
    points = np.concatenate([face(seed), RNG(seed + 99).normal(0, 10, (68, 1))], axis=1)
    pose = np.array([[0.1, RNG(seed).uniform(-1.5, 1.5), 0, 40, 40, -50, 1e-3]])
    return {
        "pt3d_68": (points + np.array([1, 1, 0])).T,
        "Pose_Para": pose,
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }
