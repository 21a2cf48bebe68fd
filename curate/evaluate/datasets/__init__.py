"""The catalogue: every data set by name, one line each; its reader, which says what it is, is one file."""

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
    """

    task: Task | tuple[Task, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks."""
        return self.task if isinstance(self.task, tuple) else (self.task,)


CATALOGUE: dict[str, Entry] = {
    "pairs": Entry("recognition"),
    "vggface2": Entry("recognition"),
    "lfw": Entry("recognition"),
    "cfp_fp": Entry("recognition"),
    "agedb_30": Entry("recognition"),
    "ijbb": Entry("recognition"),
    "ijbc": Entry("recognition"),
    "pts": Entry("landmarks"),
    "300w": Entry("landmarks"),
    "wflw": Entry("landmarks"),
    "cofw": Entry("landmarks"),
    "aflw19": Entry("landmarks"),
    "csv": Entry(("emotion", "action_units")),
    "bp4d": Entry("action_units"),
    "disfa": Entry("action_units"),
    "affectnet": Entry("emotion"),
    "afew_va": Entry("emotion"),
    "raf_db": Entry("emotion"),
    "fer2013": Entry("emotion"),
    "mat": Entry("reconstruction"),
    "300w_lp": Entry("reconstruction"),
    "aflw2000": Entry("reconstruction"),
    "florence": Entry("reconstruction"),
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
