"""LFW: 6,000 pairs in ten folds (view 2). `lfw*/Name/Name_0001.jpg` and `pairs.txt`, or insightface's `lfw.bin`."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, lines
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.datasets.pair_list import PairList
from curate.evaluate.samples import Dataset, TaskName

ASK = "get the pictures and pairs.txt (view 2) from vis-www.cs.umass.edu/lfw, or lfw.bin with insightface's data sets"
CROP = CropRule("whole", margin=-0.4, size=112, origin="middle 150 of 250 pixels: LFW centres its faces")


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
    places = [p for p in (folder.find("lfw"), folder.find("lfw_funneled"), folder.find("lfw-deepfunneled"), root) if p]
    listed = PairList(folder)

    def place(person: str, number: str, line: int) -> int:
        name = f"{person}_{int(number):04d}.jpg" if number.isdecimal() else ""
        picture = next((start / person / name for start in places if name and (start / person / name).is_file()), None)
        if picture is None:
            raise folder.wrong(path, line, f"there is no picture {number} of {person} below {root}; {ASK}")
        return listed.picture(picture, person)

    folds, size = 10, 0
    for line, words in lines(path):
        if len(words) <= 2 and not len(listed):
            counts = [int(word) for word in words if word.isdecimal()]
            folds, size = (counts[0], counts[1]) if len(counts) == 2 else (10, counts[0] if counts else 0)
        elif len(words) == 3:
            listed.add(place(words[0], words[1], line), place(words[0], words[2], line), True)
        elif len(words) == 4:
            listed.add(place(words[0], words[1], line), place(words[2], words[3], line), False)
        else:
            raise folder.wrong(path, line, "a pair is `name i j` or `name i name j`")
    if not size or len(listed) != folds * 2 * size:
        raise UsageError(
            f"{path}: {len(listed)} pairs, but its first line promises {folds} folds of {size} twice; {ASK}"
        )
    return Dataset("lfw", task, listed.samples, CROP, trials=listed.pairs(folds))
