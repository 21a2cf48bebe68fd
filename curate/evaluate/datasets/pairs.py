"""`pairs`: a user's own pairs to be verified (`pairs.csv`), and maybe people to learn from (`train/<person>/`)."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, table
from curate.evaluate.datasets.pair_list import PairList
from curate.evaluate.pictures import File
from curate.evaluate.samples import TRAIN, Dataset, Sample, TaskName

ASK = "write pairs.csv with the columns fold,image_a,image_b,same"
CROP = CropRule("whole", size=112)
VERDICTS = {"1": True, "0": False, "true": True, "false": False}


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `pairs.csv` and the pictures that it names.

    A picture's subject is the folder that it lies in, where that folder is named like one of `train/`: a person in both
    is a leak.

    Raises:
        UsageError: a line is wrong, a picture is missing or ambiguous, or a person to learn from is also tested.
    """
    folder = Folder(root, "pairs", ASK)
    path = folder.need("pairs.csv")
    train = people(folder, "train") if folder.find("train") else []
    known = {sample.subject for sample in train}
    listed, fold_of = PairList(folder), dict[str, int]()

    def place(name: str, line: int) -> int:
        found = folder.picture(name, path, line)
        if "train" in found.relative_to(root).parts[:1]:
            raise folder.wrong(path, line, f"{name} lies in train/, so it cannot be tested; scores would be too good")
        return listed.picture(found, found.parent.name if found.parent.name in known else None)

    for line, row in table(path, ("fold", "image_a", "image_b", "same")):
        verdict = VERDICTS.get(row["same"].lower())
        if verdict is None:
            raise folder.wrong(path, line, f"same = {row['same']!r}: write 1 or 0")
        fold = fold_of.setdefault(row["fold"], len(fold_of))
        listed.add(place(row["image_a"], line), place(row["image_b"], line), verdict, fold)
    if not len(listed):
        raise UsageError(f"{path}: there are no pairs below the first line")
    if len(fold_of) < 2:
        raise UsageError(
            f"{path}: all pairs are of fold {next(iter(fold_of))}; at least two folds are needed to choose thresholds"
        )
    return Dataset("pairs", task, listed.samples + train, CROP, trials=listed.pairs())


def people(folder: Folder, below: str) -> list[Sample]:
    """Samples of `below/<person>/...`; the person is the first folder's name.

    Raises:
        UsageError: there are no pictures.
    """
    found = folder.pictures(below)
    start = folder.root / below
    samples = [
        Sample(folder.id_of(path), File(path), TRAIN, path.relative_to(start).parts[0])
        for path in found
        if len(path.relative_to(start).parts) > 1
    ]
    if not samples:
        raise UsageError(f"{start}: there are no pictures in {below}/<person>/; {folder.ask}")
    return samples
