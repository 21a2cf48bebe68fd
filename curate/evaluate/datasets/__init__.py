"""The catalogue: every data set by name, one line each; its reader, which says what it is, is one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import cast

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets.folder import Folder, MissingPartError, dangling
from curate.evaluate.samples import Dataset, TaskName, refuse_leaks, upright

Reader = Callable[..., Dataset]
"""Takes the folder and the task, and `DataOptions` where its entry says so."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One data set.

    Attributes:
        task: what it is for; a tuple where its labels serve several.
        options: whether its reader takes `data` of the recipe.
    """

    task: TaskName | tuple[TaskName, ...]
    options: bool = False

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
    "calfw": CatalogueEntry("recognition"),
    "cplfw": CatalogueEntry("recognition"),
    "ijbb": CatalogueEntry("recognition"),
    "ijbc": CatalogueEntry("recognition"),
    "pts": CatalogueEntry("landmarks"),
    "300w": CatalogueEntry("landmarks", options=True),
    "wflw": CatalogueEntry("landmarks"),
    "cofw": CatalogueEntry("landmarks"),
    "aflw19": CatalogueEntry("landmarks"),
    "csv": CatalogueEntry(("emotion", "action_units"), options=True),
    "bp4d": CatalogueEntry("action_units", options=True),
    "disfa": CatalogueEntry("action_units", options=True),
    "affectnet": CatalogueEntry("emotion", options=True),
    "afew_va": CatalogueEntry("emotion"),
    "raf_db": CatalogueEntry("emotion"),
    "fer2013": CatalogueEntry("emotion"),
    "mat": CatalogueEntry("reconstruction"),
    "300w_lp": CatalogueEntry("reconstruction"),
    "aflw2000": CatalogueEntry("reconstruction"),
    "florence": CatalogueEntry("reconstruction"),
}


def read(name: str, task: str, root: Path, options: DataOptions | None = None) -> Dataset:
    """Reads a data set and refuses leaks between its splits.

    Args:
        options: `data` of the recipe; None: the defaults.

    Raises:
        UsageError: the name or the task is not known, they do not go together, or the folder is not the data set.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise UsageError(f"--dataset {name}: none of {', '.join(CATALOGUE)}")
    if task not in entry.tasks:
        raise UsageError(f"--dataset {name} is for --task {' or '.join(entry.tasks)}, not {task}")
    module = import_module(f"curate.evaluate.datasets.{name if name.isidentifier() else 'set_' + name}")
    given = (task, options or DataOptions()) if entry.options else (task,)
    reader, notes = cast(Reader, module.read), dangling(root) if root.is_dir() else ()
    try:
        dataset = reader(root, *given)
    except MissingPartError as error:
        raise _with_right_folder(root, error) from None
    refuse_leaks(name, dataset.samples)
    samples = dataset.samples if dataset.crop.rule != "whole" else [upright(sample) for sample in dataset.samples]
    return replace(dataset, samples=samples, notes=(*dataset.notes, *notes))


def _with_right_folder(root: Path, error: MissingPartError) -> UsageError:
    """The error, with the folder one or two levels down or one up that holds what is missing in `root`, if any."""
    above = root.absolute().parent
    for level, words in (("*/", "one folder below"), ("*/*/", "two folders below")):
        below = [p for p in sorted(root.glob(level)) if Folder(p, "", "").find(*error.alternatives)]
        if below:
            return UsageError(f"{error}; it is {words}: --data {' or --data '.join(map(str, below[:3]))}")
    if Folder(above, "", "").find(*error.alternatives):
        return UsageError(f"{error}; it is in the folder above: --data {above}")
    return error
