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
    "vggface2": Entry("recognition", "VGGFace2: 8,631 people to learn from, pairs of 500 others"),
    "lfw": Entry("recognition", "LFW: 6,000 pairs"),
    "cfp_fp": Entry("recognition", "CFP-FP: 7,000 pairs, frontal against profile"),
    "agedb_30": Entry("recognition", "AgeDB-30: 6,000 pairs, 30 years apart"),
    "ijbb": Entry("recognition", "IJB-B: templates, 1:1 and 1:N"),
    "ijbc": Entry("recognition", "IJB-C: templates, 1:1 and 1:N"),
    "pts": Entry("landmarks", "your own .pts landmarks"),
    "300w": Entry("landmarks", "300-W: 68 points; common, challenging, full"),
    "wflw": Entry("landmarks", "WFLW: 98 points, six subsets"),
    "cofw": Entry("landmarks", "COFW: 29 points, occlusions"),
    "aflw19": Entry("landmarks", "AFLW-19: 19 points; full, frontal"),
    "csv": Entry(("emotion", "action_units"), "your own labels.csv"),
    "bp4d": Entry("action_units", "BP4D: intensities of 5 action units"),
    "disfa": Entry("action_units", "DISFA: intensities of 12 action units"),
    "affectnet": Entry("emotion", "AffectNet: 8 expressions, valence and arousal"),
    "afew_va": Entry("emotion", "AFEW-VA: valence and arousal in film clips"),
    "raf_db": Entry("emotion", "RAF-DB: 7 expressions"),
    "fer2013": Entry("emotion", "FER2013: 7 expressions"),
    "mat": Entry("reconstruction", "your own .mat shapes"),
    "300w_lp": Entry("reconstruction", "300W-LP to train on, AFLW2000-3D to test"),
    "aflw2000": Entry("reconstruction", "AFLW2000-3D, trained on 300W-LP where it is there"),
    "florence": Entry("reconstruction", "MICC Florence: scans of 53 people, drawn from 15 sides"),
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
