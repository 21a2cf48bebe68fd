"""The products of `curate.dedupe.prefilter` by torch: in bfloat16 where the processor is fast at it, and on GPUs."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate.dedupe.prefilter import Prefilter, padded


class TorchPrefilter(Prefilter):
    """Products of one precision on one device.

    Args:
        width: D of the rows.
        device: a torch device.
        bfloat16: whether rows and products are bfloat16, on a CPU; None: where that is faster here.
    """

    def __init__(self, width: int, device: str = "cpu", bfloat16: bool | None = None) -> None:
        super().__init__(width)
        self.device = torch.device(device)
        self.coarse = self.device.type == "cpu" and (bfloat16_is_faster() if bfloat16 is None else bfloat16)
        self.dtype = torch.bfloat16 if self.coarse else torch.float32
        self.itemsize = self.dtype.itemsize
        self._summing += 2.0**-9 if self.coarse else 0.0

    def room(self, count: int) -> Any:
        """See `Prefilter.room`."""
        filled = torch.empty((padded(count), -(-self.width // 32) * 32), dtype=self.dtype, device=self.device)
        filled[count:], filled[:, self.width :] = 0, 0
        return filled

    def put(self, filled: Any, start: int, unit: NDArray[np.float32]) -> float:
        """See `Prefilter.put`."""
        true = torch.from_numpy(unit)
        here = filled[start : start + len(unit), : self.width]
        here.copy_(true)
        if not self.coarse or not len(unit):
            return 0.0
        return float(torch.linalg.vector_norm(here.float().sub_(true), dim=1).max()) * (1 + 1e-4)

    def _empty(self, name: str, size: int) -> Any:
        return torch.empty(size, dtype=torch.bool if name == "mask" else self.dtype, device=self.device)

    def _products(self, left: Any, right: Any, out: Any) -> Any:
        return torch.mm(left, right.T, out=out)

    def _selected(self, rows: Any, index: NDArray[np.int64]) -> Any:
        return torch.index_select(rows, 0, torch.from_numpy(index).to(self.device))

    def _joined(self, parts: list[Any]) -> Any:
        return torch.cat(parts)

    def _reaching(self, products: Any, bars: NDArray[np.float32]) -> NDArray[np.int64]:
        out = self._buffer("mask", tuple(products.shape))
        if self.device.type != "cpu":
            mask = torch.ge(products, torch.from_numpy(bars).to(self.device)[:, None], out=out)
            found: NDArray[np.int64] = mask.view(-1).nonzero()[:, 0].cpu().numpy()
            return found
        if self.coarse:
            # Bit patterns of positive floats are ordered as their values are, and 16 bits compare fastest.
            bits = np.where(bars > 0, bars.view(np.int32) >> 16, -(1 << 15)).astype(np.int16)
            np.greater_equal(products.view(torch.int16).numpy(), bits[:, None], out=out.numpy())
        else:
            np.greater_equal(products.numpy(), bars[:, None], out=out.numpy())
        return np.flatnonzero(out.numpy())

    def _values(self, products: Any, flat: NDArray[np.int64]) -> NDArray[np.float32]:
        values = products.view(-1)[torch.from_numpy(flat).to(self.device)].float().clamp_(-1, 1)
        taken: NDArray[np.float32] = values.cpu().numpy()
        return taken


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
