"""LFW: 6,000 pairs in ten folds (view 2). `Name/Name_0001.jpg` below `lfw*/`, and `pairs.txt`; or `lfw.bin`."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, lines, pictures_of
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.datasets.pair_list import PairList
from curate.evaluate.pictures import DamagedPictureError
from curate.evaluate.samples import Dataset, Sample, TaskName
from curate.storage.files import files_below

ASK = "get the pictures and pairs.txt (view 2) from vis-www.cs.umass.edu/lfw, or lfw.bin with insightface's data sets"
CROP = CropRule("whole", margin=-0.4, size=112, origin="middle 150 of 250 pixels: LFW centres its faces")
ALIGNED = CropRule("whole", size=112, origin="the pictures as they are, aligned by somebody")
SIDE = 250
"""Of the owners' pictures, pixels."""


def read(root: Path, task: TaskName) -> Dataset:
    """Reads LFW.

    Raises:
        UsageError: pairs or pictures are missing, or a line of `pairs.txt` is wrong.
    """
    folder = Folder(root, "lfw", ASK)
    binary = folder.find("lfw.bin")
    if binary and not folder.find("pairs.txt"):
        return read_bin(binary, "lfw", task)
    path = folder.need("pairs.txt")
    pictures, listed = _pictures(folder), PairList(folder)

    def place(person: str, number: str, line: int) -> int | None:
        if not number.isdecimal():
            raise folder.wrong(path, line, f"{number!r} is no number of a picture of {person}")
        picture = pictures.get((person, f"{person}_{int(number):04d}"))
        return None if picture is None else listed.picture(picture, person)

    folds, size, promised, lost = 10, 0, 0, list[int]()
    for line, words in lines(path):
        if len(words) <= 2 and not promised:
            numbers = [int(word) for word in words if word.isdecimal()]
            folds, size = (numbers[0], numbers[1]) if len(numbers) == 2 else (10, numbers[0] if numbers else 0)
            continue
        if len(words) == 3:
            first, second = place(words[0], words[1], line), place(words[0], words[2], line)
        elif len(words) == 4:
            first, second = place(words[0], words[1], line), place(words[2], words[3], line)
        else:
            raise folder.wrong(path, line, "a pair is `name i j` or `name i name j`")
        if first is None or second is None:
            lost.append(line)
        else:
            listed.add(first, second, len(words) == 3, promised // (2 * size) if size else 0)
        promised += 1
    if not size or promised != folds * 2 * size:
        raise UsageError(f"{path}: {promised} pairs, but its first line promises {folds} folds of {size} twice; {ASK}")
    if not len(listed):
        raise UsageError(f"{root}: none of the pictures that {path.name} names is there, as NAME/NAME_0001.jpg; {ASK}")
    crop, notes = _crop(listed.samples[0])
    notes += counts({"pairs": promised}, {"pairs": 6000})
    if lost:
        notes = (*notes, f"{len(lost)} pairs without one of their pictures left out, the first on line {lost[0]}")
    return Dataset("lfw", task, listed.samples, crop, trials=listed.pairs(), notes=notes)


def _pictures(folder: Folder) -> dict[tuple[str, str], Path]:
    """Pictures by person and stem; those of the owners' folders before others, whatever their suffix and depth."""
    starts = (folder.find("lfw"), folder.find("lfw_funneled"), folder.find("lfw-deepfunneled"), folder.root)
    found: dict[tuple[str, str], Path] = {}
    for start in starts:
        for path in pictures_of(files_below(start)) if start else ():
            found.setdefault((path.parent.name, path.stem), path)
    return found


def _crop(sample: Sample) -> tuple[CropRule, tuple[str, ...]]:
    """The owners' crop; pictures of another size are somebody's aligned faces, which are taken whole, with a note."""
    try:
        high, wide = sample.picture.read().shape[:2]
    except DamagedPictureError:
        return CROP, ()
    if (high, wide) == (SIDE, SIDE):
        return CROP, ()
    note = f"pictures of {wide} x {high} pixels, not the owners' {SIDE} x {SIDE}: taken whole, as faces aligned already"
    return ALIGNED, (note,)
