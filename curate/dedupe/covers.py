"""Covers: which faces stay so that nothing unlike is thrown away and nothing alike is kept twice.

Faces are met in order, better ones first. A face becomes a *representative* unless an earlier representative has
cosine >= t to it (greedy cover); afterwards every face belongs to its most similar representative.

Why the result is unique, so that any way to compute it gives the same bits: a set R of faces is the greedy cover if and
only if (1) no two faces of R have cosine >= t, and (2) every face outside R has an *earlier* face of R with
cosine >= t. Proof by induction along the order: if R and the greedy cover agree on all faces before x, then x has an
earlier near representative in both or in neither, so x is in both or in neither. The cosine of a pair is itself one
number on all machines (`curate.dedupe.cosine`). Everything below only decides which pairs are worth that number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.screen import Screen
from curate.errors import UsageError

BATCH = 2048
"""Undecided faces that are settled among themselves at once."""

CHUNK = 4096
"""Rows that meet new representatives at once."""


class Cover(NamedTuple):
    """A greedy cover of N faces.

    Attributes:
        cluster: int64 [N], number of the face's representative, counted from 0 in the order of the faces.
        representative: bool [N].
        similarity: float32 [N], cosine to the own representative; 1 for representatives.
    """

    cluster: NDArray[np.int64]
    representative: NDArray[np.bool_]
    similarity: NDArray[np.float32]


def cover(vectors: Any, threshold: float, priority: ArrayLike | None = None, *, device: str = "cpu") -> Cover:
    """The greedy cover of unit vectors at a cosine threshold.

    Args:
        vectors: float16 or float32 [N, D], unit rows, taken as they are; may be a `numpy.memmap`.
        threshold: cosine in (0, 1] from which two rows are near-duplicates.
        priority: [N], higher first, ties by row; None: by row.
        device: a torch device for the products; decides nothing but the time it takes.

    Raises:
        UsageError: a row is NaN, infinite, zero or not of length 1 (it is named), a shape, the threshold or the
            priority is wrong.
    """
    rows = check(vectors)
    order = order_of(priority, len(rows))
    return greedy(rows, order, check_threshold(threshold), device).cover()


def greedy(rows: Rows, order: NDArray[np.int64], threshold: float, device: str = "cpu") -> Greedy:
    """The finished run over some rows of a collection, in the order given; rows that are not in it stay undecided."""
    run = Greedy(rows, order, threshold, device)
    run.run()
    return run


def order_of(priority: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """int64 [count]: rows in the order in which they are met.

    Raises:
        UsageError: there is not one number a row, or one is NaN.
    """
    if priority is None:
        return np.arange(count, dtype=np.int64)
    values = np.asarray(priority)
    if values.shape != (count,):
        raise UsageError(f"priority: shape {values.shape}; wanted is one number for each of {count} rows")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise UsageError(f"priority: row {int(np.argmax(np.isnan(values)))} is NaN; wanted are numbers")
    reversed_order = np.argsort(values[::-1], kind="stable")  # equal ones then stand from the last row to the first
    return (count - 1 - reversed_order)[::-1].astype(np.int64)


class Greedy:
    """The state of one run: who is decided, and each row's best representative so far."""

    def __init__(self, rows: Rows, order: NDArray[np.int64], threshold: float, device: str) -> None:
        self.rows = rows
        self.order = order
        self.threshold = threshold
        self.screen = Screen(rows.width, device, bfloat16=False if threshold < 0.2 else None)
        self.exact = Screen(rows.width, device, bfloat16=False)
        self.best = np.full(len(rows), -1, np.int64)  # number of the best representative
        self.cosine = np.full(len(rows), -1.0)  # its cosine
        self.kept: list[NDArray[np.int64]] = []  # representatives by number
        # No other representative can be closer to a face that is nearer than half the angle of the threshold to one.
        self.final = float(np.sqrt((1 + threshold + 1e-6) / 2)) if threshold < 1 - 1e-6 else 2.0

    def run(self) -> None:
        """Settles every row of the order."""
        undecided = self.order
        while len(undecided):
            batch = undecided[:BATCH]
            self.push(self.settle(batch))
            undecided = undecided[self.best[undecided] < 0]

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

    def cover(self) -> Cover:
        """The cover, where all rows were in the order."""
        return Cover(self.best, self.flags, np.minimum(self.cosine, 1.0).astype(np.float32))

    def settle(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The representatives among rows that no earlier representative is near to, given in order."""
        loaded = self.exact.load(self.rows.unit(batch))
        bar = np.full(len(batch), self.threshold, np.float32)
        left, right, products = self.exact.above(loaded, loaded, bar)
        later = left < right
        left, right, products = left[later], right[later], products[later]
        unsure = np.flatnonzero(products < self.threshold + self.exact.slack)
        near = np.ones(len(left), np.bool_)
        near[unsure] = self.rows.cosines(batch[left[unsure]], batch[right[unsure]]) >= self.threshold
        left, right = left[near], right[near]
        alive = np.ones(len(batch), np.bool_)
        stops = np.searchsorted(left, np.arange(len(batch)), side="right").tolist()
        for head in np.unique(left).tolist():
            if alive[head]:
                alive[right[stops[head - 1] if head else 0 : stops[head]]] = False
        return batch[alive]

    def push(self, fresh: NDArray[np.int64]) -> None:
        """Lets new representatives claim the rows that they are near to and more similar to than earlier ones."""
        first = sum(map(len, self.kept))
        self.kept.append(fresh)
        self.best[fresh] = first + np.arange(len(fresh))
        self.cosine[fresh] = 2.0  # no one takes a representative away from itself
        loaded = self.screen.load(self.rows.unit(fresh))
        active = self.order[self.cosine[self.order] < self.final]
        for start in range(0, len(active), CHUNK):
            self._claim(active[start : start + CHUNK], loaded, fresh, first)

    def _claim(self, members: NDArray[np.int64], loaded: Any, fresh: NDArray[np.int64], first: int) -> None:
        bar = np.maximum(self.threshold, self.cosine[members]).astype(np.float32)
        left, right, products = self.screen.above(self.screen.load(self.rows.unit(members)), loaded, bar)
        if not len(left):
            return
        heads = np.flatnonzero(np.diff(left, prepend=-1))
        highest = np.repeat(np.maximum.reduceat(products, heads), np.diff(np.append(heads, len(left))))
        hopeful = products >= highest - 2.01 * self.screen.slack
        left, right = left[hopeful], right[hopeful]
        cosine = self.rows.cosines(members[left], fresh[right])
        near = cosine >= self.threshold
        left, right, cosine = left[near], right[near], cosine[near]
        take = np.lexsort((right, -cosine, left))  # the most similar first, among equals the earlier
        left, right, cosine = left[take], right[take], cosine[take]
        heads = np.flatnonzero(np.diff(left, prepend=-1))
        left, right, cosine = left[heads], right[heads], cosine[heads]
        better = cosine > self.cosine[members[left]]  # equal: the earlier representative keeps it
        who = members[left[better]]
        self.best[who] = first + right[better]
        self.cosine[who] = cosine[better]
