"""The certificate of a cover, derived from vectors alone by plain products, without the code that makes covers.

Products are float32; whatever lies within their rounding of a bound is computed again in float64, where sums of
products of float16 numbers are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.dedupe.covers import Cover

BLOCK = 2048
"""Rows that meet all representatives at once, `COLUMNS` of them at a time."""

COLUMNS = 8192

Complaint = tuple[int, str]
"""A row, and what is wrong with it."""


def complaints(
    vectors: NDArray[np.float16], order: NDArray[np.int64], threshold: float, stored: Cover
) -> Iterator[Complaint]:
    """Whatever keeps a table from being the greedy cover of the vectors at a threshold.

    Args:
        vectors: float16 [N, D], unit rows.
        order: int64 [N], rows in the order of faces, better ones first.
        stored: what the table says.
    """
    cluster = stored.cluster
    kept = order[stored.representative[order]]
    yield from _numbering(cluster, kept)
    number = np.full(int(max(cluster.max(initial=-1), len(kept))) + 1, -1, np.int64)
    number[cluster[kept]] = np.arange(len(kept))
    own = number[np.maximum(cluster, 0)]
    for row in np.flatnonzero(own < 0).tolist():
        yield row, f"belongs to cluster {cluster[row]}, which has no representative"
    if not len(kept):
        yield from ((row, "has no representative") for row in range(len(vectors)))
        return
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    check = _Check(vectors, place, threshold, stored, kept, _unit(vectors[kept]))
    for start in range(0, len(vectors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(vectors)))
        yield from check.judge(rows, np.maximum(own[rows], 0))


def order_of_faces(faces: pa.Table) -> NDArray[np.int64]:
    """Rows of a table with `face_id` and `quality`: better quality first, ties by face_id."""
    by_id = np.argsort(np.asarray(faces["face_id"].to_pylist(), dtype=object), kind="stable")
    found: NDArray[np.int64] = by_id[np.argsort(-faces["quality"].to_numpy()[by_id], kind="stable")]
    return found


def _numbering(cluster: NDArray[np.int64], kept: NDArray[np.int64]) -> Iterator[Complaint]:
    if not len(kept):
        return
    wrong = np.flatnonzero(cluster[kept] != np.arange(len(kept)))
    if len(wrong):
        first = int(wrong[0])
        yield (
            int(kept[first]),
            f"is representative {first} in the order of faces, but of cluster {cluster[kept[first]]}",
        )


@dataclass(frozen=True)
class _Nearest:
    """What plain products say of n rows.

    Attributes:
        nearest: int64 [n], the most similar representative, the earlier of equals.
        covered: bool [n], whether a better face that stays is near.
        alike: int64 [n], another representative that is near; -1: none.
    """

    nearest: NDArray[np.int64]
    covered: NDArray[np.bool_]
    alike: NDArray[np.int64]


@dataclass(frozen=True)
class _Check:
    """A stored cover of N rows and what it is checked with.

    Attributes:
        place: int64 [N], where each row stands in the order of faces.
        kept: int64 [R], rows of the representatives, in order; `unit`: float32 [R, D], their unit vectors.
    """

    vectors: NDArray[np.float16]
    place: NDArray[np.int64]
    threshold: float
    stored: Cover
    kept: NDArray[np.int64]
    unit: NDArray[np.float32]

    def judge(self, rows: NDArray[np.int64], own: NDArray[np.int64]) -> Iterator[Complaint]:
        """What is wrong with some rows; `own` says which of `kept` each belongs to."""
        found = self.meet(rows)
        representative, written = self.stored.representative[rows], self.stored.similarity[rows]
        mine = _cosine(self.vectors, rows, self.kept[own])
        dropped = ~representative
        for k in np.flatnonzero(dropped & ~found.covered).tolist():
            yield int(rows[k]), "is left out, but no better face that stays is near"
        for k in np.flatnonzero(dropped & (mine < self.threshold)).tolist():
            yield int(rows[k]), f"is not near its own representative (cosine {mine[k]:.6f})"
        for k in np.flatnonzero(representative & (found.alike >= 0)).tolist():
            yield int(rows[k]), f"stays although row {int(self.kept[found.alike[k]])}, which stays too, is near"
        for k in np.flatnonzero(dropped & (own != found.nearest)).tolist():
            yield int(rows[k]), f"belongs to cluster {own[k]}, but is more similar to cluster {found.nearest[k]}"
        for k in np.flatnonzero(written != np.where(representative, 1.0, mine).astype(np.float32)).tolist():
            yield int(rows[k]), f"has similarity {written[k]:.6f} written down, but {mine[k]:.6f} to its representative"

    def meet(self, rows: NDArray[np.int64]) -> _Nearest:
        """Compares some rows with all representatives."""
        slack = (self.vectors.shape[1] + 16) * 2.0**-23
        unit = _unit(self.vectors[rows])
        highest = np.full(len(rows), -2.0)
        nearest = np.zeros(len(rows), np.int64)
        covered = np.zeros(len(rows), np.bool_)
        alike = np.full(len(rows), -1, np.int64)
        for first in range(0, len(self.kept), COLUMNS):
            products = unit @ self.unit[first : first + COLUMNS].T
            top = products.max(axis=1)
            bar = np.minimum(np.maximum(top, highest), self.threshold)
            i, j = np.nonzero(products >= (bar - 2 * slack)[:, None])
            maybe = (products[i, j] >= top[i] - 2 * slack) | (products[i, j] >= self.threshold - slack)
            i, j = i[maybe], j[maybe] + first
            true = _cosine(self.vectors, rows[i], self.kept[j])
            near = true >= self.threshold
            covered[i[near & (self.place[self.kept[j]] < self.place[rows[i]])]] = True
            other = near & (self.kept[j] != rows[i])
            alike[i[other]] = j[other]
            best = np.lexsort((j, -true, i))
            heads = best[np.flatnonzero(np.diff(i[best], prepend=-1))]
            better = heads[true[heads] > highest[i[heads]]]
            highest[i[better]], nearest[i[better]] = true[better], j[better]
        return _Nearest(nearest, covered, alike)


def _unit(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    rows = vectors.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN and zero rows: nothing is near to them
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _cosine(vectors: NDArray[np.float16], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.empty(len(left))
    for start in range(0, len(left), BLOCK):
        here = slice(start, start + BLOCK)
        a, b = vectors[left[here]].astype(np.float64), vectors[right[here]].astype(np.float64)
        dot, aa, bb = (np.einsum("nd,nd->n", u, v) for u, v in ((a, b), (a, a), (b, b)))
        with np.errstate(invalid="ignore", divide="ignore"):
            found[here] = np.minimum(dot / np.sqrt(aa * bb), 1.0)
    return found
