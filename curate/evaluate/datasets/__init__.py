"""The catalogue: every data set by name, one line each; its reader, which says what it is, is one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from curate.errors import UsageError
from curate.evaluate.samples import Dataset, TaskName, refuse_leaks

Reader = Callable[[Path, TaskName], Dataset]


@dataclass(frozen=True)
class CatalogueEntry:
    """One data set.

    Attributes:
        task: what it is for; a tuple where its labels serve several.
    """

    task: TaskName | tuple[TaskName, ...]

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """All tasks."""
        return self.task if isinstance(self.task, tuple) else (self.task,)


CATALOGUE: dict[str, CatalogueEntry] = {
    "pairs": CatalogueEntry("recognition"),
    "vggface2": CatalogueEntry("recognition"),
    "lfw": CatalogueEntry("recognition"),
    "cfp_fp": CatalogueEntry("recognition"),
    "agedb_30": CatalogueEntry("recognition"),
    "ijbb": CatalogueEntry("recognition"),
    "ijbc": CatalogueEntry("recognition"),
    "pts": CatalogueEntry("landmarks"),
    "300w": CatalogueEntry("landmarks"),
    "wflw": CatalogueEntry("landmarks"),
    "cofw": CatalogueEntry("landmarks"),
    "aflw19": CatalogueEntry("landmarks"),
    "csv": CatalogueEntry(("emotion", "action_units")),
    "bp4d": CatalogueEntry("action_units"),
    "disfa": CatalogueEntry("action_units"),
    "affectnet": CatalogueEntry("emotion"),
    "afew_va": CatalogueEntry("emotion"),
    "raf_db": CatalogueEntry("emotion"),
    "fer2013": CatalogueEntry("emotion"),
    "mat": CatalogueEntry("reconstruction"),
    "300w_lp": CatalogueEntry("reconstruction"),
    "aflw2000": CatalogueEntry("reconstruction"),
    "florence": CatalogueEntry("reconstruction"),
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
