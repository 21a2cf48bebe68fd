"""Rules of others that drop what is alike: SemDeDup, and connected components of a neighbour graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.study.clustering import kmeans

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]

PER_CELL = 500
"""Faces a cell of SemDeDup on average. (Its authors' 50,000 cells for 440 M pictures hold 9,000 each.)"""
NEIGHBOURS = 32
"""Neighbours of a face in the graph whose components are taken."""
BLOCK = 2048


def semdedup(vectors: Floats, count: int | None, threshold: float | None, seed: int) -> Rows:
    """SemDeDup as its authors released it (Abbas et al. 2023, algorithm 1).

    Faces are put into cells by spherical k-means; in a cell the farthest from its centre come first, and a face goes
    if its cosine to any earlier one, dropped or not, is above 1 - eps. With `count` that eps is taken which leaves so
    many (of faces at the same cosine, those earlier in the build stay).

    Args:
        vectors: float32 [M, D], unit rows.
        count: faces to keep; None: as the threshold says.
        threshold: 1 - eps.

    Returns:
        int64 [K], what is kept.
    """
    cell, centres = kmeans(vectors, max(1, round(len(vectors) / PER_CELL)), seed)
    worst = np.full(len(vectors), -1.0, np.float32)
    for number in range(len(centres)):
        members = np.flatnonzero(cell == number)
        members = members[np.argsort(vectors[members] @ centres[number], kind="stable")]
        for start in range(0, len(members), BLOCK):
            part = members[start : start + BLOCK]
            products = vectors[part] @ vectors[members[: start + len(part)]].T
            products[np.arange(len(products[0]))[None, :] >= (start + np.arange(len(part)))[:, None]] = -1.0
            worst[part] = products.max(axis=1, initial=-1.0)
    if count is None:
        return np.flatnonzero(worst <= _needed(threshold))
    return np.argsort(worst, kind="stable")[:count]


def components(vectors: Floats, rank: Rows, count: int | None, threshold: float | None) -> Rows:
    """The best face of each connected component of the neighbour graph (the rule behind DINOv2's LVD-142M).

    With `count` the edges are taken from the strongest on until so many components are left.

    Args:
        vectors: float32 [M, D], unit rows.
        rank: int64 [M], higher for better faces.
        count: components; None: as the threshold says.

    Returns:
        int64 [K], one face a component.

    Raises:
        UsageError: even with all edges of the graph there are more components than `count`.
    """
    left, right, cosine = _edges(vectors)
    if count is None:
        strong = cosine >= _needed(threshold)
        left, right = left[strong], right[strong]
    parent = np.arange(len(vectors))
    remaining = len(vectors)
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        if count is not None and remaining == count:
            break
        first, second = _root(parent, a), _root(parent, b)
        if first != second:
            parent[second] = first
            remaining -= 1
    if count is not None and remaining > count:
        raise UsageError(f"components of {count} faces cannot be had: the graph falls into {remaining}")
    roots = np.array([_root(parent, i) for i in range(len(vectors))])
    order = np.lexsort((-rank, roots))
    return order[np.flatnonzero(np.diff(roots[order], prepend=-1))].astype(np.int64)


def _edges(vectors: Floats) -> tuple[Rows, Rows, Floats]:
    """Edges of the graph of nearest neighbours, strongest first."""
    width = min(NEIGHBOURS, len(vectors) - 1)
    if width < 1:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, np.float32)
    found, cosines = [], []
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ vectors.T
        own = np.arange(len(products))
        products[own, start + own] = -2.0
        near = np.argpartition(products, -width, axis=1)[:, -width:]
        found.append(near)
        cosines.append(np.take_along_axis(products, near, axis=1))
    right, cosine = np.concatenate(found).ravel(), np.concatenate(cosines).ravel()
    left = np.repeat(np.arange(len(vectors)), width)
    order = np.argsort(-cosine, kind="stable")
    return left[order], right[order], cosine[order]


def _root(parent: Rows, item: int) -> int:
    root = item
    while parent[root] != root:
        root = int(parent[root])
    while parent[item] != root:  # so that the next look is short
        parent[item], item = root, int(parent[item])
    return root


def _needed(threshold: float | None) -> float:
    if threshold is None:
        raise UsageError("faces.threshold or faces.size is needed to know how many faces are kept")
    return threshold
