"""Assignment: representatives meet the rows of a collection, and each row keeps the most similar one.

Three proofs save most of the work (angles are those of the unit sphere, where the triangle inequality holds):

*final*   A row within half the threshold's angle of a representative has found its nearest: any other representative
          is further than the whole angle from that one, so further than half of it from the row.
*cell*    With pivot l of row x: angle(x, r) >= angle(l, r) - angle(x, l). A row without representative only cares for
          those within the threshold's angle, one that has a representative only for nearer ones. So one product with
          the pivot rules out whole cells (`curate.dedupe.pivots`).
*pair*    A product in low precision plus its error bound below the bar rules out a pair (`curate.dedupe.prefilter`).

What is left is decided by the cosine that defines the cover.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows, pair_cosines
from curate.dedupe.pivots import BLOCK, DENSE, SEGMENT, PivotTable, span
from curate.dedupe.prefilter import Loaded, summing_error
from curate.dedupe.threads import Map

GROUP = 16
"""Segments that one task takes."""

CROWDED = 2
"""Candidates a row from which a product in float32 is cheaper than judging all of them."""

FACING = 128
"""Rows of which such products are made at once: neighbours face much the same others."""

FEW = 0.7
"""Share of pivots that still matter below which the others are dropped."""

MARGIN = 1e-6
"""Cosines are blurred by this before they become angles: more than float64 rounding can do."""

DONE = np.float32(-10)
"""Radius of a row to which no further representative matters."""

NEVER = np.float32(4)
"""A bar that no cosine reaches."""


class Assignment:
    """The best representative of each row so far.

    Args:
        table: the rows.
        threshold: cosine from which a representative may take a row.
        each: maps a function, in as many threads as there are.
        place: int64 [N], the rows' places in the order of faces, where representatives come that may stand behind
            a row; None: all representatives that come stand before all rows that they may take.
        nearest: whether `best` is wanted; else a row is done as soon as it is covered, which is much cheaper, and
            `best` says no more than that.

    Attributes:
        best: int64 [N], number of the best representative so far; -1: none.
        cosine: float64 [N], the cosine to it; 2 for representatives.
        covered: bool [N], whether a representative that stands before the row is near.
    """

    def __init__(
        self,
        table: PivotTable,
        threshold: float,
        each: Map,
        place: NDArray[np.int64] | None = None,
        nearest: bool = True,
    ) -> None:
        self.table, self.rows, self.threshold, self.each, self.place = table, table.rows, threshold, each, place
        self.best = np.full(len(self.rows), -1, np.int64)
        self.cosine = np.full(len(self.rows), -1.0)
        self.covered = np.zeros(len(self.rows), np.bool_)
        self.final = float(np.sqrt((1 + threshold + MARGIN) / 2)) if threshold < 1 - MARGIN else 1.5
        self.nearest = nearest
        if not nearest:
            self.final = -1.0
        self.radius = np.full(len(self.rows), DONE)  # angle within which a representative matters
        self.pivots, self.blocks = np.arange(len(table.segment)), table.blocks  # those that still matter

    def open(self, rows: NDArray[np.int64] | slice) -> None:
        """Opens these rows to representatives that are more similar than the one they have."""
        self.pivots, self.blocks = np.arange(len(self.table.segment)), self.table.blocks  # dropped ones count again
        own = self.cosine[rows]
        self.radius[rows] = np.where(own < 0, angle(self.threshold), np.where(own >= self.final, DONE, angle(own)))

    def close(self, rows: NDArray[np.int64]) -> None:
        """Closes these rows to all further representatives."""
        self.radius[rows] = DONE

    def settle(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Marks rows as representatives with these numbers: no one takes them away from themselves."""
        self.best[rows], self.cosine[rows], self.covered[rows], self.radius[rows] = numbers, 2.0, True, DONE

    def push(self, fresh: Rows, numbers: NDArray[np.int64], place: NDArray[np.int64] | None = None) -> None:
        """Gives representatives the rows that they are near to and more similar to than the ones before.

        Args:
            fresh: representatives, in their order.
            numbers: int64, their numbers, ascending.
            place: int64, their places in the order of faces.
        """
        unit = fresh.unit(slice(None))
        loaded = self.table.prefilter.load(unit)
        meetings, reached = self._meetings(loaded)

        def work(begin: int) -> None:
            found = [
                self._candidates(begin + number, loaded, unit, columns, reached, place)
                for number, columns in enumerate(meetings[begin : begin + GROUP])
                if columns is None or len(columns)
            ]
            if found:
                members, columns = (np.concatenate(part) for part in zip(*found, strict=True))
                self._assign(members, columns, fresh, numbers, place)
            self.rows.walked(begin * SEGMENT, (begin + GROUP) * SEGMENT)

        for _ in self.each(work, range(0, len(meetings), GROUP)):
            pass
        self.rows.forget()

    def _meetings(self, loaded: Loaded) -> tuple[list[NDArray[np.int64] | None], NDArray[np.bool_]]:
        """What the cells let through.

        Returns:
            For each segment the new representatives that some of its pivots let through (None: all meet all); and
            bool [M], which pivots let any through: only rows of these need look.
        """
        table = self.table
        live = self.radius >= 0
        pivoted = live & (table.pivot >= 0)
        need = np.full(len(table.segment), DONE)
        np.maximum.at(need, table.pivot[pivoted], table.angle[pivoted] + self.radius[pivoted])
        bar = np.where(need >= 0, np.cos(np.minimum(need, np.pi)) - np.float32(MARGIN), NEVER)
        self._drop_pivots(need >= 0)
        without = (
            np.add.reduceat(live & ~pivoted, np.arange(0, len(live), SEGMENT)) if len(live) else np.empty(0, np.int64)
        )
        everything = [np.flatnonzero(without)]
        reached = np.zeros(len(need), np.bool_)

        def meet(number: int) -> tuple[NDArray[np.int64], bool]:
            pivots = self.pivots[number * BLOCK : (number + 1) * BLOCK]
            found = table.prefilter.where_above(self.blocks[number], loaded, bar[pivots], DENSE)
            if found is None:
                return np.unique(table.segment[pivots[need[pivots] >= 0]]), False
            which, column = pivots[found[0]], found[1]
            reached[which] = True
            return np.unique(table.segment[which] * loaded.count + column), True

        pairs: list[NDArray[np.int64]] = []
        for found, sparse in self.each(meet, range(len(self.blocks))):
            (pairs if sparse else everything).append(found)
        both = np.unique(np.concatenate(pairs)) if pairs else np.empty(0, np.int64)
        segment, column = np.divmod(both, max(loaded.count, 1))
        bounds = np.searchsorted(segment, np.arange(table.segments + 1))
        columns: list[NDArray[np.int64] | None] = [column[start:stop] for start, stop in itertools.pairwise(bounds)]
        for number in np.concatenate(everything).tolist():
            columns[number] = None
        return columns, reached

    def _drop_pivots(self, active: NDArray[np.bool_]) -> None:
        """Packs the pivots of rows to which something still matters, once they have become few."""
        stay = np.flatnonzero(active[self.pivots])
        if len(stay) > FEW * len(self.pivots):
            return
        self.pivots, self.blocks = self.pivots[stay], self.blocks.only(stay)

    def _candidates(
        self,
        segment: int,
        loaded: Loaded,
        unit: NDArray[np.float32],
        columns: NDArray[np.int64] | None,
        reached: NDArray[np.bool_],
        place: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of a segment, ascending, with the new representatives that may be their best or cover them first."""
        here = span(segment, len(self.rows))
        look = self.radius[here] >= 0
        if columns is not None:
            look &= reached[self.table.pivot[here]]
        rows = here.start + np.flatnonzero(look)
        if not len(rows):
            return rows, rows
        bar = np.where(self.covered[rows], np.maximum(self.threshold, self.cosine[rows]), self.threshold)
        prefilter = self.table.prefilter
        left = self.table.segment_rows(segment)[1] if len(rows) == here.stop - here.start else self.table.load(rows)
        right = loaded if columns is None else prefilter.take(loaded, columns)
        row, column, products = prefilter.above(left, right, bar.astype(np.float32))
        if not self.nearest and place is None:
            open_ = self._without_sure(rows, row, products >= self.threshold + prefilter.error(left, right))
            row, column, products = row[open_], column[open_], products[open_]
        member, column = rows[row], column if columns is None else columns[column]
        hopeful = self._hopeful(member, column, products, prefilter.error(left, right), place)
        row, member, column = row[hopeful], member[hopeful], column[hopeful]
        if not prefilter.coarse or len(member) <= CROWDED * len(_heads(member)):
            return member, column
        products = pair_products(self.rows, member, column, unit)
        error = summing_error(self.rows.width)
        hopeful = self._hopeful(member, column, products, error, place) & (products >= bar[row] - error)
        return member[hopeful], column[hopeful]

    def _without_sure(
        self, rows: NDArray[np.int64], row: NDArray[np.int64], sure: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Marks rows as covered that certainly are; which candidates are of other rows and still have to be judged.

        Args:
            row: places in `rows` of candidates; sure: bool, which certainly reach the threshold.
        """
        covered = np.zeros(len(rows), np.bool_)
        covered[row[sure]] = True
        done = rows[covered]
        self.best[done], self.cosine[done], self.covered[done], self.radius[done] = 0, 1.0, True, DONE
        return ~covered[row]

    def _hopeful(
        self,
        members: NDArray[np.int64],
        columns: NDArray[np.int64],
        products: NDArray[np.float32],
        error: float,
        place: NDArray[np.int64] | None,
    ) -> NDArray[np.bool_]:
        """Whether a representative may be the most similar to the row of those pushed together, or cover it first."""
        heads = _heads(members)
        if not len(heads):
            return np.zeros(0, np.bool_)
        highest = np.repeat(np.maximum.reduceat(products, heads), np.diff(np.append(heads, len(members))))
        hopeful = products >= highest - np.float32(2 * error + MARGIN)
        if place is not None and self.place is not None:
            hopeful |= ~self.covered[members] & (place[columns] < self.place[members])
        return hopeful

    def _assign(
        self,
        members: NDArray[np.int64],
        columns: NDArray[np.int64],
        fresh: Rows,
        numbers: NDArray[np.int64],
        place: NDArray[np.int64] | None,
    ) -> None:
        """Judges candidates (sorted by member) and gives each member its best."""
        cosine = pair_cosines(self.rows, members, fresh, columns)
        near = cosine >= self.threshold
        members, columns, cosine = members[near], columns[near], cosine[near]
        if place is None or self.place is None:
            self.covered[members] = True
        else:
            self.covered[members[place[columns] < self.place[members]]] = True
        better = cosine > self.cosine[members]  # equal: the earlier one keeps it
        take = np.lexsort((columns[better], -cosine[better], members[better]))  # among equals the earlier
        best = np.flatnonzero(better)[take][_heads(members[better][take])]
        self.best[members[best]] = numbers[columns[best]]
        self.cosine[members[best]] = cosine[best]
        own = self.cosine[members]
        self.radius[members] = np.where(
            ~self.covered[members], angle(self.threshold), np.where(own >= self.final, DONE, angle(own))
        )


def angle(cosine: Any) -> Any:
    """At least the angle of a cosine, radians."""
    return np.arccos(np.maximum(np.minimum(cosine, 1.0) - MARGIN, -1.0)) + 1e-6


def pair_products(
    rows: Rows, members: NDArray[np.int64], columns: NDArray[np.int64], unit: NDArray[np.float32]
) -> NDArray[np.float32]:
    """float32 products of pairs; members ascending. They share rows, so that matrix products of a few are cheapest."""
    own, row = _distinct(members)
    left = rows.unit(own)
    products = np.empty(len(members), np.float32)
    taken = np.zeros(len(unit), np.bool_)
    for start in range(0, len(own), FACING):
        here = slice(*np.searchsorted(row, (start, start + FACING)))
        taken[:] = False
        taken[columns[here]] = True
        right = np.flatnonzero(taken)
        block = left[start : start + FACING] @ unit[right].T
        products[here] = block[row[here] - start, (np.cumsum(taken) - 1)[columns[here]]]
    return products


def _distinct(members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct members of a sorted list, and where each entry stands among them."""
    heads = _heads(members)
    return members[heads], np.repeat(np.arange(len(heads)), np.diff(np.append(heads, len(members))))


def _heads(members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each member of a sorted list stands first."""
    return np.flatnonzero(np.diff(members, prepend=-1))
