"""The greedy cover on one machine: batches of faces in order.

A batch of undecided faces is settled among itself; the representatives that come out take the rows that they are near
to (`curate.dedupe.assignment`); what no one has taken yet makes the next batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.dedupe import engine
from curate.dedupe.assignment import NEVER, Assignment
from curate.dedupe.cosine import Rows
from curate.dedupe.pivots import PivotTable, find_pivots
from curate.dedupe.prefilter import Loaded, Prefilter
from curate.dedupe.threads import Map

FIRST, MOST = 512, 8192
"""Undecided faces that are settled at once: few at first, more where most of them turn out to stay."""

BLOCK = 512
"""Faces of a batch that are compared all with all."""


class Greedy:
    """One run.

    Attributes:
        assignment: each row's best representative so far; rows that are in no order stay without.
        kept: rows of the representatives, in order, batch by batch.
    """

    def __init__(self, table: PivotTable, threshold: float, each: Map, nearest: bool = True) -> None:
        self.rows, self.prefilter, self.threshold = table.rows, table.prefilter, threshold
        self.assignment = Assignment(table, threshold, each, nearest=nearest)
        self.kept: list[NDArray[np.int64]] = []

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
        """Settles the rows of an order, visited as it says."""
        self.assignment.open(order)
        undecided, batch, count = order, FIRST, 0
        while len(undecided):
            fresh = self.settle(undecided[:batch])
            numbers = count + np.arange(len(fresh))
            self.assignment.settle(fresh, numbers)
            self.assignment.push(self.rows.some(fresh), numbers)
            self.kept.append(fresh)
            count += len(fresh)
            if 2 * len(fresh) > min(batch, len(undecided)):
                batch = min(2 * batch, MOST)
            undecided = undecided[self.assignment.best[undecided] < 0]

    def settle(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The representatives among rows that no earlier representative is near to, given in order."""
        alive = np.ones(len(batch), np.bool_)
        own = self.rows.some(batch)  # on disk they lie scattered, and each brings the pages around it along
        loaded = self.prefilter.load(own.unit(slice(None)))
        for start in range(0, len(batch), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(batch)))
            left = self.prefilter.take(loaded, block)
            self._settle_block(own, block, left, alive[block[0] : block[-1] + 1])
            behind = np.arange(block[-1] + 1, len(batch))
            if len(behind):
                alive[behind] &= ~self._near_any(own, loaded, block, behind, alive)
        return batch[alive]

    def _settle_block(self, own: Rows, block: NDArray[np.int64], loaded: Loaded, alive: NDArray[np.bool_]) -> None:
        """Strikes out, in place, the rows to which an earlier one that stays is near."""
        left, right, _ = self.prefilter.above(loaded, loaded, self._bar(alive))
        maybe = (left < right) & alive[right]
        left, right = left[maybe], right[maybe]
        near = own.cosines(block[left], block[right]) >= self.threshold
        left, right = left[near], right[near]
        stops = np.searchsorted(left, np.arange(len(block)), side="right").tolist()
        for head in np.unique(left).tolist():
            if alive[head]:
                alive[right[stops[head - 1] if head else 0 : stops[head]]] = False

    def _near_any(
        self,
        own: Rows,
        loaded: Loaded,
        block: NDArray[np.int64],
        behind: NDArray[np.int64],
        alive: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """bool [behind]: whether any row of a block that stays is near."""
        left, right = self.prefilter.take(loaded, block), self.prefilter.take(loaded, behind)
        i, j, products = self.prefilter.above(left, right, self._bar(alive[block]))
        near = np.zeros(len(behind), np.bool_)
        near[j[products >= self.threshold + self.prefilter.error(left, right)]] = True
        unsure = alive[behind[j]] & ~near[j]
        i, j = i[unsure], j[unsure]
        near[j[own.cosines(block[i], behind[j]) >= self.threshold]] = True
        return near

    def _bar(self, who: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(who, np.float32(self.threshold), NEVER)


def greedy(rows: Rows, order: NDArray[np.int64], threshold: float, each: Map, device: str = "cpu") -> Greedy:
    """The finished run over some rows of a collection, in the order given; rows that are not in it stay undecided."""
    run = Greedy(find_pivots(rows, prefilter_for(rows, threshold, device), each, (threshold,)), threshold, each)
    run.run(order)
    return run


def kept_by(table: PivotTable, order: NDArray[np.int64], threshold: float, each: Map) -> NDArray[np.bool_]:
    """bool [N]: the representatives of the rows of an order, when nobody asks whom they stand for."""
    run = Greedy(table, threshold, each, nearest=False)
    run.run(order)
    return run.flags


def prefilter_for(rows: Rows, threshold: float, device: str = "cpu") -> Prefilter:
    """A prefilter whose slack is small against the threshold."""
    if device == "cpu" and engine.torch_here() is None:
        return Prefilter(rows.width)
    from curate.dedupe.prefilter_torch import TorchPrefilter

    return TorchPrefilter(rows.width, device, bfloat16=False if threshold < 0.1 else None)
