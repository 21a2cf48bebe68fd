"""FER2013: seven expressions, 48 pixels, grey. The challenge's CSV with pixels, or folders of pictures by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, table
from curate.evaluate.pictures import Array, File, PictureSource
from curate.evaluate.samples import TEST, TRAIN, VALIDATION, ClassTarget, Dataset, Sample, TaskName

ASK = "get fer2013.csv of the Kaggle challenge Challenges in Representation Learning: Facial Expression Recognition"
NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGE = {"Training": TRAIN, "PublicTest": VALIDATION, "PrivateTest": TEST}
CROP = CropRule("whole", size=112, origin="the pictures of 48 pixels as they are")
SIDE = 48


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `fer2013.csv` (or `icml_face_data.csv`), else `train/<class>/` and `test/<class>/`.

    Training trains, PublicTest validates, PrivateTest tests.

    Raises:
        UsageError: the file is missing, or a line is wrong.
    """
    folder = Folder(root, "fer2013", ASK)
    path = folder.find("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")
    samples, index = _rows(folder, path) if path else _folders(folder)
    if not samples:
        raise UsageError(f"{root}: there are no pictures; {ASK}")
    found = {f"{part} pictures": sum(s.split == part for s in samples) for part in (TRAIN, VALIDATION, TEST)}
    expected = {"train pictures": 28709, "val pictures": 3589, "test pictures": 3589}
    if not path:  # as folders, PublicTest and PrivateTest are often one
        expected = {"train pictures": 28709}
    target = ClassTarget(NAMES, np.array(index, dtype=np.int64))
    lost = [name for number, name in enumerate(NAMES) if number not in index]
    notes = (f"there are no pictures of {', '.join(lost)}",) if lost else ()
    return Dataset("fer2013", task, samples, CROP, (target,), notes=counts(found, expected) + notes)


def _rows(folder: Folder, path: Path) -> tuple[list[Sample], list[int]]:
    samples, index = [], []
    for line, row in table(path, ("emotion", "pixels", "Usage")):
        split = USAGE.get(row["Usage"])
        pixels = np.array([int(word) if word.isdecimal() else -1 for word in row["pixels"].split()])
        if split is None or pixels.size != SIDE * SIDE or pixels.min() < 0 or pixels.max() > 255:
            raise folder.wrong(path, line, f"a line is class, {SIDE * SIDE} pixels and {', '.join(USAGE)}")
        if not row["emotion"].isdecimal() or int(row["emotion"]) >= len(NAMES):
            raise folder.wrong(path, line, f"emotion = {row['emotion']!r}: a class of 0 to {len(NAMES) - 1}")
        picture: PictureSource = Array(pixels.astype(np.uint8).reshape(SIDE, SIDE))
        samples.append(Sample(f"{line:05d}", picture, split))
        index.append(int(row["emotion"]))
    return samples, index


def _folders(folder: Folder) -> tuple[list[Sample], list[int]]:
    """Pictures in folders by class, whose names may be written in capitals.

    Raises:
        UsageError: a folder is missing, or is named like no class: its pictures would be lost.
    """
    samples, index = [], []
    folder.need("train", "fer2013.csv")
    for split in (TRAIN, TEST):
        place = folder.root / split
        for part in sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else ():
            if part.name.lower() not in NAMES:
                raise UsageError(f"{part}: is none of the classes {', '.join(NAMES)}; rename or remove it")
            for picture in folder.pictures(f"{split}/{part.name}"):
                samples.append(Sample(folder.id_of(picture), File(picture), split))
                index.append(NAMES.index(part.name.lower()))
    return samples, index
