"""The greedy cover from all pairs of near rows, where these are few (`curate.dedupe.pairs.cheapest`).

Who stays is a walk over the pairs; each other row then joins the most similar of its near rows that stay. Cells meet
cells, not representatives, which are many where little repeats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows
from curate.dedupe.pairs import find_pairs
from curate.dedupe.pivots import PivotTable
from curate.dedupe.threads import Map

AT_ONCE = 1 << 16
"""Pairs that a thread judges at once."""


def cover_by_pairs(
    table: PivotTable, order: NDArray[np.int64], threshold: float, each: Map
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """The cover of all rows of a table, which are visited in an order.

    Returns:
        int64 [N], number of each row's representative in the order; bool [N], the representatives; float64 [N], the
        cosine to the own one, of no meaning for representatives.
    """
    pairs = find_pairs(table, order, (threshold,), each)
    kept = pairs.kept_at(0)
    number = np.full(len(kept), -1, np.int64)
    stay = order[kept[order]]
    number[stay] = np.arange(len(stay))
    ends = kept[pairs.earlier], kept[pairs.later]
    members = np.concatenate((pairs.later[ends[0]], pairs.earlier[ends[1]]))
    heads = np.concatenate((pairs.earlier[ends[0]], pairs.later[ends[1]]))
    del pairs, ends
    by_member = np.argsort(members, kind="stable")
    member, head = members[by_member].astype(np.int64), heads[by_member].astype(np.int64)
    cosine = _cosines(table.rows, member, head, each)
    best = np.lexsort((number[head], -cosine, member))  # among equals the earlier
    best = best[np.diff(member, prepend=-1) > 0]  # the first of each member, which stand together as before
    own = np.full(len(kept), 2.0)
    own[member[best]] = cosine[best]
    number[member[best]] = number[head[best]]
    return number, kept, own


def _cosines(rows: Rows, left: NDArray[np.int64], right: NDArray[np.int64], each: Map) -> NDArray[np.float64]:
    """float64 [n]: the cosines of pairs of rows."""
    found = np.empty(len(left), np.float64)

    def judge(start: int) -> None:
        here = slice(start, start + AT_ONCE)
        found[here] = rows.cosines(left[here], right[here])
        rows.forget()

    for _ in each(judge, range(0, len(left), AT_ONCE)):
        pass
    return found
