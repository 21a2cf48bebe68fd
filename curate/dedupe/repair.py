"""Representatives that were found among some rows alone, made those of all: what is wrong about them is done again.

By the criterion of `curate.dedupe.covers`, representatives of which no two are near, and of which an earlier one is
near to every other row, are those of the greedy cover. Those of parts, put together, fulfil the second half; so do
those of a smaller collection for its rows. The cover of the representatives alone fulfils the first, and where none is
*lost* to one of another part, that is all. Else rows that stood near a lost one are looked at again; whoever has no
earlier near representative any more joins in, until nobody is left over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.assignment import Assignment
from curate.dedupe.cosine import Rows
from curate.dedupe.greedy import greedy, prefilter_for
from curate.dedupe.pivots import PivotTable, find_pivots
from curate.dedupe.threads import Map

PUSH = 8192
"""Representatives that are pushed at once."""

MANY = 0.01
"""Share of the representatives of parts that are lost from which they are no help: too many rows would be looked at."""

ROUNDS = 3
"""After so many rounds too."""


class Repair:
    """Representatives of rows that are visited in an order, at a threshold.

    Args:
        place: int64 [N], where each row stands in the order.
        each: maps a function, in as many threads as there are.
        within: bool [N], the rows that take part; None: all.
    """

    def __init__(
        self,
        rows: Rows,
        place: NDArray[np.int64],
        threshold: float,
        each: Map,
        within: NDArray[np.bool_] | None = None,
    ) -> None:
        self.rows, self.place, self.threshold, self.each, self.within = rows, place, threshold, each, within
        self.prefilter = prefilter_for(rows, threshold)

    def greedy(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """The greedy cover of some rows by themselves, in order."""
        rows = self.rows.some(chosen)
        return chosen[greedy(rows, np.argsort(self.place[chosen]), self.threshold, self.each).representatives]

    def covered(self, chosen: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [chosen]: whether a row of `kept` that stands before is near."""
        assignment = Assignment(self.table(chosen), self.threshold, self.each, self.place[chosen], nearest=False)
        assignment.open(slice(None))
        self.push(assignment, kept, np.zeros(len(self.rows), np.int64))
        return assignment.covered

    def table(self, chosen: NDArray[np.int64]) -> PivotTable:
        """Pivots of some rows."""
        rows = self.rows if len(chosen) == len(self.rows) else self.rows.some(chosen)
        return find_pivots(rows, self.prefilter, self.each, (self.threshold,))

    def push(self, assignment: Assignment, kept: NDArray[np.int64], number: NDArray[np.int64]) -> None:
        """Assigns rows to representatives, in blocks; these are numbered as `number` says."""
        for start in range(0, len(kept), PUSH):
            fresh = kept[start : start + PUSH]
            assignment.push(self.rows.some(fresh), number[fresh], self.place[fresh])

    def finished(
        self,
        table: PivotTable,
        candidates: NDArray[np.int64],
        before: NDArray[np.int64],
        kept: NDArray[np.int64] | None = None,
        *,
        hurt: NDArray[np.bool_] | None = None,
        rounds: int | None = None,
    ) -> NDArray[np.int64] | None:
        """The representatives of all rows, in order; None where that took more rounds.

        Args:
            table: all rows.
            candidates: rows that are looked at.
            before: representatives of which each row that is no candidate has an earlier near one.
            kept: representatives of the candidates, if they are known.
            hurt: bool [N], rows that may lose theirs because of `kept`; None: any.
        """
        kept = self.greedy(candidates) if kept is None else kept
        while True:
            lost = before[~_marked(kept, len(self.rows))[before]]
            if not len(lost):
                return kept
            if rounds is not None:
                if not rounds:
                    return None
                rounds -= 1
            others = ~_marked(candidates, len(self.rows))
            if self.within is not None:
                others &= self.within
            if hurt is not None:
                others, hurt = others & hurt, None  # those of later rounds may stand by a row of any part
            near = Assignment(table, self.threshold, self.each, nearest=False)
            near.open(np.flatnonzero(others))
            self.push(near, lost, np.zeros(len(self.rows), np.int64))
            suspects = np.flatnonzero(near.covered)
            missing = suspects[~self.covered(suspects, kept)]
            if not len(missing):
                return kept
            candidates = np.concatenate((candidates, missing))
            before, kept = kept, self.greedy(candidates)


class Parts(NamedTuple):
    """Parts of a collection of N rows, each covered by itself.

    Attributes:
        part: int64 [N], part of each row.
        alone: bool [N], the representatives of the parts.
        kept: bool [N], the representatives of these, if they are known.
    """

    part: NDArray[np.int64]
    alone: NDArray[np.bool_]
    kept: NDArray[np.bool_] | None = None


def kept_of_parts(
    table: PivotTable, order: NDArray[np.int64], parts: Parts, threshold: float, each: Map
) -> NDArray[np.bool_] | None:
    """bool [N]: the representatives of the rows of an order, from those of parts of them.

    None where too many are lost: to cover all rows at once is cheaper then.
    """
    place = np.zeros(len(table.rows), np.int64)
    place[order] = np.arange(len(order))
    repair = Repair(table.rows, place, threshold, each, _marked(order, len(place)))
    candidates = np.flatnonzero(parts.alone)
    kept = repair.greedy(candidates) if parts.kept is None else np.flatnonzero(parts.kept)
    if len(candidates) - len(kept) > MANY * len(candidates):
        return None
    # A row's earlier near representative is one of its own part: at first, others lose nothing.
    lost = candidates[~_marked(kept, len(place))[candidates]]
    parted = _marked(parts.part[lost], int(parts.part.max(initial=-1)) + 1)
    found = repair.finished(table, candidates, candidates, kept, hurt=parted[parts.part], rounds=ROUNDS)
    return None if found is None else _marked(found, len(place))


def _marked(rows: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """bool [count]: which rows are named."""
    marks = np.zeros(count, np.bool_)
    marks[rows] = True
    return marks
