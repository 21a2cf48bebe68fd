"""A cover that grows: faces are added, and only what they change is done again. The result is that from scratch.

Old faces keep their order among themselves, so what decided about them changes only where a new, better face takes the
place of an old representative. Where none does, the old representatives and those of the new faces that no earlier old
one is near to make the new cover at once. Else the cover of both is made, and the faces that stood near a
representative that is *lost* are looked at again; whoever has no earlier near representative any more joins in, until
nobody is left over (the criterion of `curate.dedupe.covers` then holds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.dedupe.assignment import Assignment
from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.covers import Cover, similarity
from curate.dedupe.greedy import greedy, prefilter_for
from curate.dedupe.order import order_of
from curate.dedupe.pivots import PivotTable, find_pivots
from curate.dedupe.threads import Map, pool
from curate.errors import UsageError

PUSH = 8192
"""Representatives that are pushed at once."""


def extend(
    previous: Cover,
    vectors: Any,
    threshold: float,
    priority: ArrayLike | None = None,
    threads: int | None = None,
) -> Cover:
    """The cover of more rows, from that of the first ones; equal to `curate.cover` of all.

    Args:
        previous: the cover of the first rows, at the same threshold.
        vectors: float16 or float32 [N, D], the old rows and then the new ones.
        priority: [N], as for `curate.cover`; the old rows stand in the same order as when `previous` was made.
        threads: how many to use; None: as many as torch uses.

    Raises:
        UsageError: as `curate.cover`; or `previous` has more rows, or its representatives stood in another order.
    """
    check_threshold(threshold)
    with pool(threads) as each:
        rows = check(vectors, each)
        order = order_of(priority, len(rows))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows))
        old = _old_representatives(previous, place)
        return _Extension(rows, place, threshold, each).run(previous, old)


def _old_representatives(previous: Cover, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the representatives so far, in order."""
    if len(previous.cluster) > len(place):
        raise UsageError(f"previous: covers {len(previous.cluster)} rows, there are {len(place)}; give all of them")
    flags = np.flatnonzero(previous.representative)
    old = np.empty(len(flags), np.int64)
    old[previous.cluster[flags]] = flags
    if (np.diff(place[old]) <= 0).any():
        raise UsageError("previous: was made in another order of faces; make the cover of all with curate.cover")
    return old


class _Extension:
    def __init__(self, rows: Rows, place: NDArray[np.int64], threshold: float, each: Map) -> None:
        self.rows, self.place, self.threshold, self.each = rows, place, threshold, each
        self.prefilter = prefilter_for(rows, threshold)

    def run(self, previous: Cover, old: NDArray[np.int64]) -> Cover:
        count = len(previous.cluster)
        table = self._table(np.arange(len(self.rows)))
        kept = self._representatives(table, old, np.arange(count, len(self.rows)))
        number = np.full(len(self.rows), -1, np.int64)
        number[kept] = np.arange(len(kept))
        assignment = Assignment(table, self.threshold, self.each)
        assignment.settle(kept, np.arange(len(kept)))
        # Old rows whose representative stays only have to meet the new ones, all others have to meet all.
        own = old[previous.cluster]
        stays = np.flatnonzero((number[own] >= 0) & (number[:count] < 0))
        assignment.best[stays] = number[own[stays]]
        assignment.cosine[stays] = self.rows.cosines(stays, own[stays])
        assignment.covered[stays] = True
        others = np.ones(len(self.rows), np.bool_)
        others[stays] = others[kept] = False
        assignment.open(np.flatnonzero(others))
        self._push(assignment, kept, number)
        assignment.close(np.flatnonzero(others))
        assignment.open(stays)
        self._push(assignment, kept[~np.isin(kept, old)], number)
        flags = number >= 0
        return Cover(assignment.best, flags, similarity(assignment.cosine))

    def _representatives(self, table: PivotTable, old: NDArray[np.int64], new: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the representatives of all, in order."""
        added = self._greedy(new[~self._covered(new, old)])
        if not self._covered(old, added).any():
            both = np.concatenate((old, added))
            return both[np.argsort(self.place[both])]
        candidates = np.concatenate((old, new))
        kept, before = self._greedy(candidates), old
        while True:
            lost = before[~np.isin(before, kept)]
            near = Assignment(table, self.threshold, self.each, nearest=False)
            near.open(np.setdiff1d(np.arange(len(self.rows)), candidates))
            self._push(near, lost, np.zeros(len(self.rows), np.int64))
            suspects = np.flatnonzero(near.covered)
            missing = suspects[~self._covered(suspects, kept)]
            if not len(missing):
                return kept
            candidates = np.concatenate((candidates, missing))
            before, kept = kept, self._greedy(candidates)

    def _greedy(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """The greedy cover of some rows by themselves, in order."""
        rows = self.rows.some(chosen)
        return chosen[greedy(rows, np.argsort(self.place[chosen]), self.threshold, self.each).representatives]

    def _covered(self, chosen: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [chosen]: whether a row of `kept` that stands before is near."""
        assignment = Assignment(self._table(chosen), self.threshold, self.each, self.place[chosen], nearest=False)
        assignment.open(slice(None))
        self._push(assignment, kept, np.zeros(len(self.rows), np.int64))
        return assignment.covered

    def _table(self, chosen: NDArray[np.int64]) -> PivotTable:
        rows = self.rows if len(chosen) == len(self.rows) else self.rows.some(chosen)
        return find_pivots(rows, self.prefilter, self.each, (self.threshold,))

    def _push(self, assignment: Assignment, kept: NDArray[np.int64], number: NDArray[np.int64]) -> None:
        """Assigns rows to representatives, in blocks; these are numbered as `number` says."""
        for start in range(0, len(kept), PUSH):
            fresh = kept[start : start + PUSH]
            assignment.push(self.rows.some(fresh), number[fresh], self.place[fresh])
