"""What else deduplicates vectors, the floor, and what each keeps and loses."""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
import scipy.sparse
import torch
from covers_work import Vectors, unit
from numpy.typing import NDArray

from curate.dedupe.covers import cover

THRESHOLD = 0.9


class Kept(NamedTuple):
    """Who stays, and the row that stands for each (-1: the method does not say)."""

    kept: NDArray[np.bool_]
    stands: NDArray[np.int64]


def normalised(vectors: Vectors) -> NDArray[np.float32]:
    """float32 rows of length 1, as FAISS takes them."""
    rows = vectors.astype(np.float32)
    faiss.normalize_L2(rows)
    return rows


def ours(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """`curate.cover`."""
    found = cover(vectors, THRESHOLD, priority)
    heads = np.empty(int(found.representative.sum()), np.int64)
    heads[found.cluster[found.representative]] = np.flatnonzero(found.representative)
    return Kept(found.representative, heads[found.cluster])


def exact(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """All pairs by FAISS, then the greedy over the lists."""
    rows = normalised(vectors)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    begins, near = [np.zeros(1, np.int64)], []
    for start in range(0, len(rows), 4096):
        limits, _, found = index.range_search(rows[start : start + 4096], THRESHOLD)
        begins.append(limits[1:].astype(np.int64) + begins[-1][-1])
        near.append(found.astype(np.int32))
    begin, neighbours = np.concatenate(begins), np.concatenate(near)
    kept, out = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for row in np.argsort(-priority, kind="stable").tolist():
        if not out[row]:
            kept[row] = True
            out[neighbours[begin[row] : begin[row + 1]]] = True
    heads = faiss.IndexFlatIP(rows.shape[1])
    heads.add(rows[kept])
    return Kept(kept, np.flatnonzero(kept)[heads.search(rows, 1)[1][:, 0]])


def semdedup(vectors: Vectors, priority: NDArray[np.float64], corrected: bool = False) -> Kept:
    """PivotTable of spherical k-means; inside a cell, an item goes if its highest cosine to an earlier one is near."""
    rows = normalised(vectors)
    cells = max(1, int(np.sqrt(len(rows))))
    means = faiss.Kmeans(rows.shape[1], cells, niter=10, spherical=True, seed=1, min_points_per_centroid=1)
    means.train(rows)
    cell = means.index.search(rows, 1)[1][:, 0]
    order = np.lexsort((-priority, cell))
    kept = np.zeros(len(rows), bool)
    for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        own = torch.from_numpy(rows[members])
        near = torch.triu(own @ own.T, diagonal=1) >= THRESHOLD
        if not corrected:
            kept[members] = ~near.any(dim=0).numpy()
            continue
        table, alive = near.numpy(), np.ones(len(members), bool)
        for place in np.flatnonzero(table.any(axis=1)).tolist():
            if alive[place]:
                alive &= ~table[place]
        kept[members] = alive
    return Kept(kept, np.full(len(rows), -1))


def components(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """Connected components of the k-NN graph; the best of each stays."""
    rows = normalised(vectors)
    cells = max(1, int(np.sqrt(len(rows))))
    index = faiss.index_factory(rows.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[np.random.default_rng(0).permutation(len(rows))[: 40 * cells]])
    index.add(rows)
    index.nprobe = 8
    cosine, found = index.search(rows, min(32, len(rows)))
    left, place = np.nonzero((cosine >= THRESHOLD) & (found >= 0))
    graph = scipy.sparse.coo_matrix((np.ones(len(left), bool), (left, found[left, place])), shape=(len(rows),) * 2)
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    order = np.argsort(-priority, kind="stable")
    best = order[np.unique(group[order], return_index=True)[1]]
    kept = np.zeros(len(rows), bool)
    kept[best] = True
    return Kept(kept, best[group])


def floor(vectors: Vectors, kept: NDArray[np.bool_]) -> None:
    """One product of everything with the representatives, in blocks."""
    rows = torch.from_numpy(vectors.astype(np.float32))
    heads = rows[torch.from_numpy(kept)]
    out = torch.empty(2048, len(heads))
    for start in range(0, len(rows), 2048):
        block = rows[start : start + 2048]
        torch.mm(block, heads.T, out=out[: len(block)])


def quality(vectors: Vectors, found: Kept) -> dict[str, int]:
    """What is lost, alike and chained, by float64 cosines wherever float32 might be wrong."""
    rows = torch.from_numpy(unit(vectors.astype(np.float32)))
    heads = np.flatnonzero(found.kept)
    columns = rows[torch.from_numpy(heads)]
    lost = alike = 0
    for start in range(0, len(rows), 1024):
        products = rows[start : start + 1024] @ columns.T
        near = products >= THRESHOLD
        i, j = torch.nonzero((products - THRESHOLD).abs() < 1e-5, as_tuple=True)
        near[i, j] = torch.from_numpy(cosines(vectors, start + i.numpy(), heads[j.numpy()]) >= THRESHOLD)
        lost += int((~near.any(dim=1)).sum())
        alike += int(near[torch.from_numpy(found.kept[start : start + 1024])].sum())
    chained = 0
    if (found.stands >= 0).all():
        chained = int((cosines(vectors, np.arange(len(vectors)), found.stands) < THRESHOLD).sum())
    return {"kept": int(found.kept.sum()), "lost": lost, "alike": (alike - len(heads)) // 2, "chained": chained}


def cosines(vectors: Vectors, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 cosines of pairs of rows."""
    found = np.empty(len(left))
    for start in range(0, len(left), 8192):
        x, y = (vectors[index[start : start + 8192]].astype(np.float64) for index in (left, right))
        dots = np.einsum("nd,nd->n", x, y)
        found[start : start + 8192] = dots / np.sqrt(np.einsum("nd,nd->n", x, x) * np.einsum("nd,nd->n", y, y))
    return found
