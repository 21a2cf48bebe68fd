"""`csv`: a user's own labels: `labels.csv` with classes, valence and arousal, or action units."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, number, table
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, VALIDATION, ClassTarget, Dataset, Sample, Target, TaskName, ValueTarget

ASK = "write labels.csv with the columns image,split and emotion, or valence,arousal, or AU01,AU02,..."
CROP = CropRule("whole", size=224)
SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}
AU = re.compile(r"AU\d+", re.IGNORECASE)


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `labels.csv`; an empty field of a number or a class is unknown.

    Raises:
        UsageError: a column is missing, a line is wrong, or a picture cannot be found.
    """
    folder = Folder(root, "csv", ASK)
    path = folder.need("labels.csv")
    rows = list(table(path, ("image", "split")))
    if not rows:
        raise UsageError(f"{path}: there are no pictures below the first line")
    samples = []
    for line, row in rows:
        split = SPLITS.get(row["split"].lower())
        if split is None:
            raise folder.wrong(path, line, f"split = {row['split']!r}: write train, val or test")
        picture = folder.picture(row["image"], path, line)
        samples.append(Sample(folder.id_of(picture), File(picture), split, row.get("subject") or None))
    return Dataset("csv", task, samples, CROP, _targets(path, rows, task))


def _targets(path: Path, rows: list[tuple[int, dict[str, str]]], task: TaskName) -> tuple[Target, ...]:
    columns = rows[0][1].keys()
    targets: list[Target] = []
    if task == "action_units":
        units = [name for name in columns if AU.fullmatch(name)]
        if units:
            values = _numbers(path, rows, units)
            targets.append(ValueTarget(tuple(units), values, 0.0, float(np.nanmax(values, initial=1.0))))
    else:
        if "emotion" in columns:
            names = tuple(sorted({row["emotion"] for _, row in rows} - {""}))
            index = np.array([names.index(row["emotion"]) if row["emotion"] else -1 for _, row in rows], dtype=np.int64)
            targets.append(ClassTarget(names, index))
        if "valence" in columns and "arousal" in columns:
            values = _numbers(path, rows, ["valence", "arousal"])
            bound = float(np.nanmax(np.abs(values), initial=1.0))
            targets.append(ValueTarget(("valence", "arousal"), values, -bound, bound))
    if not targets:
        wanted = "AU01,AU02,..." if task == "action_units" else "emotion, or valence,arousal"
        raise UsageError(f"{path}:1: no column for {task}; the first line must name {wanted}")
    return tuple(targets)


def _numbers(path: Path, rows: list[tuple[int, dict[str, str]]], columns: list[str]) -> np.ndarray:
    return np.array([[number(row[name], path, line, name) for name in columns] for line, row in rows])
