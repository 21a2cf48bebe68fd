"""Vectors for covers, and a cover written as its definition reads."""

from __future__ import annotations

import math

import numpy as np


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def walks(videos: int, length: int, width: int, step: float, seed: int = 0) -> np.ndarray:
    """float16 [videos * length, width]: each video is a walk of small steps on the sphere."""
    rng = np.random.default_rng(seed)
    place = unit(rng.standard_normal((videos, width)))
    steps = []
    for _ in range(length):
        steps.append(place)
        place = unit(place + step * unit(rng.standard_normal(place.shape)))
    return np.stack(steps, axis=1).reshape(-1, width).astype(np.float16)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """The cosine of two float16 rows; sums without any rounding."""
    dot, xx, yy = (
        math.fsum(float(a) * float(b) for a, b in zip(u, v, strict=True)) for u, v in ((x, y), (x, x), (y, y))
    )
    return min(1.0, dot / math.sqrt(xx * yy))


def cover_by_definition(
    vectors: np.ndarray, threshold: float, priority: np.ndarray | None = None
) -> tuple[list[int], list[bool], list[float]]:
    """Cluster, representative, similarity of each row, by the definition and nothing else."""
    count = len(vectors)
    ranked = sorted(range(count), key=lambda i: (0 if priority is None else -priority[i], i))
    kept: list[int] = []
    for i in ranked:
        if all(cosine(vectors[i], vectors[k]) < threshold for k in kept):
            kept.append(i)
    cluster, similarity = [], []
    for i in range(count):
        best = (-2.0, 0)
        for number, k in enumerate(kept):
            if i == k:
                best = (1.0, -number)
                break
            best = max(best, (cosine(vectors[i], vectors[k]), -number))
        cluster.append(-best[1])
        similarity.append(best[0])
    return cluster, [i in set(kept) for i in range(count)], similarity
