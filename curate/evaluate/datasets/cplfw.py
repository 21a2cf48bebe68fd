"""CPLFW: pairs across poses, 6,000 in ten folds; insightface's `cplfw.bin`."""

from __future__ import annotations

from pathlib import Path

from curate.evaluate.datasets.folder import Folder
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.samples import Dataset, TaskName


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `cplfw.bin`.

    Raises:
        UsageError: it is missing, or not of the format.
    """
    folder = Folder(root, "cplfw", "cplfw.bin comes with insightface's data sets")
    return read_bin(folder.need("cplfw.bin"), "cplfw", task)
