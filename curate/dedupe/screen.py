"""Fast products that say which pairs *may* be alike, with an error bound that makes "no" a proof.

A screen rounds unit rows to bfloat16 (where the processor has matrix units for it) or keeps float32, multiplies, and
names the pairs whose product is not certainly below a bar. What it names is then judged by `cosine.pair_cosines`; what
it does not name is below the bar, whatever the hardware: for stored rows u, v of unit rows x, y

    |x.y - u.v| <= |x-u| |v| + |x| |y-v|          (the rounding of the rows, measured: `residue`)
    |u.v - product| <= D 2^-24 |u| |v|            (float32 sums in any order, fused or not)
    |product - stored| <= 2^-9                    (bfloat16 results only; products lie in [-1, 1])
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

BF16_RESIDUE = 2.0**-8
"""Rounding to bfloat16 (8 significant bits) moves a unit row by at most this."""


def summing_error(width: int) -> float:
    """How far a float32 product of two rows from `Rows.unit` is at most from their cosine."""
    return (width + 16) * 2.0**-24 * 1.05


class Screen:
    """Products of one precision on one device.

    Args:
        width: D of the rows.
        device: a torch device.
        bfloat16: whether rows and products are bfloat16; None: where that is faster here.

    Attributes:
        slack: no product is further than this from the true cosine of its rows.
    """

    def __init__(self, width: int, device: str = "cpu", bfloat16: bool | None = None) -> None:
        self.device = torch.device(device)
        half = bfloat16_is_faster(device) if bfloat16 is None else bfloat16
        self.dtype = torch.bfloat16 if half else torch.float32
        summing = summing_error(width)
        self.slack = summing if not half else summing * 1.01 + 2 * BF16_RESIDUE * 1.01 + 2.0**-9

    def load(self, unit: NDArray[np.float32]) -> torch.Tensor:
        """Unit rows as the screen multiplies them, on its device."""
        return torch.from_numpy(unit).to(self.device, self.dtype)

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """[m, n] products of all pairs."""
        return left @ right.T

    def above(
        self, left: torch.Tensor, right: torch.Tensor, bar: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The pairs whose true cosine may reach the bar of their left row.

        Args:
            left: rows from `load`, [m, D].
            right: rows from `load`, [n, D].
            bar: float32 [m].

        Returns:
            Left and right indexes (sorted by left, then right) and products as float32, which are true up to `slack`.
        """
        products = self.product(left, right)
        bars = torch.from_numpy((bar - self.slack).astype(np.float32)).to(self.device)
        if self.dtype == torch.bfloat16:
            bars = torch.nextafter(
                bars.to(torch.bfloat16), torch.tensor(-4.0, dtype=torch.bfloat16, device=self.device)
            )
        flat = _nonzero(products >= bars[:, None])
        rows, columns = np.divmod(flat, products.shape[1])
        where = torch.from_numpy(flat).to(self.device)
        return rows, columns, products.view(-1)[where].float().cpu().numpy()


def _nonzero(mask: torch.Tensor) -> NDArray[np.int64]:
    if mask.device.type == "cpu":
        return np.flatnonzero(mask.numpy())
    return mask.view(-1).nonzero()[:, 0].cpu().numpy()


@cache
def bfloat16_is_faster(device: str) -> bool:
    """Whether this machine multiplies bfloat16 at least twice as fast as float32 (no answer depends on it)."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.full((512, 256), 0.0625, dtype=dtype, device=device)
        took = []
        for _ in range(4):
            start = time.perf_counter()
            float((left @ left.T)[0, 0])
            took.append(time.perf_counter() - start)
        seconds[dtype] = min(took)
    return seconds[torch.bfloat16] * 2 < seconds[torch.float32]
