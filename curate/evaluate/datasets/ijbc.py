"""IJB-C: see `curate.evaluate.datasets.ijb`."""

from __future__ import annotations

from pathlib import Path

from curate.evaluate.datasets.ijb import read_ijb
from curate.evaluate.samples import Dataset, TaskName


def read(root: Path, task: TaskName) -> Dataset:
    """Reads IJB-C.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    return read_ijb(root, "ijbc", task, ("G1", "G2"))
