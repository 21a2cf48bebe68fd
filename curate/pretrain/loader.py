"""Batches of decoded pictures in a seeded global order, made ready ahead of the training step by threads.

Threads, not processes: libjpeg-turbo and file reads release the interpreter lock, so nothing is copied between
processes and no worker can be orphaned. Which pictures are in a batch depends on the seed and the step alone: not on
the number of threads or processes, and training can go on from any step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.pretrain.pictures import PackedPictures

AT_ONCE = 8
"""Pictures that one task of a thread decodes."""
BUFFER_BYTES = 2 << 30
"""Batches that are made ready ahead take no more than this, but for the one in use and the next."""


@dataclass(frozen=True)
class EpochOrder:
    """Which pictures each step sees: every pass a fresh permutation, cut into whole batches.

    Attributes:
        positions: int64 [n], the pictures to go through, as positions in the manifest.
        batch: pictures a step, all processes together.
        seed: of the permutations.
    """

    positions: NDArray[np.int64]
    batch: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in a pass; the rest of a pass is left out, another one each time."""
        return len(self.positions) // self.batch

    def batches(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Step and positions [batch] of the steps `first` to `last` (exclusive)."""
        epoch, permutation = -1, self.positions
        for step in range(first, last):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                permutation = np.random.default_rng((self.seed, epoch)).permutation(self.positions)
            place = step % self.steps_per_epoch * self.batch
            yield step, permutation[place : place + self.batch]

    def at(self, step: int) -> NDArray[np.int64]:
        """Positions [batch] of one step."""
        return next(iter(self.batches(step, step + 1)))[1]


@dataclass(frozen=True)
class ReadAhead:
    """How batches are made ready.

    Attributes:
        threads: that read and decode.
        batches: made ready ahead.
        pinned: pictures go into page-locked memory, for fast copies to a GPU.
    """

    threads: int = 1
    batches: int = 3
    pinned: bool = False


@dataclass(frozen=True)
class Batch:
    """What one process sees of one step.

    Attributes:
        step: counted from 0 over the whole run.
        positions: int64 [b], in the manifest, as really shown: a damaged picture is replaced by another one.
        images: uint8 [b, H, W, 3]; its memory is used again once the next batch but one is asked for.
        damaged: int64, positions of pictures that could not be decoded.
    """

    step: int
    positions: NDArray[np.int64]
    images: Tensor
    damaged: NDArray[np.int64]


def batches(
    pictures: PackedPictures,
    order: EpochOrder,
    steps: range,
    part: tuple[int, int] = (0, 1),
    reading: ReadAhead | None = None,
) -> Iterator[Batch]:
    """The batches of some steps for one process.

    Args:
        pictures: where they are read.
        order: which ones.
        steps: which steps, from 0.
        part: (rank, world): this process's share is every batch's `rank`-th part of `world` equal ones.
        reading: threads and buffers; None: one thread.
    """
    reading = reading or ReadAhead()
    rank, world = part
    share = order.batch // world
    shape = (share, pictures.height, pictures.width, 3)
    ahead = max(1, min(reading.batches, BUFFER_BYTES // int(np.prod(shape))))
    free = deque(torch.empty(shape, dtype=torch.uint8, pin_memory=reading.pinned) for _ in range(ahead + 2))
    used: deque[Tensor] = deque()  # the last one may still be on its way to the device
    waiting: deque[tuple[int, NDArray[np.int64], Tensor, list[Future[list[int]]]]] = deque()
    with ThreadPoolExecutor(reading.threads, "decode") as pool:
        try:
            for step, chosen in order.batches(steps.start, steps.stop):
                if len(waiting) == ahead:
                    batch = _finish(*waiting.popleft())
                    yield batch
                    used.append(batch.images)
                    if len(used) > 1:
                        free.append(used.popleft())
                mine = chosen[rank * share : (rank + 1) * share].copy()
                images = free.popleft()
                futures = [
                    pool.submit(
                        _decode, pictures, order.positions, mine[at : at + AT_ONCE], images[at : at + AT_ONCE].numpy()
                    )
                    for at in range(0, share, AT_ONCE)
                ]
                waiting.append((step, mine, images, futures))
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _finish(step: int, positions: NDArray[np.int64], images: Tensor, futures: list[Future[list[int]]]) -> Batch:
    damaged = [position for future in futures for position in future.result()]
    return Batch(step, positions, images, np.array(damaged, np.int64))


def _decode(
    pictures: PackedPictures, everything: NDArray[np.int64], positions: NDArray[np.int64], out: NDArray[np.uint8]
) -> list[int]:
    """Decodes pictures into `out`; a damaged one is replaced by the next sound one, in `positions` too."""
    damaged = []
    for index, position in enumerate(positions):
        if pictures.decode(int(position), out[index]):
            continue
        damaged.append(int(position))
        start = int(np.searchsorted(everything, position))
        for step in range(1, len(everything) + 1):
            other = int(everything[(start + step) % len(everything)])
            if pictures.decode(other, out[index]):
                positions[index] = other
                break
        else:
            raise ValueError("none of the pictures can be decoded")
    return damaged
