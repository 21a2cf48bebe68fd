"""300W-LP to train on, AFLW2000-3D to test: the same two folders as `aflw2000`, and both are needed."""

from __future__ import annotations

from pathlib import Path

from curate.evaluate.datasets.aflw2000 import ASK, TESTED, read_parts
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.samples import Dataset, TaskName


def read(root: Path, task: TaskName) -> Dataset:
    """Reads both.

    Raises:
        UsageError: one is missing, or a file is not of the format.
    """
    folder = Folder(root, "300w_lp", ASK)
    names = ("300W_LP", "300W-LP")
    training = folder.find(*names) or (root if folder.find("HELEN", "AFW") else folder.need(*names))
    return read_parts(folder, "300w_lp", task, training, folder.need(*TESTED))
