"""Fast products that say which pairs *may* be alike, with an error bound that makes "no" a proof.

A prefilter keeps float32 or rounds unit rows to bfloat16 (`prefilter_torch`, where the processor is fast at it),
multiplies, and names the pairs whose product is not certainly below a bar. What it names is then judged by
`cosine.pair_cosines`; what it does not name is below the bar, whatever the hardware. For rows x, y of length 1, their
rounded forms u, v, and the product p that is stored:

    |x.y - u.v| <= |x - u| |v| + |x| |y - v|      rounding of rows, which is measured when they are loaded
    |u.v - sum| <= D 2^-24 |u| |v|                float32 sums in any order, fused or not (Higham 2002, eq. 3.5)
    |sum - p|   <= 2^-9                           bfloat16 results only; beyond 1, where they are coarser, p is cut

A cosine is at most 1, so that cutting p brings it nearer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 1024
"""Columns that are multiplied and searched at once: the products stay in the cache."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Left index, right index, product."""


@dataclass(frozen=True)
class Loaded:
    """Rows as a prefilter multiplies them, filled up with zeros to sizes that matrix units like.

    Attributes:
        rows: [at least count, at least D], of numpy or a torch tensor on the prefilter's device.
        count: true rows.
        residue: no row was moved further than this by rounding.
    """

    rows: Any
    count: int
    residue: float


def padded(count: int) -> int:
    """Rows up to which `count` rows are filled: kernels are compiled once a shape, so that few shapes are used."""
    return max(32, 1 << (count - 1).bit_length()) if count <= 1024 else -(-count // 1024) * 1024


def summing_error(width: int) -> float:
    """How far a float32 product of two rows from `Rows.unit` is at most from their cosine."""
    return (width + 16) * 2.0**-24 * 1.05  # 16: rows of almost length 1, bars rounded to float32


class Prefilter:
    """Products in float32 by numpy.

    Args:
        width: D of the rows.

    Attributes:
        coarse: whether products are less exact than float32.
        itemsize: bytes of a number in rows.
    """

    coarse = False
    itemsize = 4

    def __init__(self, width: int) -> None:
        self.width = width
        self._summing = summing_error(width)
        self._buffers = threading.local()

    def error(self, left: Loaded, right: Loaded) -> float:
        """No product of these rows is further than this from their true cosine."""
        return self._summing + left.residue + right.residue + left.residue * right.residue

    def load(self, unit: NDArray[np.float32]) -> Loaded:
        """Unit rows as the prefilter multiplies them."""
        filled = self.room(len(unit))
        return Loaded(filled, len(unit), self.put(filled, 0, unit))

    def room(self, count: int) -> Any:
        """Memory for so many rows."""
        return np.zeros((padded(count), self.width), np.float32)

    def put(self, filled: Any, start: int, unit: NDArray[np.float32]) -> float:
        """Puts unit rows into such memory; how far rounding moved a row at most."""
        filled[start : start + len(unit)] = unit
        return 0.0

    def part(self, loaded: Loaded, start: int, stop: int) -> Loaded:
        """Neighbouring rows of what was loaded, which are copied only where their number is one that needs filling."""
        if padded(stop - start) != stop - start:
            return self.take(loaded, np.arange(start, stop))
        return Loaded(loaded.rows[start:stop], stop - start, loaded.residue)

    def take(self, loaded: Loaded, index: NDArray[np.int64]) -> Loaded:
        """Some rows of what was loaded."""
        filled = np.zeros(padded(len(index)), np.int64)  # filled up with the first row; results beyond are cut off
        filled[: len(index)] = index
        return Loaded(self._selected(loaded.rows, filled), len(index), loaded.residue)

    def pick(self, blocks: list[Loaded], size: int, index: NDArray[np.int64]) -> Loaded:
        """Some rows, ascending, of what was loaded in blocks of `size` rows."""
        first = blocks[index[0] // size : index[-1] // size + 1]
        rows = self._joined([block.rows[: block.count] for block in first])
        whole = Loaded(rows, len(rows), max(block.residue for block in first))
        return self.take(whole, index - index[0] // size * size)

    def above(self, left: Loaded, right: Loaded, bar: NDArray[np.float32]) -> Pairs:
        """The pairs whose true cosine may reach the bar of their left row, by left, then right.

        Args:
            left: m rows.
            right: n rows.
            bar: float32 [m]; `assignment.NEVER` for rows that want no pair.
        """
        low = bar - np.float32(self.error(left, right))
        parts = []
        for start, products in self._tiles(left, right):
            flat = self._reaching(products, _all_bars(low, len(products)))
            rows, columns = np.divmod(flat, products.shape[1])
            values = self._values(products, flat)
            true = columns < right.count - start  # the others are padding
            parts.append((rows[true], columns[true] + start, values[true]))
        if len(parts) == 1:
            return parts[0]
        rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        by_row = np.argsort(rows, kind="stable")
        return rows[by_row], columns[by_row], values[by_row]

    def where_above(
        self, left: Loaded, right: Loaded, bar: NDArray[np.float32], limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """As `above`, without the products; None where more than a share `limit` of all pairs would be named."""
        low = bar - np.float32(self.error(left, right))
        parts, most, named = [], limit * left.count * right.count, 0
        for start, products in self._tiles(left, right):
            rows, columns = np.divmod(self._reaching(products, _all_bars(low, len(products))), products.shape[1])
            true = columns < right.count - start
            parts.append((rows[true], columns[true] + start))
            named += len(rows)
            if named > most:
                return None
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([columns for _, columns in parts])

    def _tiles(self, left: Loaded, right: Loaded) -> Iterator[tuple[int, Any]]:
        """Products of all pairs, padding included, `TILE` columns at a time; the next tile overwrites the last."""
        for start in range(0, len(right.rows), TILE):
            columns = right.rows[start : start + TILE]
            yield start, self._products(left.rows, columns, self._buffer("products", (len(left.rows), len(columns))))

    def _buffer(self, name: str, shape: tuple[int, int]) -> Any:
        """Memory that each thread reuses: fresh pages cost more than the products that go into them."""
        size = shape[0] * shape[1]
        held: Any = getattr(self._buffers, name, None)
        if held is None or len(held) < size:
            held = self._empty(name, size)
            setattr(self._buffers, name, held)
        return held[:size].reshape(shape)

    def _empty(self, name: str, size: int) -> Any:
        return np.empty(size, np.bool_ if name == "mask" else np.float32)

    def _products(self, left: Any, right: Any, out: Any) -> Any:
        return np.matmul(left, right.T, out=out)

    def _selected(self, rows: Any, index: NDArray[np.int64]) -> Any:
        return rows[index]

    def _joined(self, parts: list[Any]) -> Any:
        return np.concatenate(parts)

    def _reaching(self, products: Any, bars: NDArray[np.float32]) -> NDArray[np.int64]:
        """Places, in all products, of those that reach the bar of their left row."""
        mask = self._buffer("mask", products.shape)
        return np.flatnonzero(np.greater_equal(products, bars[:, None], out=mask))

    def _values(self, products: Any, flat: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(np.clip(products.reshape(-1)[flat], -1, 1), np.float32)


def _all_bars(bar: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The bars of rows, and of those that fill them up one that no product reaches."""
    bars = np.full(count, 4, np.float32)
    bars[: len(bar)] = bar
    return bars
