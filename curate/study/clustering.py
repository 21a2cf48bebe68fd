"""Rules of others that spread over the space: hierarchical k-means and k-centre; and the k-means that they need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]

ROUNDS = 20
PER_CELL = 20
"""Faces of a cell of the lowest level, on average; as many cells of a level make one of the next."""
BLOCK = 8192


def kmeans(vectors: Floats, count: int, seed: int) -> tuple[Rows, Floats]:
    """Spherical k-means: cells of unit rows by largest cosine, centres are unit sums (float64).

    A centre that loses all its rows moves to the row that is worst served.

    Returns:
        int64 [M], the cell of each row, and float32 [count, D], the centres.
    """
    count = min(count, len(vectors))
    generator = np.random.default_rng(seed)
    centres = vectors[np.sort(generator.choice(len(vectors), count, replace=False))].copy()
    cell = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        before = cell
        cell, cosine = _nearest(vectors, centres)
        if np.array_equal(cell, before):
            break
        sums = np.zeros((count, vectors.shape[1]))
        np.add.at(sums, cell, vectors)
        empty = np.flatnonzero(np.bincount(cell, minlength=count) == 0)
        sums[empty] = vectors[np.argsort(cosine, kind="stable")[: len(empty)]]
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-12), centres).astype(np.float32)
    return _nearest(vectors, centres)[0], centres


def hierarchical(vectors: Floats, keys: NDArray[np.uint64], count: int, seed: int) -> Rows:
    """Cells of cells, drawn from as evenly as they allow (Vo et al. 2024, section 3), no face twice.

    The number wanted is shared out among the cells of the highest level, each share among its cells, and so on; a cell
    that holds fewer gives all it has. In the lowest cells faces are drawn at random. (The authors repeat pictures of
    small cells instead, and resample centres while clustering; here the size is exact and nothing repeats.)

    Args:
        vectors: float32 [M, D], unit rows.
        keys: uint64 [M], random keys of the faces.
        count: faces to keep.
    """
    levels: list[Rows] = []
    centres = vectors
    while len(centres) > PER_CELL:
        own, centres = kmeans(centres, max(1, round(len(centres) / PER_CELL)), seed)
        levels.append(own)
        if len(centres) == 1:
            break
    order = np.argsort(keys, kind="stable")
    return order[_drawn([level[order] if depth == 0 else level for depth, level in enumerate(levels)], count)]


def _drawn(levels: list[Rows], count: int) -> Rows:
    """Positions of what is drawn, faces being in random order."""
    total = len(levels[0]) if levels else count
    sizes = [np.ones(total, np.int64)]
    widths = [*(len(above) for above in levels[1:]), *(int(level.max()) + 1 for level in levels[-1:])]
    for level, width in zip(levels, widths, strict=True):  # faces below each cell, level by level
        sizes.append(np.bincount(level, sizes[-1], width).astype(np.int64))
    shares = share_out(sizes[-1], count)
    for depth in range(len(levels) - 1, -1, -1):
        level, below = levels[depth], sizes[depth]
        order = np.argsort(level, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(level[order])) + 1)
        lower = np.zeros(len(level), np.int64)
        for members in groups:
            lower[members] = share_out(below[members], int(shares[level[members[0]]]))
        shares = lower
    return np.flatnonzero(shares)


def k_centre(vectors: Floats, count: int, first: int) -> Rows:
    """Farthest first: each next face is the one least like all before it (Gonzalez 1985).

    The largest distance of any face to the kept ones is at most twice the least that is possible.
    """
    kept = np.empty(count, np.int64)
    nearest = np.full(len(vectors), -2.0, np.float32)
    item = first
    for place in range(count):
        kept[place] = item
        np.maximum(nearest, vectors @ vectors[item], out=nearest)
        nearest[item] = 4.0  # never again
        item = int(np.argmin(nearest))
    return kept


def share_out(sizes: Rows, count: int) -> Rows:
    """`count` items from holders of so many each, as evenly as they allow; what cannot be split goes to the first.

    The holders that have less than the level give all, the others the level or one more.
    """
    order = np.argsort(sizes, kind="stable")
    shares = np.zeros(len(sizes), np.int64)
    left = count
    for place, holder in enumerate(order.tolist()):
        rest = order[place:]
        if int(sizes[holder]) * len(rest) >= left:
            level, more = divmod(left, len(rest))
            shares[rest] = level
            able = np.sort(rest[sizes[rest] > level])
            shares[able[:more]] += 1
            return shares
        shares[holder] = sizes[holder]
        left -= int(sizes[holder])
    return shares


def _nearest(vectors: Floats, centres: Floats) -> tuple[Rows, Floats]:
    cell = np.empty(len(vectors), np.int64)
    cosine = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ centres.T
        cell[start : start + BLOCK] = products.argmax(axis=1)
        cosine[start : start + BLOCK] = products.max(axis=1)
    return cell, cosine
