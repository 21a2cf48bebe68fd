"""A cover that grows: faces are added, and only what they change is done again. The result is that from scratch.

Old faces keep their order among themselves, so what decided about them changes only where a new, better face takes the
place of an old representative. Where none does, the old representatives and those of the new faces that no earlier old
one is near to make the new cover at once. Else the cover of both is made and repaired (`curate.dedupe.repair`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.dedupe.assignment import Assignment
from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.covers import Cover, similarity
from curate.dedupe.order import order_of
from curate.dedupe.pivots import PivotTable
from curate.dedupe.repair import Repair
from curate.dedupe.threads import Map, pool
from curate.errors import UsageError


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
    with pool(threads, vectors) as each:
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
        self.repair = Repair(rows, place, threshold, each)

    def run(self, previous: Cover, old: NDArray[np.int64]) -> Cover:
        count = len(previous.cluster)
        table = self.repair.table(np.arange(len(self.rows)))
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
        self.repair.push(assignment, kept, number)
        assignment.close(np.flatnonzero(others))
        assignment.open(stays)
        self.repair.push(assignment, kept[~np.isin(kept, old)], number)
        flags = number >= 0
        return Cover(assignment.best, flags, similarity(assignment.cosine))

    def _representatives(self, table: PivotTable, old: NDArray[np.int64], new: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the representatives of all, in order."""
        added = self.repair.greedy(new[~self.repair.covered(new, old)])
        if not self.repair.covered(old, added).any():
            both = np.concatenate((old, added))
            return both[np.argsort(self.place[both])]
        candidates = np.concatenate((old, new))
        found = self.repair.finished(table, candidates, old)
        assert found is not None  # rounds are not counted
        return found
