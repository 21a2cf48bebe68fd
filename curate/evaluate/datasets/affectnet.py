"""AffectNet: eight expressions, valence and arousal; the manually annotated part with CSV lists, or the `.npy` form.

The owners keep their test part, so their validation part tests, as in the literature.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.datasets.folder import Folder, integer, number, table
from curate.evaluate.pictures import SUFFIXES, File
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, Sample, TaskName, ValueTarget

ASK = "ask for AffectNet at mohammadmahoor.com/affectnet"
NAMES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
BOXED = CropRule("box", margin=0.1, size=224, origin="face_x, face_y, face_width, face_height of the owners' CSV")
WHOLE = CropRule("whole", size=224, origin="the owners' cropped pictures")
UNCERTAIN = -2.0


def read(root: Path, task: TaskName) -> Dataset:
    """Reads either form.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "affectnet", ASK)
    if folder.find("train_set/annotations"):
        return _arrays(folder, task)
    return _lists(folder, task)


def _lists(folder: Folder, task: TaskName) -> Dataset:
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
    samples, index, values, lost, again = [], [], [], 0, 0
    seen: set[tuple[str, Path]] = set()
    for split, name in ((TRAIN, "training.csv"), (TEST, "validation.csv")):
        path = folder.need(name, f"Manually_Annotated_file_lists/{name}", f"Manually_Annotated/{name}")
        for line, row in table(path, columns):
            relative = Path(row[columns[0]].replace("\\", "/"))
            if relative.is_absolute() or ".." in relative.parts:
                raise folder.wrong(path, line, f"{relative} leads out of {pictures}")
            if not (pictures / relative).is_file():
                lost += 1
                continue
            expression = integer(row["expression"], path, line, "expression")
            affect = [number(row[c], path, line, c) for c in ("valence", "arousal")]
            if expression > len(NAMES) and UNCERTAIN in affect:
                continue  # no face
            if (split, relative) in seen:
                again += 1
                continue
            seen.add((split, relative))
            x, y, wide, high = (number(row[c], path, line, c) for c in columns[1:5])
            box: Box = (x, y, x + wide, y + high)
            samples.append(Sample(f"{split}/{relative.as_posix()}", File(pictures / relative), split, box=box))
            index.append(expression if 0 <= expression < len(NAMES) else -1)
            values.append([v if v != UNCERTAIN else np.nan for v in affect])
    counts = {
        "annotated pictures are not in the folder": lost,
        "lines name a picture again; its first one counts": again,
    }
    notes = tuple(f"{count} {what}" for what, count in counts.items() if count)
    return _dataset(folder, task, samples, index, values, BOXED, notes)


def _arrays(folder: Folder, task: TaskName) -> Dataset:
    samples, index, values = [], [], []
    for split, name in ((TRAIN, "train_set"), (TEST, "val_set")):
        labels = folder.need(f"{name}/annotations")
        for picture in sorted(p for p in folder.need(f"{name}/images").iterdir() if p.suffix.lower() in SUFFIXES):
            found = [_number(labels / f"{picture.stem}_{kind}.npy") for kind in ("exp", "val", "aro")]
            samples.append(Sample(folder.id_of(picture), File(picture), split))
            index.append(int(found[0]) if 0 <= found[0] < len(NAMES) else -1)
            values.append([v if v != UNCERTAIN else np.nan for v in found[1:]])
    return _dataset(folder, task, samples, index, values, WHOLE)


def _number(path: Path) -> float:
    try:
        return float(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: holds no number ({error})") from None


def _dataset(
    folder: Folder,
    task: TaskName,
    samples: list[Sample],
    index: list[int],
    values: list[list[float]],
    crop: CropRule,
    notes: tuple[str, ...] = (),
) -> Dataset:
    if not samples:
        raise UsageError(f"{folder.root}: none of the annotated pictures is there; {ASK}")
    targets = (
        ClassTarget(NAMES, np.array(index, dtype=np.int64)),
        ValueTarget(("valence", "arousal"), np.array(values), -1.0, 1.0),
    )
    return Dataset("affectnet", task, samples, crop, targets, notes=notes)
