"""AgeDB-30: pairs 30 years apart, 6,000 in ten folds. insightface's `agedb_30.bin`, or pictures and a list."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, lines
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.datasets.pair_list import PairList
from curate.evaluate.samples import Dataset, TaskName

ASK = "ask for AgeDB at ibug.doc.ic.ac.uk/resources/agedb; agedb_30.bin comes with insightface's data sets"
CROP = CropRule("whole", size=112, origin="the pictures as they are")
FOLDS = 10


def read(root: Path, task: TaskName) -> Dataset:
    """Reads AgeDB-30; a list of pairs has lines `picture picture 1|0`, its folds are ten equal parts in order.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "agedb_30", ASK)
    binary = folder.find("agedb_30.bin")
    if binary:
        return read_bin(binary, "agedb_30", task)
    path = folder.need("agedb_30.bin", "agedb_30_pair.txt")
    listed = PairList(folder)
    for line, words in lines(path):
        if len(words) != 3 or words[2] not in ("0", "1", "-1"):
            raise folder.wrong(path, line, "a pair is `picture picture 1|0`")
        first, second = (folder.picture(name, path, line) for name in words[:2])
        listed.add(listed.picture(first, _person(first)), listed.picture(second, _person(second)), words[2] == "1")
    if len(listed) < FOLDS:
        raise UsageError(f"{path}: {len(listed)} pairs; ten folds need at least ten")
    notes = counts({"pairs": len(listed)}, {"pairs": 6000})
    return Dataset("agedb_30", task, listed.samples, CROP, trials=listed.pairs(FOLDS), notes=notes)


def _person(picture: Path) -> str | None:
    """Of the owners' names: `0_MariaCallas_35_f.jpg`."""
    return picture.stem.split("_")[1] if picture.stem.count("_") >= 3 else None
