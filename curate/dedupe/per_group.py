"""Covers of many small groups at once: every video, or every track, on its own, at several thresholds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows
from curate.dedupe.greedy import greedy
from curate.dedupe.prefilter import summing_error
from curate.dedupe.threads import Map

LARGE = 1024
"""Groups of more rows than this are covered one by one."""

PAIRS = 1 << 20
"""Pairs of rows that are compared at once."""


def kept_per_group(
    rows: Rows, order: NDArray[np.int64], group: NDArray[np.int64], thresholds: tuple[float, ...], each: Map = map
) -> NDArray[np.bool_]:
    """Who is a representative where every group is covered by itself.

    Args:
        rows: [N] unit rows.
        order: int64 [N], rows in the order in which they are visited.
        group: int64 [N], group of each row, from 0.
        thresholds: cosines.
        each: maps a function, in as many threads as there are.

    Returns:
        bool [thresholds, N].
    """
    kept = np.ones((len(thresholds), len(rows)), np.bool_)
    by_group = order[np.argsort(group[order], kind="stable")]  # groups one after another, each in order
    sizes = np.bincount(group, minlength=1)
    starts = np.cumsum(sizes) - sizes
    for number in np.flatnonzero(sizes > LARGE).tolist():
        members = by_group[starts[number] : starts[number] + sizes[number]]
        for k, threshold in enumerate(thresholds):
            kept[k, members] = greedy(rows, members, threshold, each).flags[members]
    bunches = list(_alike_in_size(np.where(sizes > LARGE, 0, sizes)))

    def settle(bunch: int) -> None:
        chosen = bunches[bunch]
        width = int(sizes[chosen].max())
        place = np.minimum(np.arange(width)[None, :], sizes[chosen][:, None] - 1) + starts[chosen][:, None]
        real = np.arange(width)[None, :] < sizes[chosen][:, None]
        members = by_group[place]
        alive = _settle(rows, members, real, thresholds)
        kept[:, members[real]] = alive[:, real]

    for _ in each(settle, range(len(bunches))):
        pass
    return kept


def _alike_in_size(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Groups of two and more rows, in bunches of like size that hold at most `PAIRS` pairs."""
    by_size = np.argsort(sizes, kind="stable")
    by_size = by_size[sizes[by_size] > 1]
    start = 0
    while start < len(by_size):
        smallest = int(sizes[by_size[start]])
        stop = int(np.searchsorted(sizes[by_size], smallest * 5 // 4, side="right"))
        widest = int(sizes[by_size[stop - 1]])
        stop = min(stop, start + max(1, PAIRS // widest**2))
        yield by_size[start:stop]
        start = stop


def _settle(
    rows: Rows, members: NDArray[np.int64], real: NDArray[np.bool_], thresholds: tuple[float, ...]
) -> NDArray[np.bool_]:
    """bool [thresholds, groups, width]: the greedy cover of each group, all thresholds together."""
    unit = rows.unit(members.ravel()).reshape(*members.shape, rows.width)
    products = unit @ unit.transpose(0, 2, 1)
    slack = summing_error(rows.width)
    width = members.shape[1]
    later = np.triu(np.ones((width, width), np.bool_), 1)[None] & real[:, None, :] & real[:, :, None]
    near = np.empty((len(thresholds), *products.shape), np.bool_)
    for k, threshold in enumerate(thresholds):
        near[k] = (products >= threshold) & later
        unsure = np.flatnonzero((np.abs(products - threshold) <= slack) & later)
        which, left, right = np.unravel_index(unsure, products.shape)
        near[k].ravel()[unsure] = rows.cosines(members[which, left], members[which, right]) >= threshold
    alive = np.broadcast_to(real, (len(thresholds), *real.shape)).copy()
    for head in range(width - 1):
        alive[:, :, head + 1 :] &= ~(near[:, :, head, head + 1 :] & alive[:, :, head, None])
    return alive
