"""IJB-B: see `curate.evaluate.datasets.ijb`."""

from __future__ import annotations

from pathlib import Path

from curate.evaluate.datasets.ijb import read_ijb
from curate.evaluate.samples import Dataset, TaskName


def read(root: Path, task: TaskName) -> Dataset:
    """Reads IJB-B.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    return read_ijb(root, "ijbb", task, ("S1", "S2"))
