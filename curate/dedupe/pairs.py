"""All pairs of near rows, found once for several thresholds: a greedy cover at any of them is then a walk over pairs.

PivotTable (`curate.dedupe.pivots`) rule out most of the arithmetic. For rows x, y of pivots l, m that are near,
angle(l, m) <= angle(x, l) + angle(x, y) + angle(y, m), so pivots that are further apart than that need no look at
their rows; and angle(y, l) <= angle(x, l) + angle(x, y) rules out single rows against a pivot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.assignment import CROWDED, MARGIN, NEVER, angle, pair_products
from curate.dedupe.pivots import BLOCK, DENSE, SEGMENT, PivotTable, cosines_among, let_through, sampled, span
from curate.dedupe.prefilter import Loaded, summing_error
from curate.dedupe.threads import Map

FEW = 1 << 20
"""Pairs that are looked at together."""

ROUNDS = 8
"""Rounds in which all rows that nobody undecided stands before are settled at once; the rest go one by one."""

GROUP = 16
"""Segments whose pivots meet those of others at once."""

LOOKED = 4
"""Of so many rows of the sample, what is near to one is looked for in all rows."""

NEIGHBOURS = 32
"""Near rows that a row may have in the mean: each pair takes 9 bytes."""

WIDE = 256
"""Rows of a segment, neighbours, that meet the same others."""

Found = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]
"""Left row, right row, level."""

Facing = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Own pivots, ascending, and pivots that stand near."""


@dataclass(frozen=True)
class Pairs:
    """The near pairs of a collection of N rows that stand in an order.

    Attributes:
        thresholds: ascending cosines.
        count: N.
        place: int32 [N], where each row stands.
        earlier, later: int32 [P], the row of a pair that stands first in the order, and the other.
        level: uint8 [P], how many of the thresholds the cosine reaches; 0 where the pair is left out.
    """

    thresholds: tuple[float, ...]
    count: int
    place: NDArray[np.int32]
    earlier: NDArray[np.int32]
    later: NDArray[np.int32]
    level: NDArray[np.uint8]

    def kept_at(self, number: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """bool [N]: representatives of the greedy cover at a threshold, of all rows or of some (bool [N])."""
        alive = np.ones(self.count, np.bool_) if among is None else among.copy()
        kept = np.zeros(self.count, np.bool_)
        here = self.level > number
        if among is not None:
            here &= alive[self.earlier] & alive[self.later]
        earlier, later = self.earlier[here], self.later[here]
        for _ in range(ROUNDS):
            first = alive.copy()
            first[later] = False
            kept |= first
            alive &= ~first
            alive[later[first[earlier]]] = False
            here = alive[earlier] & alive[later]
            earlier, later = earlier[here], later[here]
            if not len(earlier):
                return kept | alive
        # In the order of the earlier row: whether it stays is settled before its own pairs come.
        in_order = np.argsort(self.place[earlier], kind="stable")
        earlier, later, stays = earlier[in_order], later[in_order], alive.tolist()
        for head, other in zip(earlier.tolist(), later.tolist(), strict=True):
            if stays[head]:
                stays[other] = False
        return kept | np.array(stays, np.bool_)


def find_pairs(
    table: PivotTable,
    order: NDArray[np.int64],
    thresholds: tuple[float, ...],
    each: Map,
    group: NDArray[np.int64] | None = None,
) -> Pairs:
    """All pairs whose cosine reaches the first of some thresholds.

    Args:
        order: int64 [N], all rows in the order in which they are visited.
        thresholds: ascending cosines; of none there are no pairs.
        each: maps a function, in as many threads as there are.
        group: int64 [N], where only pairs of rows of different groups are wanted.
    """
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    search = _Search(table, thresholds, group) if thresholds else None

    def work(begin: int) -> Found:
        left, right, level = search.work(begin) if search else _nothing()
        ahead = place[left] < place[right]
        return np.where(ahead, left, right), np.where(ahead, right, left), level

    columns = [list(part) for part in zip(_nothing(), *each(work, range(0, table.segments, GROUP)), strict=True)]
    joined = []
    while columns:  # one after another, so that little stands in memory twice
        joined.append(np.concatenate(columns.pop(0)))
    return Pairs(thresholds, len(order), place, *joined)


def cheapest(table: PivotTable, thresholds: tuple[float, ...], each: Map) -> int:
    """From which of ascending thresholds on all pairs are cheaper than a cover at each; their number: from none on.

    What is near a sample of rows tells how many rows a cover keeps (with neighbours n in random order, 1 / (1 + n) of
    them) and which share of rows cells let through. Only time depends on the answer.
    """
    count, total = len(table.rows), len(thresholds)
    if not count:
        return 0
    sample = sampled(count)
    among = cosines_among(table.rows, sample)
    sample = sample[::LOOKED]
    loaded = table.prefilter.load(table.rows.unit(sample))

    def look(segment: int) -> NDArray[np.int64]:
        rows, left = table.segment_rows(segment)
        table.rows.walked(int(rows[0]), int(rows[-1]) + 1)
        _, column, products = table.prefilter.above(left, loaded, np.full(left.count, thresholds[0], np.float32))
        return np.stack([np.bincount(column[products >= t], minlength=len(sample)) for t in thresholds])

    neighbours = np.zeros((total, len(sample)), np.int64)
    for part in each(look, _Search(table, thresholds).reached(loaded)):
        neighbours += part
    table.rows.forget()
    pivots = len(table.segment) / count
    by_row, by_pivot = (
        let_through(among, thresholds, table.alike, turns) if pivots else np.ones(total) for turns in (1, 2)
    )
    cover = (1 / np.maximum(neighbours, 1)).mean(axis=1) * (pivots + by_row)
    pairs = pivots * np.where(by_pivot == 1, 1.0, pivots) + by_row
    costs = [*(pairs[k] + cover[:k].sum() for k in range(total)), cover.sum()]
    few = [*(neighbours.mean(axis=1) <= NEIGHBOURS + 1), True]
    return min((k for k in range(total + 1) if few[k]), key=lambda k: costs[k])


def _nothing() -> Found:
    return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint8)


def _marked(numbers: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """bool [count]: which numbers there are."""
    marks = np.zeros(count, np.bool_)
    marks[numbers] = True
    return marks


def _groups_of(table: PivotTable, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [M]: the group of all rows of each cell; -1: they are of several."""
    rows = np.flatnonzero(table.pivot >= 0)
    pivot, one = table.pivot[rows], np.full(len(table.segment), -1, np.int64)
    one[pivot] = group[rows]
    one[pivot[one[pivot] != group[rows]]] = -1
    return one


class _Search:
    """Near pairs of each segment with itself and all later ones."""

    def __init__(
        self, table: PivotTable, thresholds: tuple[float, ...], group: NDArray[np.int64] | None = None
    ) -> None:
        self.table, self.rows, self.prefilter, self.group = table, table.rows, table.prefilter, group
        self.thresholds = np.array(thresholds, np.float64)
        self.near_angle = float(angle(self.thresholds[0]))
        pivoted = table.pivot >= 0
        self.radius = np.zeros(len(table.segment), np.float32)
        np.maximum.at(self.radius, table.pivot[pivoted], table.angle[pivoted])
        alone = np.ones(table.segments, np.bool_)
        alone[table.segment] = False
        self.lone = np.flatnonzero(alone)  # segments without pivots
        self.one = None if group is None else _groups_of(table, group)

    def reached(self, loaded: Loaded) -> list[int]:
        """The segments that may hold rows that are near to any of some."""
        found = [self.lone]
        for number in range(len(self.table.blocks)):
            block = self.table.blocks[number]
            pivots = number * BLOCK + np.arange(block.count)
            near = self.prefilter.where_above(block, loaded, self._bar(pivots, 0, 0.0), DENSE)
            found.append(self.table.segment[pivots if near is None else number * BLOCK + near[0]])
        return sorted({*np.concatenate(found).tolist()})

    def work(self, begin: int) -> Found:
        """The near pairs of `GROUP` segments with those from each of them on."""
        last = min(begin + GROUP, self.table.segments)
        facing = self._facing(begin, last)
        found = [part for segment in range(begin, last) for part in self._of_segment(segment, facing)]
        self.rows.forget()
        return tuple(np.concatenate(part) for part in zip(*found, strict=True)) if found else _nothing()  # type: ignore[return-value]

    def _facing(self, begin: int, last: int) -> list[tuple[int, Facing | None]]:
        """For blocks of pivots from those of some segments on: own pivots and those in the block that stand near.

        None where nothing is ruled out so.
        """
        first, stop = np.searchsorted(self.table.segment, (begin, last)).tolist()
        blocks = range(first // BLOCK, len(self.table.blocks))
        found: list[tuple[int, Facing | None]] = []
        if stop > first:
            own = self.table.blocks.pick(np.arange(first, stop))
            wide = float(self.radius[first:stop].max())
            for number in blocks:
                block = self.table.blocks[number]
                bar = self._bar(number * BLOCK + np.arange(block.count), first, wide)
                reached = self.prefilter.where_above(block, own, bar, DENSE)
                if reached is None:
                    break  # cells stand too near to each other here: only single rows are ruled out
                cell, mine = number * BLOCK + reached[0], first + reached[1]
                right = self.table.segment[cell] >= self.table.segment[mine]
                if self.one is not None:
                    right &= self._apart(cell, self.one[mine])
                cell, mine = cell[right], mine[right]
                by_own = np.argsort(mine, kind="stable")
                found.append((number, (mine[by_own], cell[by_own])))
        return found + [(number, None) for number in blocks[len(found) :]]

    def _of_segment(self, segment: int, facing: list[tuple[int, Facing | None]]) -> Iterator[Found]:
        """The near pairs of one segment with those from it on."""
        looks = list(self._looks(segment, facing))
        lone = self.lone[self.lone >= segment].tolist()
        if not looks and not lone:
            return
        rows, loaded = self.table.segment_rows(segment)
        for other in lone:
            yield self._near(np.arange(*span(other, len(self.rows)).indices(len(self.rows))), rows, loaded)
        for columns, block, pivots in looks:
            for members, here, right in self._by_rows(rows, loaded, columns, block, pivots):
                yield self._near(members, rows[here], right)

    def _looks(
        self, segment: int, facing: list[tuple[int, Facing | None]]
    ) -> Iterator[tuple[NDArray[np.int64], Loaded, NDArray[np.int64]]]:
        """Places of rows of a segment, and the pivots (loaded, and their numbers) that they have to meet."""
        first, stop = np.searchsorted(self.table.segment, (segment, segment + 1)).tolist()
        pivot = self.table.pivot[span(segment, len(self.rows))]
        for number, near in facing:
            block = self.table.blocks[number]
            pivots = number * BLOCK + np.arange(block.count)
            if pivots[-1] < first:
                continue
            if near is None or stop == first:
                yield np.arange(len(pivot)), block, pivots
                continue
            here = slice(*np.searchsorted(near[0], (first, stop)))
            if here.start == here.stop:
                continue
            columns = np.flatnonzero(_marked(near[0][here] - first, stop - first)[pivot - first])
            cells = np.flatnonzero(_marked(near[1][here] - pivots[0], block.count))
            if 2 * len(cells) < block.count:
                block, pivots = self.prefilter.take(block, cells), pivots[cells]
            yield columns, block, pivots

    def _by_rows(
        self,
        rows: NDArray[np.int64],
        loaded: Loaded,
        columns: NDArray[np.int64],
        block: Loaded,
        pivots: NDArray[np.int64],
    ) -> Iterator[tuple[NDArray[np.int64], slice, Loaded]]:
        """Rows of cells, ascending, and the rows of a segment (places, loaded) that they have to meet.

        Args:
            rows: of the segment; columns: places of those that meet anything here.
            block: pivots of the cells, loaded.
        """
        first = int(np.searchsorted(self.table.segment, rows[0] // SEGMENT))
        right = loaded if len(columns) == len(rows) else self.prefilter.take(loaded, columns)
        reached = self.prefilter.where_above(block, right, self._bar(pivots, first, 0.0), DENSE * BLOCK / block.count)
        if reached is None:
            yield self._members(pivots[pivots >= first]), slice(0, len(rows)), loaded
            return
        cell, column = reached[0], columns[reached[1]]
        if self.one is not None and self.group is not None:
            apart = self._apart(pivots[cell], self.group[rows[column]])
            cell, column = cell[apart], column[apart]
        marks = _marked(column // WIDE * len(pivots) + cell, len(pivots) * -(-SEGMENT // WIDE)).reshape(-1, len(pivots))
        for run in np.flatnonzero(marks.any(axis=1)).tolist():
            here = slice(run * WIDE, min((run + 1) * WIDE, len(rows)))
            yield self._members(pivots[marks[run]]), here, self.prefilter.part(loaded, here.start, here.stop)

    def _apart(self, pivots: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether cells hold rows of other groups than these; -1: of several."""
        assert self.one is not None
        apart: NDArray[np.bool_] = (self.one[pivots] != group) | (group < 0)
        return apart

    def _bar(self, pivots: NDArray[np.int64], first: int, more: float) -> NDArray[np.float32]:
        """Below these products with a row, or with a pivot of rows within an angle `more`, cells stay apart."""
        bar = np.cos(np.minimum(self.radius[pivots] + self.near_angle + more, np.pi)) - np.float32(MARGIN)
        return np.where(pivots >= first, bar, NEVER).astype(np.float32)

    def _members(self, pivots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some pivots."""
        first, last = int(pivots[0]), int(pivots[-1])
        start = int(self.table.segment[first]) * SEGMENT
        own = self.table.pivot[start : (int(self.table.segment[last]) + 1) * SEGMENT] - first
        inside = np.flatnonzero((own >= 0) & (own <= last - first))
        return start + inside[_marked(pivots - first, last - first + 1)[own[inside]]]

    def _near(self, members: NDArray[np.int64], others: NDArray[np.int64], right: Loaded) -> Found:
        """The near pairs of some rows with rows of one segment, which is not behind theirs."""
        left = self.table.load(members)
        row, column, products = self.prefilter.above(left, right, np.full(len(members), self.thresholds[0], np.float32))
        error = self.prefilter.error(left, right)
        inside = members[row] // SEGMENT == others[0] // SEGMENT  # both ways round: one is enough
        ahead = ~inside | (members[row] < others[column])
        if self.group is not None:
            ahead &= self.group[members[row]] != self.group[others[column]]
        row, column, products = row[ahead], column[ahead], products[ahead]
        if not len(row):
            return _nothing()
        if self.prefilter.coarse and len(row) > CROWDED * (1 + np.count_nonzero(np.diff(row))):
            products = pair_products(self.rows, members[row], column, self.rows.unit(others))
            error = summing_error(self.rows.width)
        members, others = members[row], others[column]
        level = np.searchsorted(self.thresholds, products - np.float64(error), side="right")
        unsure = np.flatnonzero(level != np.searchsorted(self.thresholds, products + np.float64(error), side="right"))
        exact = self.rows.cosines(members[unsure], others[unsure])
        level[unsure] = np.searchsorted(self.thresholds, exact, side="right")
        near = level > 0
        return members[near].astype(np.int32), others[near].astype(np.int32), level[near].astype(np.uint8)
