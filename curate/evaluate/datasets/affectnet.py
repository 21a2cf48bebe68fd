"""AffectNet: eight expressions, valence and arousal; the manually annotated part with CSV lists, or the `.npy` form.

The owners keep their test part, so their validation part tests, as in the literature.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.datasets.folder import Folder, converted, counts, in_range, integer, number, pictures_of, table
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, Sample, TaskName, ValueTarget

ASK = "ask for AffectNet at mohammadmahoor.com/affectnet"
NAMES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
BOXED = CropRule("box", margin=0.1, size=224, origin="face_x, face_y, face_width, face_height of the owners' CSV")
WHOLE = CropRule("whole", size=224, origin="the owners' cropped pictures")
UNCERTAIN, NO_FACE = -2.0, 10
WHOLE_SET = {8: (287_651, 4_000), 7: (283_901, 3_500)}
"""Faces of the training and the validation part by number of classes; the later release has one fewer to validate."""


def read(root: Path, task: TaskName, options: DataOptions) -> Dataset:
    """Reads either form.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "affectnet", ASK)
    read_form = _arrays if folder.find("train_set/annotations") else _lists
    return _dataset(folder, task, read_form(folder), options.classes)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Faces with their expression (-1 unknown), valence and arousal (NaN unknown)."""

    samples: list[Sample]
    index: list[int]
    values: list[list[float]]
    crop: CropRule
    notes: list[str]


def _lists(folder: Folder) -> _Rows:
    pictures = folder.need(
        "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images", "Manually_Annotated"
    )
    columns = (
        "subDirectory_filePath",
        "face_x",
        "face_y",
        "face_width",
        "face_height",
        "expression",
        "valence",
        "arousal",
    )
    samples, index, values, lost, again, none = [], [], [], 0, 0, 0
    seen: set[tuple[str, Path]] = set()
    for split, name in ((TRAIN, "training.csv"), (TEST, "validation.csv")):
        path = folder.need(name, f"Manually_Annotated_file_lists/{name}", f"Manually_Annotated/{name}")
        for line, row in table(path, columns):
            picture = converted(folder.inside(row[columns[0]], path, line, pictures))
            relative = picture.relative_to(pictures)
            where = f"{path}:{line}"
            expression = _expression(integer(row["expression"], path, line, "expression"), where)
            affect = [_affect(number(row[c], path, line, c), f"{where}: {c}") for c in ("valence", "arousal")]
            if expression < 0 and np.isnan(affect).all():
                none += 1
                continue
            if not picture.is_file():
                lost += 1
                continue
            if (split, relative) in seen:
                again += 1
                continue
            seen.add((split, relative))
            x, y, wide, high = (number(row[c], path, line, c) for c in columns[1:5])
            box: Box = (x, y, x + wide, y + high)
            samples.append(Sample(f"{split}/{relative.as_posix()}", File(picture), split, box=box))
            index.append(expression)
            values.append(affect)
    left_out = {
        "lines without a face, or one that annotators were not sure of, left out": none,
        "annotated pictures are not in the folder": lost,
        "lines name a picture again; its first one counts": again,
    }
    notes = [f"{count} {what}" for what, count in left_out.items() if count]
    return _Rows(samples, index, values, BOXED, notes)


def _arrays(folder: Folder) -> _Rows:
    samples, index, values = [], [], []
    for split, name in ((TRAIN, "train_set"), (TEST, "val_set")):
        labels = folder.need(f"{name}/annotations")
        for picture in pictures_of(sorted(folder.need(f"{name}/images").iterdir())):
            paths = [labels / f"{picture.stem}_{kind}.npy" for kind in ("exp", "val", "aro")]
            samples.append(Sample(folder.id_of(picture), File(picture), split))
            index.append(_expression(_number(paths[0]), str(paths[0])))
            values.append([_affect(_number(path), str(path)) for path in paths[1:]])
    return _Rows(samples, index, values, WHOLE, [])


def _expression(code: float, where: str) -> int:
    """The class of a code: 0 to 7, or -1 for those that stand for none (8 none, 9 uncertain, 10 no face).

    Raises:
        UsageError: it is no such code.
    """
    if not (float(code).is_integer() and 0 <= code <= NO_FACE):
        raise UsageError(f"{where}: expression = {code:g} is no class of AffectNet, which are 0 to {NO_FACE}; {ASK}")
    return int(code) if code < len(NAMES) else -1


def _affect(value: float, where: str) -> float:
    """Valence or arousal; NaN for -2, which stands for unknown.

    Raises:
        UsageError: it is outside -1 to 1.
    """
    return np.nan if value == UNCERTAIN else in_range(value, -1, 1, where, "write -2 for unknown")


def _number(path: Path) -> float:
    try:
        return float(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: holds no number ({error})") from None


def _dataset(folder: Folder, task: TaskName, rows: _Rows, classes: int) -> Dataset:
    """Faces with one of the first `classes` expressions, the rows that the literature keeps, for all targets."""
    kept = [row for row, index in enumerate(rows.index) if 0 <= index < classes]
    if not kept:
        raise UsageError(f"{folder.root}: none of the annotated pictures is there; {ASK}")
    notes = list(rows.notes)
    if len(kept) < len(rows.index):
        notes.append(f"{len(rows.index) - len(kept)} faces with none of the {classes} expressions left out")
    affect = ValueTarget(("valence", "arousal"), np.array([rows.values[row] for row in kept]), -1.0, 1.0)
    index = np.array([rows.index[row] for row in kept], dtype=np.int64)
    notes += _part_of_the_whole([rows.samples[row].split for row in kept], classes)
    targets = (ClassTarget(NAMES[:classes], index), affect)
    return Dataset("affectnet", task, [rows.samples[row] for row in kept], rows.crop, targets, notes=tuple(notes))


def _part_of_the_whole(splits: list[str], classes: int) -> tuple[str, ...]:
    """A note where there are not as many faces as the owners give out."""
    train, test = WHOLE_SET[classes]
    found = {"training faces": splits.count(TRAIN), "validation faces": splits.count(TEST)}
    later = found["validation faces"] == test - 1
    return counts(found, {"training faces": train, "validation faces": test - later})
