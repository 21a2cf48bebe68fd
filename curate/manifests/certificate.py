"""The certificate of a cover, derived from vectors alone by plain products, without the code that makes covers.

Products are float32; whatever lies within their rounding of a bound is computed again in float64, where sums of
products of float16 numbers are exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK = 2048
"""Rows that meet all representatives at once, `COLUMNS` of them at a time."""

COLUMNS = 8192

Complaint = tuple[int, str]
"""A row, and what is wrong with it."""


def complaints(
    vectors: NDArray[np.float16],
    order: NDArray[np.int64],
    threshold: float,
    cluster: NDArray[np.int64],
    representative: NDArray[np.bool_],
    similarity: NDArray[np.float32],
) -> Iterator[Complaint]:
    """Whatever keeps a table from being the greedy cover of the vectors at a threshold.

    Args:
        vectors: float16 [N, D], unit rows.
        order: int64 [N], rows in the order in which faces are met.
    """
    kept = order[representative[order]]
    yield from _numbering(cluster, kept)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    number = np.full(int(max(cluster.max(initial=-1), len(kept))) + 1, -1, np.int64)
    number[cluster[kept]] = np.arange(len(kept))
    own = number[np.maximum(cluster, 0)]
    for row in np.flatnonzero(own < 0).tolist():
        yield row, f"belongs to cluster {cluster[row]}, which has no representative"
    own = np.maximum(own, 0)
    reps = _unit(vectors[kept])
    for start in range(0, len(vectors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(vectors)))
        if not len(kept):
            yield from ((int(row), "has no representative") for row in rows)
            continue
        nearest, covered, alike = _meet(vectors, rows, kept, reps, place, threshold)
        mine = _cosine(vectors, rows, kept[own[rows]])
        yield from _judge(
            rows, kept, representative[rows], own[rows], nearest, covered, alike, mine, similarity[rows], threshold
        )


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


def _meet(
    vectors: NDArray[np.float16],
    rows: NDArray[np.int64],
    kept: NDArray[np.int64],
    reps: NDArray[np.float32],
    place: NDArray[np.int64],
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """For each row: its most similar representative (the earlier of equals), whether a better face that stays is
    near, and another representative that is near (-1: none).
    """
    slack = (vectors.shape[1] + 16) * 2.0**-23
    unit = _unit(vectors[rows])
    highest = np.full(len(rows), -2.0)
    nearest = np.zeros(len(rows), np.int64)
    covered = np.zeros(len(rows), np.bool_)
    alike = np.full(len(rows), -1, np.int64)
    for first in range(0, len(kept), COLUMNS):
        products = unit @ reps[first : first + COLUMNS].T
        top = products.max(axis=1)
        bar = np.minimum(np.maximum(top, highest), threshold)
        i, j = np.nonzero(products >= (bar - 2 * slack)[:, None])
        maybe = (products[i, j] >= top[i] - 2 * slack) | (products[i, j] >= threshold - slack)
        i, j = i[maybe], j[maybe] + first
        true = _cosine(vectors, rows[i], kept[j])
        near = true >= threshold
        covered[i[near & (place[kept[j]] < place[rows[i]])]] = True
        other = near & (kept[j] != rows[i])
        alike[i[other]] = j[other]
        best = np.lexsort((j, -true, i))
        heads = best[np.flatnonzero(np.diff(i[best], prepend=-1))]
        better = heads[true[heads] > highest[i[heads]]]
        highest[i[better]], nearest[i[better]] = true[better], j[better]
    return nearest, covered, alike


def _judge(
    rows: NDArray[np.int64],
    kept: NDArray[np.int64],
    representative: NDArray[np.bool_],
    own: NDArray[np.int64],
    nearest: NDArray[np.int64],
    covered: NDArray[np.bool_],
    alike: NDArray[np.int64],
    mine: NDArray[np.float64],
    told: NDArray[np.float32],
    threshold: float,
) -> Iterator[Complaint]:
    dropped = ~representative
    for k in np.flatnonzero(dropped & ~covered).tolist():
        yield int(rows[k]), "is left out, but no better face that stays is near"
    for k in np.flatnonzero(dropped & (mine < threshold)).tolist():
        yield int(rows[k]), f"is not near its own representative (cosine {mine[k]:.6f})"
    for k in np.flatnonzero(representative & (alike >= 0)).tolist():
        yield int(rows[k]), f"stays although row {int(kept[alike[k]])}, which stays too, is near"
    for k in np.flatnonzero(dropped & (own != nearest)).tolist():
        yield int(rows[k]), f"belongs to cluster {own[k]}, but is more similar to cluster {nearest[k]}"
    for k in np.flatnonzero(told != np.where(representative, 1.0, mine).astype(np.float32)).tolist():
        yield int(rows[k]), f"has similarity {told[k]:.6f} written down, but {mine[k]:.6f} to its representative"


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
