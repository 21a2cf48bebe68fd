"""The one definition of cosine that every decision rests on, and the checks that make vectors fit for it.

For rows x and y the cosine is `min(1, dot / sqrt(|x|^2 * |y|^2))` in float64, where `dot` sums the products by halving:
the upper half of the row is added to the lower half until one number is left. Only single float64 additions and
multiplications in a fixed order are used, so the value is a function of the two rows alone: the same bits on every
machine, for any number of threads, block size or order of work. For float16 rows it is more than that: every product
is a multiple of 2^-48 and every partial sum of a unit row stays below 2, so float64 holds all of them without rounding
and `dot` is the true dot product. `sqrt(s * s) == s` holds in IEEE arithmetic, so equal rows have cosine 1 exactly and
thresholds up to 1 mean what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.dedupe import engine
from curate.dedupe.threads import Map
from curate.errors import UsageError
from curate.storage.vectors import let_go

UNIT = 1e-2
"""How far from 1 the length of a row may be: float16 rounding stays far below, a forgotten normalisation far above."""

BLOCK = 8192
"""Rows that are read, checked or compared at once."""

PAGES = 16 << 20
"""Bytes of a memory map that a walk over its rows leaves in memory before it lets go of them."""

CACHED = 1 << 15
"""Products of numbers that are summed at once."""

SCATTERED = 128
"""Rows from all over a memory map that are read before its pages are let go of: each may bring 0.6 MB along."""


@dataclass(frozen=True)
class Rows:
    """Checked unit rows, in memory or on disk.

    Attributes:
        values: float16 or float32 [N, D]; may be a memory map.
        squares: float64 [N], squared lengths as the definition above sums them.
    """

    values: NDArray[Any]
    squares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def width(self) -> int:
        """D."""
        return int(self.values.shape[1])

    def unit(self, where: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, D]: some rows at length 1, up to float32 rounding; for fast products, never for decisions."""
        block = widen(self.values[where] if isinstance(where, slice) else self._gathered(where))
        block *= (1.0 / np.sqrt(self.squares[where])).astype(np.float32)[:, None]
        return block

    def some(self, index: NDArray[np.int64]) -> Rows:
        """Some rows, in memory."""
        return Rows(self._gathered(index), self.squares[index])

    def _gathered(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows, a few at once where they are many: each one brings the pages around it along."""
        if len(index) <= SCATTERED:
            return np.asarray(self.values[index])
        out = np.empty((len(index), self.width), self.values.dtype)
        for start in range(0, len(index), SCATTERED):
            out[start : start + SCATTERED] = self.values[index[start : start + SCATTERED]]
            self.forget()
        return out

    def cosines(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 [n]: the cosines of pairs of rows."""
        return pair_cosines(self, left, self, right)

    def forget(self) -> None:
        """Lets go of the pages of a memory map, which else count as this process's memory."""
        let_go(self.values)

    def walked(self, start: int, stop: int) -> None:
        """To be called by walks over all rows, part by part: lets go of the pages once in `PAGES` bytes."""
        size = self.values.strides[0]
        if start * size // PAGES != stop * size // PAGES:
            self.forget()


def pair_cosines(
    left: Rows, left_index: NDArray[np.int64], right: Rows, right_index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64 [n]: cosine of `left[left_index[k]]` and `right[right_index[k]]` for each k."""
    found = np.empty(len(left_index), np.float64)
    step = max(1, (1 << 19) // left.width)  # 4 MB of float64: stays in cache
    for start in range(0, len(found), step):
        here = slice(start, start + step)
        i, j = left_index[here], right_index[here]
        dots = _dots(left.values[i], right.values[j])
        found[here] = dots / np.sqrt(left.squares[i] * right.squares[j])
        if len(found) > SCATTERED:
            left.forget()
    return np.minimum(found, 1.0, out=found)


def check(vectors: Any, each: Map = map) -> Rows:
    """Takes unit rows as they are.

    Args:
        vectors: float16 or float32 [N, D], rows of length 1; a `numpy.memmap` is read in blocks.
        each: maps a function over blocks.

    Raises:
        UsageError: it is no such array, or a row is not finite, is zero or has not length 1; the first one is named.
    """
    values = vectors if isinstance(vectors, np.ndarray) else np.asarray(vectors)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UsageError(f"vectors: shape {values.shape}; wanted are rows of one width, [N, D]")
    if values.dtype not in (np.float16, np.float32):
        raise UsageError(f"vectors: dtype {values.dtype}; wanted is float16 or float32 (use vectors.astype('float16'))")
    squares = np.empty(len(values), np.float64)
    rows = Rows(values, squares)

    def measure(start: int) -> None:
        squares[start : start + BLOCK] = _squares(values[start : start + BLOCK])
        rows.walked(start, start + BLOCK)

    for start, _ in zip(range(0, len(values), BLOCK), each(measure, range(0, len(values), BLOCK)), strict=True):
        _refuse_unfit(squares[start : start + BLOCK], start)
    rows.forget()
    return rows


def check_threshold(threshold: float) -> float:
    """The threshold as a float.

    Raises:
        UsageError: it does not lie in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold {threshold}: wanted is a cosine above 0 and at most 1, for example 0.9")
    return float(threshold)


def widen(rows: NDArray[Any]) -> NDArray[np.float32]:
    """A float32 copy; by torch where it is loaded, which widens float16 four times as fast as numpy."""
    torch = engine.torch_here()
    if torch is None:
        return np.array(rows, np.float32)
    wide: NDArray[np.float32] = torch.from_numpy(np.array(rows)).to(torch.float32).numpy()
    return wide


def _dots(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """The dot products of rows, as the definition sums them."""
    if left.dtype == np.float16 and right.dtype == np.float16:
        return _true_dots(left, right)
    return _fold(np.multiply(left, right, dtype=np.float64))


def _true_dots(left: NDArray[np.float16], right: NDArray[np.float16]) -> NDArray[np.float64]:
    """The dot products of float16 rows: products are exact in float32, and so are their sums in float64, in any order.

    So a matrix product with ones sums them, a few rows at a time, which stay in the cache.
    """
    torch, width = engine.torch_here(), left.shape[1]
    ones, found = np.ones(width), np.empty(len(left), np.float64)
    step = max(1, CACHED // width)
    for start in range(0, len(found), step):
        products = widen(left[start : start + step])
        products *= widen(right[start : start + step])
        out = found[start : start + step]
        if torch is None:
            np.matmul(products.astype(np.float64), ones, out=out)
        else:
            torch.mv(torch.from_numpy(products).double(), torch.from_numpy(ones), out=torch.from_numpy(out))
    return found


def _fold(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums each row by halving, in place."""
    width = products.shape[1]
    while width > 1:
        half = width // 2
        products[:, :half] += products[:, width - half : width]
        width -= half
    return products[:, 0]


def _squares(block: NDArray[Any]) -> NDArray[np.float64]:
    step = max(1, (1 << 18) // block.shape[1])
    parts = [block[start : start + step] for start in range(0, len(block), step)]
    return np.concatenate([_dots(part, part) for part in parts])


def _refuse_unfit(squares: NDArray[np.float64], first: int) -> None:
    bad = ~(np.abs(np.sqrt(squares) - 1) <= UNIT)  # not a number fails this too
    if not bad.any():
        return
    row = int(np.argmax(bad))
    length = float(np.sqrt(squares[row]))
    if not np.isfinite(length):
        raise UsageError(f"vectors: row {first + row} holds NaN or infinity; leave it out or embed it again")
    if length == 0:
        raise UsageError(f"vectors: row {first + row} is zero; leave it out or embed it again")
    raise UsageError(f"vectors: row {first + row} has length {length:.4g}, not 1; divide each row by its length")
