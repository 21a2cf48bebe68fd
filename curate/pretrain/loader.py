"""Batches of decoded pictures in a seeded global order, made ready ahead of the training step by threads.

Threads, not processes: libjpeg-turbo and file reads release the interpreter lock, so nothing is copied between
processes and no worker can be orphaned. Which pictures are in a batch depends on the seed and the step alone: not on
the number of threads or processes, and training can go on from any step. How bytes become pictures is left to a
`Decoder`: on the CPU, or on the GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from curate.pretrain.decoders import CpuDecoder, Decoder, Pending
from curate.pretrain.pictures import PackedPictures

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
        images: uint8 [b, H, W, 3], where the decoder puts them; the memory is used again once the next batch but one
            is asked for.
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
    decoder: Decoder | None = None,
) -> Iterator[Batch]:
    """The batches of some steps for one process.

    Args:
        pictures: where they are read.
        order: which ones.
        steps: which steps, from 0.
        part: (rank, world): this process's share is every batch's `rank`-th part of `world` equal ones.
        reading: threads and buffers; None: one thread.
        decoder: how bytes become pictures, closed at the end; None: on the CPU.
    """
    reading = reading or ReadAhead()
    decoder = decoder or CpuDecoder(pictures, order.positions, reading.pinned)
    rank, world = part
    share = order.batch // world
    shape = (share, pictures.height, pictures.width, 3)
    ahead = max(1, min(reading.batches, BUFFER_BYTES // int(np.prod(shape))))
    free = deque(decoder.memory(shape) for _ in range(ahead + 2))
    used: deque[Tensor] = deque()  # the last one may still be on its way to the device
    waiting: deque[tuple[int, NDArray[np.int64], Tensor, Pending]] = deque()
    with ThreadPoolExecutor(reading.threads, "decode") as pool:
        try:
            for step, chosen in order.batches(steps.start, steps.stop):
                if len(waiting) == ahead:
                    batch = _finish(*waiting.popleft())
                    yield batch
                    used.append(batch.images)
                    if len(used) > 1:
                        decoder.reuse(used[0])
                        free.append(used.popleft())
                mine = chosen[rank * share : (rank + 1) * share].copy()
                images = free.popleft()
                waiting.append((step, mine, images, decoder.begin(pool, mine, images)))
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            decoder.close()


def _finish(step: int, positions: NDArray[np.int64], images: Tensor, pending: Pending) -> Batch:
    damaged = pending()  # only then `positions` are those that are shown
    return Batch(step, positions, images, np.array(damaged, np.int64))
