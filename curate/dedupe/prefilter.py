"""Fast products that say which pairs *may* be alike, with an error bound that makes "no" a proof.

A prefilter rounds unit rows to bfloat16 (where the processor has matrix units for it) or keeps float32, multiplies, and
names the pairs whose product is not certainly below a bar. What it names is then judged by `cosine.pair_cosines`; what
it does not name is below the bar, whatever the hardware. For rows x, y of length 1, their rounded forms u, v, and the
product p that is stored:

    |x.y - u.v| <= |x - u| |v| + |x| |y - v|      rounding of rows, which is measured when they are loaded
    |u.v - sum| <= D 2^-24 |u| |v|                float32 sums in any order, fused or not (Higham 2002, eq. 3.5)
    |sum - p|   <= 2^-9                           bfloat16 results only; beyond 1, where they are coarser, p is cut

A cosine is at most 1, so that cutting p brings it nearer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TILE = 1024
"""Columns that are multiplied and searched at once: the products stay in the cache."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Left index, right index, product."""


@dataclass(frozen=True)
class Loaded:
    """Rows as a prefilter multiplies them, filled up with zeros to sizes that matrix units like.

    Attributes:
        rows: [at least count, at least D], on the prefilter's device.
        count: true rows.
        residue: no row was moved further than this by rounding.
    """

    rows: torch.Tensor
    count: int
    residue: float


def padded(count: int) -> int:
    """Rows up to which `count` rows are filled: kernels are compiled once a shape, so that few shapes are used."""
    return max(32, 1 << (count - 1).bit_length()) if count <= 1024 else -(-count // 1024) * 1024


def summing_error(width: int) -> float:
    """How far a float32 product of two rows from `Rows.unit` is at most from their cosine."""
    return (width + 16) * 2.0**-24 * 1.05  # 16: rows of almost length 1, bars rounded to float32


class Prefilter:
    """Products of one precision on one device.

    Args:
        width: D of the rows.
        device: a torch device.
        bfloat16: whether rows and products are bfloat16, on a CPU; None: where that is faster here.
    """

    def __init__(self, width: int, device: str = "cpu", bfloat16: bool | None = None) -> None:
        self.width, self.device = width, torch.device(device)
        half = self.device.type == "cpu" and (bfloat16_is_faster() if bfloat16 is None else bfloat16)
        self.dtype = torch.bfloat16 if half else torch.float32
        self._summing = summing_error(width) + (2.0**-9 if half else 0.0)
        self._buffers = threading.local()

    def error(self, left: Loaded, right: Loaded) -> float:
        """No product of these rows is further than this from their true cosine."""
        return self._summing + left.residue + right.residue + left.residue * right.residue

    def load(self, unit: NDArray[np.float32]) -> Loaded:
        """Unit rows as the prefilter multiplies them."""
        filled = self.room(len(unit))
        return Loaded(filled, len(unit), self.put(filled, 0, unit))

    def room(self, count: int) -> torch.Tensor:
        """Memory for so many rows."""
        filled = torch.empty((padded(count), -(-self.width // 32) * 32), dtype=self.dtype, device=self.device)
        filled[count:], filled[:, self.width :] = 0, 0
        return filled

    def put(self, filled: torch.Tensor, start: int, unit: NDArray[np.float32]) -> float:
        """Puts unit rows into such memory; how far rounding moved a row at most."""
        true = torch.from_numpy(unit)
        here = filled[start : start + len(unit), : self.width]
        here.copy_(true)
        if self.dtype == torch.float32 or not len(unit):
            return 0.0
        return float(torch.linalg.vector_norm(here.float().sub_(true), dim=1).max()) * (1 + 1e-4)

    def part(self, loaded: Loaded, start: int, stop: int) -> Loaded:
        """Neighbouring rows of what was loaded, which are copied only where their number is one that needs filling."""
        if padded(stop - start) != stop - start:
            return self.take(loaded, np.arange(start, stop))
        return Loaded(loaded.rows[start:stop], stop - start, loaded.residue)

    def take(self, loaded: Loaded, index: NDArray[np.int64]) -> Loaded:
        """Some rows of what was loaded."""
        filled = np.zeros(padded(len(index)), np.int64)  # filled up with the first row; results beyond are cut off
        filled[: len(index)] = index
        rows = torch.index_select(loaded.rows, 0, torch.from_numpy(filled).to(self.device))
        return Loaded(rows, len(index), loaded.residue)

    def pick(self, blocks: list[Loaded], size: int, index: NDArray[np.int64]) -> Loaded:
        """Some rows, ascending, of what was loaded in blocks of `size` rows."""
        first = blocks[index[0] // size : index[-1] // size + 1]
        rows = torch.cat([block.rows[: block.count] for block in first])
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
            flat = self._nonzero(self._mask(products, low))
            rows, columns = np.divmod(flat, products.shape[1])
            values = products.view(-1)[torch.from_numpy(flat).to(self.device)].float().clamp_(-1, 1).cpu().numpy()
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
            rows, columns = np.divmod(self._nonzero(self._mask(products, low)), products.shape[1])
            true = columns < right.count - start
            parts.append((rows[true], columns[true] + start))
            named += len(rows)
            if named > most:
                return None
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([columns for _, columns in parts])

    def _tiles(self, left: Loaded, right: Loaded) -> Iterator[tuple[int, torch.Tensor]]:
        """Products of all pairs, padding included, `TILE` columns at a time; the next tile overwrites the last."""
        for start in range(0, len(right.rows), TILE):
            columns = right.rows[start : start + TILE]
            out = self._buffer("products", (len(left.rows), len(columns)), self.dtype)
            yield start, torch.mm(left.rows, columns.T, out=out)

    def _mask(self, products: torch.Tensor, bar: NDArray[np.float32]) -> torch.Tensor:
        """bool, whether products reach the bar of their left row; overwritten by the next call."""
        bars = np.full(len(products), 4, np.float32)
        bars[: len(bar)] = bar
        out = self._buffer("mask", tuple(products.shape), torch.bool)
        if self.device.type != "cpu":
            return torch.ge(products, torch.from_numpy(bars).to(self.device)[:, None], out=out)
        if self.dtype == torch.bfloat16:
            # Bit patterns of positive floats are ordered as their values are, and 16 bits compare fastest.
            bits = np.where(bars > 0, bars.view(np.int32) >> 16, -(1 << 15)).astype(np.int16)
            np.greater_equal(products.view(torch.int16).numpy(), bits[:, None], out=out.numpy())
        else:
            np.greater_equal(products.numpy(), bars[:, None], out=out.numpy())
        return out

    def _nonzero(self, mask: torch.Tensor) -> NDArray[np.int64]:
        if self.device.type == "cpu":
            return np.flatnonzero(mask.numpy())
        found: NDArray[np.int64] = mask.view(-1).nonzero()[:, 0].cpu().numpy()
        return found

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Memory that each thread reuses: fresh pages cost more than the products that go into them."""
        size = int(np.prod(shape))
        held: Any = getattr(self._buffers, name, None)
        if held is None or len(held) < size:
            held = torch.empty(size, dtype=dtype, device=self.device)
            setattr(self._buffers, name, held)
        view: torch.Tensor = held[:size].view(shape)
        return view


@cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 at least twice as fast as float32 (no answer depends on it).

    One thread's own processor time is taken, which other work on the machine hardly disturbs.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.full((1024, 256), 0.0625, dtype=dtype)
        out = torch.empty((1024, 1024), dtype=dtype)
        took = []
        for _ in range(5):
            start = time.thread_time()
            torch.mm(left, left.T, out=out)
            took.append(time.thread_time() - start)
        seconds[dtype] = min(took)
    torch.set_num_threads(threads)
    return seconds[torch.bfloat16] * 2 < seconds[torch.float32]
