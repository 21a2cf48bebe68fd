"""RAF-DB, basic: seven expressions, 12,271 pictures to train on and 3,068 to test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, lines
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, Sample, TaskName

ASK = "ask for RAF-DB (basic) at www.whdeng.cn/RAF/model1.html"
NAMES = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")
CLASSES = tuple("1234567")
CROP = CropRule("whole", size=224, origin="the owners' aligned pictures of 100 pixels")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `basic/EmoLabel/list_patition_label.txt` (the owners' spelling) and `basic/Image/aligned/`.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "raf_db", ASK)
    path = folder.need(
        "basic/EmoLabel/list_patition_label.txt", "EmoLabel/list_patition_label.txt", "list_patition_label.txt"
    )
    pictures = folder.need("basic/Image/aligned", "Image/aligned", "aligned")
    samples, index = [], []
    for line, words in lines(path):
        stem, split = Path(words[0]).stem, words[0].split("_")[0]
        if len(words) != 2 or split not in (TRAIN, TEST) or words[1] not in CLASSES or "/" in words[0]:
            raise folder.wrong(path, line, "a line is `train_00001.jpg 5`, with a class of 1 to 7")
        picture = pictures / f"{stem}_aligned.jpg"
        if not picture.is_file():
            raise folder.wrong(path, line, f"there is no picture {picture.name} in {pictures}; {ASK}")
        samples.append(Sample(folder.id_of(picture), File(picture), split))
        index.append(int(words[1]) - 1)
    if not samples:
        raise UsageError(f"{path}: is empty; {ASK}")
    found = {f"{part} pictures": sum(s.split == part for s in samples) for part in (TRAIN, TEST)}
    notes = counts(found, {"train pictures": 12271, "test pictures": 3068})
    target = ClassTarget(NAMES, np.array(index, dtype=np.int64))
    return Dataset("raf_db", task, samples, CROP, (target,), notes=notes)
