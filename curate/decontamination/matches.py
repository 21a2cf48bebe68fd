"""Which faces of a build match evaluation faces: the same picture, or the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from curate.errors import UsageError

BLOCK = 1 << 16
"""Faces of the build that are compared at once."""
QUERIES = 1024
"""Evaluation faces that are compared at once."""
COHORT = 2000
"""People of the build, drawn by chance, whose cosines to each other are those of strangers."""
FEWEST = 50
"""Pairs of strangers without which no threshold is derived."""


@dataclass(frozen=True)
class Nearest:
    """The most similar evaluation face of each face of a build; all [N].

    Attributes:
        query: int64, number of the evaluation face; cosine: float32; mirrored: bool, whether it is it in a mirror.
    """

    query: NDArray[np.int64]
    cosine: NDArray[np.float32]
    mirrored: NDArray[np.bool_]


def nearest(vectors: NDArray[np.float16], queries: NDArray[np.float32], mirrored: NDArray[np.float32]) -> Nearest:
    """Exact search.

    Args:
        vectors: [N, D], unit rows; may be a memory map.
        queries: [n, D]; mirrored: [n or 0, D], the same in a mirror.
    """
    count = len(vectors)
    found = Nearest(np.zeros(count, np.int64), np.full(count, -1, np.float32), np.zeros(count, np.bool_))
    for start in range(0, count, BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], np.float32)
        for side, asked in enumerate((queries, mirrored)):
            for first in range(0, len(asked), QUERIES):
                products = block @ asked[first : first + QUERIES].T
                best = products.argmax(axis=1)
                cosine = products[np.arange(len(block)), best]
                better = start + np.flatnonzero(cosine > found.cosine[start : start + BLOCK])
                found.query[better], found.cosine[better] = first + best[better - start], cosine[better - start]
                found.mirrored[better] = bool(side)
    return found


def identity_threshold(people: NDArray[np.float16], comparisons: int, least: float, seed: int) -> tuple[float, float]:
    """The cosine from which at most one pair of strangers is expected in so many comparisons.

    Cosines of strangers are close to normal; their middle and upper spread are taken from pairs of people of the build.

    Args:
        people: [P, D], one vector of each.
        least: cosine that is demanded in any case.

    Returns:
        The threshold, and the number of false matches that are expected at it.

    Raises:
        UsageError: there are too few people to go by.
    """
    chosen = np.random.default_rng(seed).permutation(len(people))[:COHORT]
    vectors = np.asarray(people[np.sort(chosen)], np.float32)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    if len(cosines) < FEWEST:
        raise UsageError(
            f"--identity: the build shows {len(people)} people, too few to say how similar strangers are; "
            "compare pictures alone, or give --identity-threshold"
        )
    middle, high = np.quantile(cosines, [0.5, 0.99])
    spread = max(float(high - middle) / float(norm.ppf(0.99)), 1e-3)
    threshold = max(least, float(middle) + spread * float(norm.isf(1 / max(comparisons, 2))))
    return min(threshold, 1.0), comparisons * float(norm.sf((threshold - middle) / spread))
