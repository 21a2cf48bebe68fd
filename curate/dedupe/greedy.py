"""The greedy cover on one machine: batches of faces in order.

A batch of undecided faces is settled among itself; the representatives that come out claim the rows that they are near
to (`curate.dedupe.claims`); what no one has claimed yet makes the next batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.cells import Cells, find_cells
from curate.dedupe.claims import NEVER, Claims
from curate.dedupe.cosine import Rows
from curate.dedupe.screen import Loaded, Screen
from curate.dedupe.threads import Map

FIRST, MOST = 512, 8192
"""Undecided faces that are settled at once: few at first, more where most of them turn out to stay."""

BLOCK = 512
"""Faces of a batch that are compared all with all."""


class Greedy:
    """One run.

    Attributes:
        claims: each row's best representative so far; rows that are in no order stay without.
        kept: rows of the representatives, in order, batch by batch.
    """

    def __init__(self, cells: Cells, threshold: float, each: Map, nearest: bool = True) -> None:
        self.rows, self.screen, self.threshold = cells.rows, cells.screen, threshold
        self.claims = Claims(cells, threshold, each, nearest=nearest)
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
        """Settles the rows of an order, which are met as it says."""
        self.claims.open(order)
        undecided, batch, count = order, FIRST, 0
        while len(undecided):
            fresh = self.settle(undecided[:batch])
            numbers = count + np.arange(len(fresh))
            self.claims.settle(fresh, numbers)
            self.claims.push(self.rows.some(fresh), numbers)
            self.kept.append(fresh)
            count += len(fresh)
            if 2 * len(fresh) > min(batch, len(undecided)):
                batch = min(2 * batch, MOST)
            undecided = undecided[self.claims.best[undecided] < 0]

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
        left, right, _ = self.screen.above(loaded, loaded, self._bar(alive))
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
        i, j, products = self.screen.above(left, right, self._bar(stays))
        near = np.zeros(len(behind), np.bool_)
        near[j[products >= self.threshold + self.screen.error(left, right)]] = True
        unsure = alive[j] & ~near[j]
        i, j = i[unsure], j[unsure]
        near[j[self.rows.cosines(block[i], behind[j]) >= self.threshold]] = True
        return near

    def _bar(self, who: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(who, np.float32(self.threshold), NEVER)


def greedy(rows: Rows, order: NDArray[np.int64], threshold: float, each: Map, device: str = "cpu") -> Greedy:
    """The finished run over some rows of a collection, in the order given; rows that are not in it stay undecided."""
    run = Greedy(find_cells(rows, screen_for(rows, threshold, device), each), threshold, each)
    run.run(order)
    return run


def kept_by(cells: Cells, order: NDArray[np.int64], threshold: float, each: Map) -> NDArray[np.bool_]:
    """bool [N]: the representatives of the rows of an order, when nobody asks whom they stand for."""
    run = Greedy(cells, threshold, each, nearest=False)
    run.run(order)
    return run.flags


def screen_for(rows: Rows, threshold: float, device: str = "cpu") -> Screen:
    """A screen whose slack is small against the threshold."""
    return Screen(rows.width, device, bfloat16=False if threshold < 0.1 else None)
