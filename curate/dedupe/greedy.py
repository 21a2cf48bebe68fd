"""The greedy cover on one machine: batches of faces in order, pruned by cells, screened by fast products.

A batch of undecided faces is settled among itself; the representatives that come out are *pushed* to all rows that are
not final yet: rows that are near become theirs, or move to them where they are more similar than the one before.
Three proofs save most of the work (angles are those of the unit sphere, where the triangle inequality holds):

*final*   A row within half the threshold's angle of a representative has found its nearest: any other representative
          is further than the whole angle from that one, so further than half of it from the row.
*cell*    With leader l of row x: angle(x, r) >= angle(l, r) - angle(x, l). A row that is undecided only cares for
          representatives within the threshold's angle, one that has a representative only for nearer ones. So one
          product with the leader rules out whole cells (`curate.dedupe.cells`).
*screen*  A product in low precision plus its error bound below the bar rules out a pair (`curate.dedupe.screen`).

What is left is decided by the cosine that defines the cover.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curate.dedupe.cells import BLOCK as LEADERS
from curate.dedupe.cells import SEGMENT, Cells, Map, find_cells, span
from curate.dedupe.cosine import Rows
from curate.dedupe.screen import Loaded, Screen

FIRST, MOST = 512, 8192
"""Undecided faces that are settled at once: few at first, more where most of them turn out to stay."""

BLOCK = 512
"""Faces of a batch that are compared all with all."""

GROUP = 16
"""Segments that one task takes."""

DENSE = 0.05
"""Share of pairs from which leaders are no help, and their segments meet all new representatives."""

MARGIN = 1e-6
"""Cosines are blurred by this before they become angles: more than float64 rounding can do."""


class Greedy:
    """The state of one run: who is decided, and each row's best representative so far.

    Attributes:
        best: int64 [N], number of the best representative so far; -1: none.
        cosine: float64 [N], the cosine to it; 2 for representatives.
        kept: rows of the representatives, in order, batch by batch.
    """

    def __init__(self, rows: Rows, threshold: float, screen: Screen, cells: Cells, each: Map) -> None:
        self.rows, self.threshold, self.screen, self.cells, self.each = rows, threshold, screen, cells, each
        self.best = np.full(len(rows), -1, np.int64)
        self.cosine = np.full(len(rows), -1.0)
        self.kept: list[NDArray[np.int64]] = []
        self.final = float(np.sqrt((1 + threshold + MARGIN) / 2)) if threshold < 1 - MARGIN else 1.5
        # Angle within which a representative matters to a row; negative: none does any more.
        self.reach = np.full(len(rows), -10.0, np.float32)

    @property
    def representatives(self) -> NDArray[np.int64]:
        """Rows of the representatives, in order."""
        return np.concatenate(self.kept) if self.kept else np.empty(0, np.int64)

    @property
    def flags(self) -> NDArray[np.bool_]:
        """bool [N]: whether a row is a representative."""
        flags = np.zeros(len(self.rows), np.bool_)
        flags[self.representatives] = True
        return flags

    def run(self, order: NDArray[np.int64]) -> None:
        """Settles the rows of an order, which are met as it says."""
        self.reach[order] = _angle(self.threshold)
        undecided, batch = order, FIRST
        while len(undecided):
            fresh = self.settle(undecided[:batch])
            self.push(fresh)
            if 2 * len(fresh) > min(batch, len(undecided)):
                batch = min(2 * batch, MOST)
            undecided = undecided[self.best[undecided] < 0]

    def settle(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The representatives among rows that no earlier representative is near to, given in order."""
        alive = np.ones(len(batch), np.bool_)
        loaded = self.screen.load(self.rows.unit(batch))
        for start in range(0, len(batch), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(batch)))
            left = self.screen.take(loaded, block)
            self._settle_block(batch[block], left, alive[block[0] : block[-1] + 1])
            behind = np.arange(block[-1] + 1, len(batch))
            if len(behind):
                right = self.screen.take(loaded, behind)
                alive[behind] &= ~self._near_any(batch[block], left, alive[block], batch[behind], right, alive[behind])
        return batch[alive]

    def _settle_block(self, block: NDArray[np.int64], loaded: Loaded, alive: NDArray[np.bool_]) -> None:
        """Strikes out, in place, the rows to which an earlier one that stays is near."""
        left, right, _ = self.screen.above(loaded, loaded, np.where(alive, np.float32(self.threshold), np.float32(4)))
        maybe = (left < right) & alive[right]
        left, right = left[maybe], right[maybe]
        near = self.rows.cosines(block[left], block[right]) >= self.threshold
        left, right = left[near], right[near]
        stops = np.searchsorted(left, np.arange(len(block)), side="right").tolist()
        for head in np.unique(left).tolist():
            if alive[head]:
                alive[right[stops[head - 1] if head else 0 : stops[head]]] = False

    def _near_any(
        self,
        block: NDArray[np.int64],
        left: Loaded,
        stays: NDArray[np.bool_],
        behind: NDArray[np.int64],
        right: Loaded,
        alive: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """bool [behind]: whether any row of a block that stays is near."""
        bar = np.where(stays, np.float32(self.threshold), np.float32(4))
        i, j, products = self.screen.above(left, right, bar)
        near = np.zeros(len(behind), np.bool_)
        near[j[products >= self.threshold + self.screen.slack]] = True
        unsure = alive[j] & ~near[j]
        i, j = i[unsure], j[unsure]
        near[j[self.rows.cosines(block[i], behind[j]) >= self.threshold]] = True
        return near

    def push(self, fresh: NDArray[np.int64]) -> None:
        """Lets new representatives claim the rows that they are near to and more similar to than earlier ones."""
        first = sum(map(len, self.kept))
        self.kept.append(fresh)
        self.best[fresh] = first + np.arange(len(fresh))
        self.cosine[fresh] = 2.0
        self.reach[fresh] = -10.0
        loaded = self.screen.load(self.rows.unit(fresh))
        meetings = self._meetings(loaded)

        def work(begin: int) -> None:
            found = [
                self._candidates(begin + place, loaded, columns)
                for place, columns in enumerate(meetings[begin : begin + GROUP])
                if columns is None or len(columns)
            ]
            if found:
                members, columns, products = (np.concatenate(part) for part in zip(*found, strict=True))
                self._claim(members, columns, products, fresh, first)

        for _ in self.each(work, range(0, len(meetings), GROUP)):
            pass
        self.rows.forget()

    def _meetings(self, loaded: Loaded) -> list[NDArray[np.int64] | None]:
        """The new representatives that the cells of each segment let through; None: all."""
        cells = self.cells
        live = self.reach >= 0
        led = live & (cells.leader >= 0)
        need = np.full(len(cells.segment), -10.0, np.float32)
        np.maximum.at(need, cells.leader[led], cells.angle[led] + self.reach[led])
        bar = np.where(need >= 0, np.cos(np.minimum(need, np.pi)) - np.float32(MARGIN), np.float32(4))
        alone = np.add.reduceat(live & ~led, np.arange(0, len(live), SEGMENT)) > 0
        everything = np.flatnonzero(alone)

        def meet(number: int) -> tuple[NDArray[np.int64], bool]:
            here = slice(number * LEADERS, (number + 1) * LEADERS)
            if not (need[here] >= 0).any():
                return np.empty(0, np.int64), True
            found = self.screen.where_above(cells.blocks[number], loaded, bar[here], DENSE)
            if found is None:
                return np.unique(cells.segment[here][need[here] >= 0]), False
            which, column = found
            return np.unique(cells.segment[here][which] * loaded.count + column), True

        pairs = [everything[:0]]
        for found, sparse in self.each(meet, range(len(cells.blocks))):
            if sparse:
                pairs.append(found)
            else:
                everything = np.append(everything, found)
        segment, column = np.divmod(np.unique(np.concatenate(pairs)), max(loaded.count, 1))
        columns: list[NDArray[np.int64] | None] = list(
            np.split(column, np.searchsorted(segment, np.arange(1, cells.segments)))
        )
        for number in everything.tolist():
            columns[number] = None
        return columns

    def _candidates(
        self, segment: int, loaded: Loaded, columns: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Rows of a segment with the new representatives that may be their best, and the products."""
        here = span(segment, len(self.rows))
        bar = np.maximum(self.threshold, self.cosine[here]).astype(np.float32)
        bar[self.reach[here] < 0] = 4
        right = loaded if columns is None else self.screen.take(loaded, columns)
        which, column, products = self.screen.above(self.cells.load(segment), right, bar)
        return here.start + which, column if columns is None else columns[column], products

    def _claim(
        self,
        members: NDArray[np.int64],
        columns: NDArray[np.int64],
        products: NDArray[np.float32],
        fresh: NDArray[np.int64],
        first: int,
    ) -> None:
        """Judges candidates (sorted by member) and gives each member its best."""
        if not len(members):
            return
        heads = np.flatnonzero(np.diff(members, prepend=-1))
        highest = np.repeat(np.maximum.reduceat(products, heads), np.diff(np.append(heads, len(members))))
        hopeful = products >= highest - 2 * np.float32(self.screen.slack) - np.float32(MARGIN)
        members, columns = members[hopeful], columns[hopeful]
        cosine = self.rows.cosines(members, fresh[columns])
        better = (cosine >= self.threshold) & (cosine > self.cosine[members])  # equal: the earlier one keeps it
        members, columns, cosine = members[better], columns[better], cosine[better]
        take = np.lexsort((columns, -cosine, members))  # the most similar first, among equals the earlier
        members, columns, cosine = members[take], columns[take], cosine[take]
        heads = np.flatnonzero(np.diff(members, prepend=-1))
        who, cosine = members[heads], cosine[heads]
        self.best[who] = first + columns[heads]
        self.cosine[who] = cosine
        self.reach[who] = np.where(cosine >= self.final, -10.0, _angle(cosine))


def greedy(
    rows: Rows, order: NDArray[np.int64], threshold: float, device: str = "cpu", threads: int | None = None
) -> Greedy:
    """The finished run over some rows of a collection, in the order given; rows that are not in it stay undecided."""
    screen = Screen(rows.width, device, bfloat16=False if threshold < 0.1 else None)
    with pool(threads) as each:
        run = Greedy(rows, threshold, screen, find_cells(rows, screen, each), each)
        run.run(order)
    return run


@contextmanager
def pool(threads: int | None) -> Iterator[Map]:
    """Yields a parallel `map`; inside, every library keeps to one thread, so that the map's are all there are."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    count = threads or before[0]
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")  # the error bound of the screen holds for true float32 only
    try:
        with threadpool_limits(1), ThreadPoolExecutor(count) as executor:
            yield executor.map if count > 1 else map
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def _angle(cosine: Any) -> Any:
    """At least the angle of a cosine, radians."""
    return np.arccos(np.maximum(np.minimum(cosine, 1.0) - MARGIN, -1.0)) + 1e-6
