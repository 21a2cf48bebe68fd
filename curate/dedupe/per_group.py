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
        order: int64, rows in the order in which they are visited; others take no part.
        group: int64 [N], group of each row, from 0.
        thresholds: cosines.
        each: maps a function, in as many threads as there are.

    Returns:
        bool [thresholds, N].
    """
    kept = np.zeros((len(thresholds), len(rows)), np.bool_)
    kept[:, order] = True
    by_group = order[np.argsort(group[order], kind="stable")]  # groups one after another, each in order
    sizes = np.bincount(group[order], minlength=1)
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
    slack = np.float32(summing_error(rows.width))
    groups, width = real.shape
    alive = np.zeros((len(thresholds), groups * width), np.bool_)
    for k, threshold in enumerate(thresholds):
        near = products >= np.float32(threshold) + slack
        maybe = products >= np.float32(threshold) - slack
        if np.count_nonzero(maybe) > np.count_nonzero(near):
            unsure = np.flatnonzero(maybe & ~near)
            which, left, right = np.unravel_index(unsure, products.shape)
            near.ravel()[unsure] = rows.cosines(members[which, left], members[which, right]) >= threshold
        alive[k, _heads(near, real.sum(axis=1).tolist())] = True
    return alive.reshape(len(thresholds), groups, width)


def _heads(near: NDArray[np.bool_], sizes: list[int]) -> list[int]:
    """Rows, numbered over all groups, to which no earlier one of these is near.

    Args:
        near: bool [groups, width, width].
        sizes: rows of each group; others fill it up.
    """
    width = near.shape[1]
    packed = np.packbits(near, axis=2, bitorder="little")
    each, bits = packed.shape[2], packed.tobytes()
    heads = []
    for number, size in enumerate(sizes):
        left = (1 << size) - 1  # a bit a row; lowest is first
        while left:
            lowest = left & -left
            head = number * width + lowest.bit_length() - 1
            heads.append(head)
            left &= ~(int.from_bytes(bits[head * each : (head + 1) * each], "little") | lowest)
    return heads
