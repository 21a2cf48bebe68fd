"""`csv`: a user's own labels: `labels.csv` with classes, valence and arousal, or action units.

An empty field is unknown. Numbers have a declared scale: `data.scale` of the recipe, or that of their column's name
(`valence[-10..10]`), or the usual one; a number outside of it is no label and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import UNKNOWN, Folder, in_range, number, table
from curate.evaluate.pictures import File
from curate.evaluate.samples import (
    TEST,
    TRAIN,
    VALIDATION,
    ClassTarget,
    Dataset,
    OccurrenceTarget,
    Sample,
    Target,
    TaskName,
    ValueTarget,
)

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
DECLARED = re.compile(r"(?P<name>.+?)\s*\[\s*(?P<low>[-+.\de]+)\s*\.\.\s*(?P<high>[-+.\de]+)\s*\]", re.IGNORECASE)
LABELS = ("emotion", "valence", "arousal")
USUAL = {"action_units": (0.0, 5.0), "emotion": (-1.0, 1.0)}
MISNAMED = {
    "action_units": re.compile(r"(?P<label>AU)[\s_]*(?P<number>\d+)", re.IGNORECASE),
    "emotion": re.compile(r"(?P<label>emotion|valence|arousal)\s*(?P<number>)\[", re.IGNORECASE),
}
"""How a column that may be meant as one of labels begins: an action unit with a word behind it, a scale."""
NO_CLASS = frozenset({"unknown", "uncertain", "undefined", "unlabeled", "unlabelled", "none", "-", "?"})
"""Words that may stand for no class, lower case; whether they do is not guessed."""


def read(root: Path, task: TaskName, options: DataOptions) -> Dataset:
    """Reads `labels.csv`; an empty field of a number or a class is unknown.

    Raises:
        UsageError: a column is missing, a line is wrong, a label is outside its scale, or a picture cannot be found.
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
    return Dataset("csv", task, samples, CROP, _targets(_Labels(path, rows, task, options), task))


def _targets(labels: _Labels, task: TaskName) -> tuple[Target, ...]:
    targets: list[Target] = []
    if task == "action_units":
        units = [name for name in labels.columns if AU.fullmatch(name)]
        if units:
            found = labels.values(units)
            targets.append(OccurrenceTarget(found.names, found.values) if labels.occurrence else found)
    else:
        if "emotion" in labels.columns:
            targets.append(labels.classes("emotion"))
        affect = [name for name in ("valence", "arousal") if name in labels.columns]
        if len(affect) == 1:
            raise UsageError(f"{labels.path}:1: {affect[0]} stands alone; name valence and arousal, or neither")
        if affect:
            targets.append(labels.values(affect))
    if not targets:
        wanted = "AU01,AU02,..." if task == "action_units" else "emotion, or valence,arousal"
        raise UsageError(f"{labels.path}:1: no column for {task}; the first line must name {wanted}")
    return tuple(targets)


class _Labels:
    """The labels of a file, held to their scales.

    Args:
        rows: line numbers and fields by header.
    """

    def __init__(
        self, path: Path, rows: list[tuple[int, dict[str, str]]], task: TaskName, options: DataOptions
    ) -> None:
        self.path, self.rows = path, rows
        self.occurrence = task == "action_units" and options.labels == "occurrence"
        self.usual = options.scale or ((0.0, 1.0) if self.occurrence else USUAL[task])
        self.columns: dict[str, str] = {}
        self.declared: dict[str, tuple[float, float]] = {}
        for header in rows[0][1]:
            found = DECLARED.fullmatch(header)
            name = found["name"] if found else header
            name = name.upper() if AU.fullmatch(name) else name.lower() if name.lower() in LABELS else name
            if name in self.columns:
                raise UsageError(f"{path}:1: two columns are named {name}; remove one")
            self.columns[name] = header
            if found:
                low, high = (number(found[end], path, 1, f"the scale of {name}") for end in ("low", "high"))
                if not low < high:
                    raise UsageError(f"{path}:1: {header}: the first number of a scale must be below the second")
                self.declared[name] = (low, high)
        self._refuse_misnamed(MISNAMED[task])

    def _refuse_misnamed(self, begins_as: re.Pattern[str]) -> None:
        """A column that begins as one of labels does, but has another name, would be passed over."""
        for name, header in self.columns.items():
            begins = begins_as.match(name)
            label = f"{begins['label']}{begins['number']}" if begins else ""
            meant = label.upper() if AU.fullmatch(label) else label.lower()
            if meant and meant not in self.columns:
                raise UsageError(
                    f"{self.path}:1: {header} is no column of labels; write {meant}, or {meant}[LOW..HIGH] for a scale"
                )

    def values(self, names: Sequence[str]) -> ValueTarget:
        """Numbers of these columns, which share the widest of their scales."""
        scales = [self.declared.get(name, self.usual) for name in names]
        found = [
            [self._value(name, scale, *row) for name, scale in zip(names, scales, strict=True)] for row in self.rows
        ]
        low, high = min(scale[0] for scale in scales), max(scale[1] for scale in scales)
        return ValueTarget(tuple(names), np.array(found), low, high)

    def _value(self, name: str, scale: tuple[float, float], line: int, row: dict[str, str]) -> float:
        value = number(row[self.columns[name]], self.path, line, name)
        if self.occurrence and not np.isnan(value) and value not in (0, 1):
            raise UsageError(
                f"{self.path}:{line}: {name} = {value:.10g}: occurrence is 0 or 1; leave what is not coded empty"
            )
        fix = f"leave what is not coded empty, or declare the scale: --set data.scale=[LOW,HIGH], or {name}[LOW..HIGH]"
        return in_range(value, *scale, f"{self.path}:{line}: {name}", f"{fix} in the first line")

    def classes(self, column: str) -> ClassTarget:
        """One class of several; what may be a code for unknown is refused, and so is a class in two spellings."""
        texts = [row[self.columns[column]] for _, row in self.rows]
        names = tuple(sorted({text for text in texts if text.lower() not in UNKNOWN}))
        low, high = self.declared.get(column, _without_gap(names))
        words = any(not name.lstrip("+-").isdecimal() for name in names)
        spellings: dict[str, str] = {}
        for (line, _), text in zip(self.rows, texts, strict=True):
            where = f"{self.path}:{line}: {column} = {text}"
            whole = re.fullmatch(r"[-+]?\d+", text)
            odd = whole and column not in self.declared and (words or text.startswith("-"))
            if text.lower() in NO_CLASS or odd:
                raise UsageError(f"{where} is no class; leave what is not known empty, or give the class another name")
            if (whole and not low <= int(text) <= high) or (text and not whole and column in self.declared):
                raise UsageError(
                    f"{where} is none of {low:g} to {high:g}; leave what is not known empty, or declare the classes: "
                    f"{column}[LOW..HIGH] in the first line"
                )
            alike = spellings.setdefault(text.lower(), text)
            if alike != text:
                raise UsageError(f"{where} is {alike} in an earlier line; spell a class in one way")
        places = {name: place for place, name in enumerate(names)}
        return ClassTarget(names, np.array([places.get(text, -1) for text in texts], dtype=np.int64))


def _without_gap(names: tuple[str, ...]) -> tuple[float, float]:
    """The range of classes that are all whole numbers, up to the first that is missing: 9 beside 0 to 6 is a code.

    Where they are not all numbers there is no range.
    """
    numbers = sorted(int(name) for name in names if name.isdecimal())
    if not numbers or len(numbers) < len(names):
        return -np.inf, np.inf
    last = numbers[0]
    while last + 1 in numbers:
        last += 1
    return numbers[0], last
