"""How the bytes of a batch become its pictures: what the loader asks for, and its plain form on the CPU.

The other form is `curate.pretrain.gpu_jpeg`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.pretrain.pictures import PackedPictures

AT_ONCE = 8
"""Pictures that one task of a thread takes."""

Pending = Callable[[], list[int]]
"""Waits until a batch's pictures are where they belong; returns the positions of damaged ones."""


class Decoder(Protocol):
    """Fills the memory of batches with pictures, several batches ahead of the step."""

    def memory(self, shape: tuple[int, ...]) -> Tensor:
        """Memory for the pictures of a batch: uint8."""

    def begin(self, pool: Executor, positions: NDArray[np.int64], images: Tensor) -> Pending:
        """Begins to fill a batch.

        Args:
            pool: threads that may be used.
            positions: int64 [b], of its pictures; where one is damaged, the one that is shown instead is written here.
            images: uint8 [b, H, W, 3], of `memory`.
        """

    def reuse(self, images: Tensor) -> None:
        """Says that the steps so far are all that reads a batch's memory: another batch will be begun there."""

    def close(self) -> None:
        """Ends what is under way."""


class CpuDecoder:
    """libjpeg-turbo in the loader's threads.

    Args:
        pictures: where they are read.
        everything: int64 [n], sorted positions of the pictures that may be shown.
        pinned: batches lie in page-locked memory, for fast copies to a GPU.
    """

    def __init__(self, pictures: PackedPictures, everything: NDArray[np.int64], pinned: bool = False) -> None:
        self.pictures, self.everything, self.pinned = pictures, everything, pinned

    def memory(self, shape: tuple[int, ...]) -> Tensor:
        """On the host."""
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned)

    def begin(self, pool: Executor, positions: NDArray[np.int64], images: Tensor) -> Pending:
        """Each task of a thread decodes a few pictures to their place."""
        futures = [
            pool.submit(self._decode, positions[at : at + AT_ONCE], images[at : at + AT_ONCE].numpy())
            for at in range(0, len(positions), AT_ONCE)
        ]
        return lambda: [position for future in futures for position in future.result()]

    def reuse(self, images: Tensor) -> None:
        """Whoever copies from host memory waits for the copy himself."""

    def close(self) -> None:
        """Nothing is kept."""

    def _decode(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> list[int]:
        damaged = []
        for index, position in enumerate(positions.tolist()):
            place = out[index]
            if not self.pictures.decode(position, place):
                damaged.append(position)
                positions[index] = next_sound(self.everything, position, partial(self.pictures.decode, out=place))
        return damaged


def next_sound(everything: NDArray[np.int64], position: int, sound: Callable[[int], bool]) -> int:
    """The position of the picture that is shown instead of a damaged one: the next sound one, the first after the last.

    Args:
        everything: int64 [n], sorted positions of the pictures that may be shown.
        position: of the damaged one.
        sound: says whether the picture at a position is.
    """
    start = int(np.searchsorted(everything, position))
    for step in range(1, len(everything) + 1):
        other = int(everything[(start + step) % len(everything)])
        if sound(other):
            return other
    raise ValueError("none of the pictures can be decoded")
