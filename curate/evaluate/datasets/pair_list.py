"""Pairs of pictures as a protocol lists them; each picture becomes one sample, however often it is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.evaluate.datasets.folder import Folder
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, PairTrials, Sample


class PairList:
    """Collects pairs; `samples` holds their pictures in the order in which they are first named.

    Args:
        folder: the data set's.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.samples: list[Sample] = []
        self._place: dict[Path, int] = {}
        self._pairs: list[tuple[int, int, bool, int]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def picture(self, path: Path, subject: str | None = None) -> int:
        """The place of a picture among the samples."""
        if path not in self._place:
            self._place[path] = len(self.samples)
            self.samples.append(Sample(self.folder.id_of(path), File(path), TEST, subject))
        return self._place[path]

    def add(self, first: int, second: int, same: bool, fold: int = 0) -> None:
        """One pair of places."""
        self._pairs.append((first, second, same, fold))

    def pairs(self, folds: int | None = None) -> PairTrials:
        """All pairs; with `folds`, cut into so many equal parts in order, whatever folds they came with."""
        first, second, same, fold = (np.array(column) for column in zip(*self._pairs, strict=True))
        if folds is not None:
            fold = np.arange(len(same)) * folds // len(same)
        return PairTrials(first, second, same.astype(bool), fold.astype(np.int64))
