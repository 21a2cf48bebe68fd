"""The catalogue: every data set by name, one line each; its reader is one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from curate.errors import UsageError
from curate.evaluate.samples import Dataset, Task, refuse_leaks

Reader = Callable[[Path, Task], Dataset]


@dataclass(frozen=True)
class Entry:
    """One data set.

    Attributes:
        task: what it is for; a tuple where its labels serve several.
        about: what it is, and where to ask for it.
    """

    task: Task | tuple[Task, ...]
    about: str

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks."""
        return self.task if isinstance(self.task, tuple) else (self.task,)


CATALOGUE: dict[str, Entry] = {
    "pairs": Entry("recognition", "your own pairs"),
    "pts": Entry("landmarks", "your own .pts landmarks"),
    "csv": Entry(("emotion", "action_units"), "your own labels.csv"),
    "mat": Entry("reconstruction", "your own .mat shapes"),
}


def read(name: str, task: str, root: Path) -> Dataset:
    """Reads a data set and refuses leaks between its splits.

    Raises:
        UsageError: the name or the task is not known, they do not go together, or the folder is not the data set.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise UsageError(f"--dataset {name}: none of {', '.join(CATALOGUE)}")
    if task not in entry.tasks:
        raise UsageError(f"--dataset {name} is for --task {' or '.join(entry.tasks)}, not {task}")
    module = import_module(f"curate.evaluate.datasets.{name if name.isidentifier() else 'set_' + name}")
    dataset = cast(Reader, module.read)(root, task)
    refuse_leaks(name, dataset.samples)
    return dataset
