"""AgeDB-30: pairs 30 years apart, 6,000 in ten folds. insightface's `agedb_30.bin`, or pictures and a list."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import Crop
from curate.evaluate.datasets.folder import Folder, lines
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, Dataset, Pairs, Sample, Task

ASK = "ask for AgeDB at ibug.doc.ic.ac.uk/resources/agedb; agedb_30.bin comes with insightface's data sets"
CROP = Crop("whole", size=112, origin="the pictures as they are")


def read(root: Path, task: Task) -> Dataset:
    """Reads AgeDB-30; a list of pairs has lines `picture picture 1|0`, its folds are ten equal parts in order.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "agedb_30", ASK)
    binary = folder.find("agedb_30.bin")
    if binary:
        return read_bin(binary, "agedb_30", task)
    path = folder.need("agedb_30.bin", "agedb_30_pair.txt")
    index: dict[Path, int] = {}
    samples: list[Sample] = []

    def sample_of(name: str, line: int) -> int:
        picture = folder.picture(name, path, line)
        if picture not in index:
            index[picture] = len(samples)
            person = picture.stem.split("_")[1] if picture.stem.count("_") >= 3 else None
            samples.append(Sample(folder.id_of(picture), File(picture), TEST, person))
        return index[picture]

    first, second, same = [], [], []
    for line, words in lines(path):
        if len(words) != 3 or words[2] not in ("0", "1", "-1"):
            raise folder.wrong(path, line, "a pair is `picture picture 1|0`")
        first.append(sample_of(words[0], line))
        second.append(sample_of(words[1], line))
        same.append(words[2] == "1")
    if len(first) < 10:
        raise UsageError(f"{path}: {len(first)} pairs; ten folds need at least ten")
    fold = np.arange(len(first), dtype=np.int64) * 10 // len(first)
    return Dataset(
        "agedb_30", task, samples, CROP, trials=Pairs(np.array(first), np.array(second), np.array(same), fold)
    )
