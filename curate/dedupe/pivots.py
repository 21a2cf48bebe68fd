"""Pivots: neighbours in a collection that are alike form a *cell* around one row, and one bound serves the whole cell.

Rows come video by video, in time, so neighbours are alike. Runs of `RUN` rows are thinned to pivots by a greedy cover
at one of the cosines `ALIKE`; every row belongs to its nearest pivot of the run. For row x of pivot l, the angle
between x and any vector r is at least angle(l, r) - angle(x, l): if that exceeds what matters to every row of the cell,
the cell need not meet r. Rows in no useful order get pivots of their own; the bound then costs a little and saves
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows
from curate.dedupe.prefilter import Loaded, Prefilter, summing_error
from curate.dedupe.threads import Map

ALIKE = (0.9, 0.95, 0.97)
"""Cosines from which a row needs no pivot of its own: few pivots, or sharp bounds. What is least work is chosen."""

DENSE = 0.05
"""Share of pairs from which pivots are no help, and their segments meet all new representatives."""

SAMPLE, LOOK = 256, 2
"""Rows, and segments, from which work is estimated."""

BLOCK = 1024
"""Pivots that meet new representatives at once."""

RUN = 128
"""Rows among which pivots are found."""

SEGMENT = 1024
"""Rows that meet the same representatives in one product; a multiple of `RUN`."""


LONELY = 0.5
"""Share of pivots among its rows from which a segment does without them: their products would cost what they save."""

HELD = 64 << 20
"""Bytes of rows, and of pivots, that are kept as the prefilter multiplies them; more are loaded again each time."""


class PivotBlocks:
    """Pivots as the prefilter multiplies them, `BLOCK` at a time.

    Args:
        index: int64 [M], their rows, ascending.
    """

    def __init__(self, rows: Rows, prefilter: Prefilter, index: NDArray[np.int64]) -> None:
        self._rows, self._prefilter, self._index = rows, prefilter, index
        few = len(index) * rows.width * prefilter.itemsize <= HELD
        self._held = [self._load(number) for number in range(len(self))] if few else None

    def __len__(self) -> int:
        return -(-len(self._index) // BLOCK)

    def __getitem__(self, number: int) -> Loaded:
        return self._load(number) if self._held is None else self._held[number]

    def pick(self, places: NDArray[np.int64]) -> Loaded:
        """Some of them, ascending."""
        if self._held is None:
            return self._prefilter.load(self._rows.unit(self._index[places]))
        return self._prefilter.pick(self._held, BLOCK, places)

    def only(self, places: NDArray[np.int64]) -> PivotBlocks:
        """Some of them, ascending, without the others."""
        return PivotBlocks(self._rows, self._prefilter, self._index[places])

    def _load(self, number: int) -> Loaded:
        loaded = self._prefilter.load(self._rows.unit(self._index[number * BLOCK : (number + 1) * BLOCK]))
        self._rows.forget()
        return loaded


@dataclass(frozen=True)
class PivotTable:
    """A collection in segments of rows, and pivots where rows are alike.

    Attributes:
        pivot: int32 [N], number of each row's pivot; -1 in segments that do without.
        angle: float32 [N], at least the angle between a row and its pivot, radians.
        segment: int64 [M], segment of each pivot, ascending.
        blocks: the M pivots.
        held: all rows as the prefilter multiplies them, where they are few enough (`HELD`).
        alike: cosine that every row has to its pivot at least.
    """

    rows: Rows
    prefilter: Prefilter
    pivot: NDArray[np.int32]
    angle: NDArray[np.float32]
    segment: NDArray[np.int64]
    blocks: PivotBlocks
    held: Loaded | None
    alike: float

    @property
    def segments(self) -> int:
        """How many segments there are."""
        return -(-len(self.rows) // SEGMENT)

    def load(self, rows: NDArray[np.int64]) -> Loaded:
        """Some rows, as the prefilter multiplies them."""
        if self.held is None:
            return self.prefilter.load(self.rows.unit(rows))
        return self.prefilter.take(self.held, rows)

    def segment_rows(self, segment: int) -> tuple[NDArray[np.int64], Loaded]:
        """The rows of a segment."""
        here = span(segment, len(self.rows))
        rows = np.arange(here.start, here.stop)
        if self.held is None:
            return rows, self.prefilter.load(self.rows.unit(here))
        return rows, self.prefilter.part(self.held, here.start, here.stop)


def span(segment: int, count: int) -> slice:
    """Where a segment lies among `count` rows."""
    return slice(segment * SEGMENT, min((segment + 1) * SEGMENT, count))


def find_pivots(rows: Rows, prefilter: Prefilter, each: Map, thresholds: tuple[float, ...] = ()) -> PivotTable:
    """Thins a collection to pivots.

    Args:
        each: maps a function over segments, in order, in as many threads as there are.
        thresholds: cosines for which cells should rule out much; only time depends on them.
    """
    count = len(rows)
    alike = _least_work(rows, thresholds)
    pivot = np.full(count, -1, np.int32)
    angle = np.zeros(count, np.float32)
    hold = count * rows.width * prefilter.itemsize <= HELD
    held = prefilter.room(count if hold else 0)

    def thin(number: int) -> tuple[NDArray[np.int64], float]:
        here = span(number, count)
        unit = rows.unit(here)
        rows.walked(here.start, here.stop)
        own, cosine, chosen = _thin(unit, alike)
        if len(chosen) <= LONELY * len(unit):
            pivot[here] = own
            angle[here] = np.arccos(np.clip(cosine - summing_error(rows.width), -1, 1)) + 1e-6
        else:
            chosen = chosen[:0]
        return here.start + chosen, prefilter.put(held, here.start, unit) if hold else 0.0

    found = list(each(thin, range(-(-count // SEGMENT))))
    sizes = np.array([len(chosen) for chosen, _ in found], np.int64)
    first = np.repeat(np.cumsum(sizes) - sizes, SEGMENT)[:count]
    pivot[pivot >= 0] += first[pivot >= 0].astype(np.int32)
    pivots = np.concatenate([chosen for chosen, _ in found]) if found else np.empty(0, np.int64)
    blocks = PivotBlocks(rows, prefilter, pivots)
    all_rows = Loaded(held, count, max((residue for _, residue in found), default=0.0)) if hold else None
    return PivotTable(rows, prefilter, pivot, angle, np.repeat(np.arange(len(sizes)), sizes), blocks, all_rows, alike)


def sampled(count: int) -> NDArray[np.int64]:
    """Some of so many rows, evenly over all."""
    return np.unique(np.linspace(0, count - 1, SAMPLE).astype(np.int64))


def cosines_among(rows: Rows, sample: NDArray[np.int64]) -> NDArray[np.float32]:
    """The cosines of some rows with each other, about, ascending."""
    own = rows.unit(sample)
    rows.forget()
    return np.asarray(np.sort((own @ own.T)[np.triu_indices(len(sample), 1)]), np.float32)


def let_through(
    among: NDArray[np.float32], thresholds: tuple[float, ...], alike: float, turns: int
) -> NDArray[np.float64]:
    """float64 [thresholds]: which share of rows has to be looked at in spite of cells; all, where it is a large one.

    Args:
        among: cosines of a sample of rows, ascending.
        turns: radii of cells that stand between two rows: 1 for a row and a pivot, 2 for two pivots.
    """
    angles = np.arccos(np.array(thresholds)) + turns * np.arccos(alike)
    share = 1 - np.searchsorted(among, np.cos(np.minimum(angles, np.pi))) / max(len(among), 1)
    return np.where(share > DENSE, 1.0, share)


def _least_work(rows: Rows, thresholds: tuple[float, ...]) -> float:
    """The cosine of `ALIKE` at which meeting pivots, and what they let through, is least work."""
    if not thresholds or not len(rows):
        return ALIKE[0]
    among = cosines_among(rows, sampled(len(rows)))
    segments = np.unique(np.linspace(0, (len(rows) - 1) // SEGMENT, LOOK).astype(np.int64)).tolist()
    units = [rows.unit(span(segment, len(rows))) for segment in segments]
    rows.forget()
    work = []
    for alike in ALIKE:
        pivots = sum(len(_thin(unit, alike)[2]) for unit in units) / sum(map(len, units))
        work.append(len(thresholds) * pivots + let_through(among, thresholds, alike, 1).sum())
    return ALIKE[int(np.argmin(work))]


def _thin(unit: NDArray[np.float32], alike: float) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Pivots of one segment.

    Returns:
        int64 [n], each row's place among the pivots; float32 [n], its product with that one; int64, the pivots.
    """
    count, width = unit.shape
    runs = -(-count // RUN)
    if count < runs * RUN:  # the last segment: fill up with zeros, which are like nothing
        unit = np.concatenate((unit, np.zeros((runs * RUN - count, width), np.float32)))
    blocks = unit.reshape(runs, RUN, width)
    products = blocks @ blocks.transpose(0, 2, 1)
    near = np.packbits(products >= alike, axis=2, bitorder="little")
    own, cosine, chosen, first = [], [], [], 0
    for run in range(runs):
        left, places = (1 << min(RUN, count - run * RUN)) - 1, []  # a bit a row; lowest is first
        while left:  # rows that no pivot so far is near to
            head = (left & -left).bit_length() - 1
            places.append(head)
            left &= ~(int.from_bytes(near[run, head].tobytes(), "little") | 1 << head)
        facing = products[run][:, places]
        best = facing.argmax(axis=1)
        own.append(first + best)
        cosine.append(facing[np.arange(RUN), best])
        chosen.append(run * RUN + np.array(places, np.int64))
        first += len(places)
    return np.concatenate(own)[:count], np.concatenate(cosine)[:count], np.concatenate(chosen)
