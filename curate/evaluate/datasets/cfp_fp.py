"""CFP-FP: frontal against profile, 7,000 pairs in ten folds. The owners' folder, or insightface's `cfp_fp.bin`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.evaluate.crops import Crop
from curate.evaluate.datasets.folder import Folder, lines
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, Dataset, Pairs, Sample, Task

ASK = "get cfp-dataset.zip from www.cfpw.io, or cfp_fp.bin with insightface's data sets"
CROP = Crop("whole", size=112, origin="the owners' tight pictures")


def read(root: Path, task: Task) -> Dataset:
    """Reads CFP with `Protocol/Pair_list_{F,P}.txt` and `Protocol/Split/FP/NN/{same,diff}.txt`.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "cfp_fp", ASK)
    binary = folder.find("cfp_fp.bin")
    if binary:
        return read_bin(binary, "cfp_fp", task)
    inner = folder.find("Protocol", "cfp-dataset/Protocol") or folder.need("Protocol", "cfp_fp.bin")
    start = inner.parent
    lists = {kind: _pictures(folder, inner / f"Pair_list_{kind}.txt", inner) for kind in "FP"}
    index: dict[Path, int] = {}
    samples: list[Sample] = []
    first, second, same, fold = [], [], [], []

    def sample_of(kind: str, number: str, path: Path, line: int) -> int:
        picture = lists[kind].get(number.strip())
        if picture is None or not picture.is_file():
            raise folder.wrong(path, line, f"there is no picture {number} of Pair_list_{kind}.txt; {ASK}")
        if picture not in index:
            index[picture] = len(samples)
            samples.append(
                Sample(picture.relative_to(start).as_posix(), File(picture), TEST, picture.parent.parent.name)
            )
        return index[picture]

    folder.need(str((inner / "Split" / "FP").relative_to(root)))
    for number, split in enumerate(sorted(p for p in (inner / "Split" / "FP").iterdir() if p.is_dir())):
        for name, verdict in (("same.txt", True), ("diff.txt", False)):
            path = folder.need(str((split / name).relative_to(root)))
            for line, words in lines(path):
                pair = "".join(words).split(",")
                if len(pair) != 2:
                    raise folder.wrong(path, line, "a pair is `frontal,profile`")
                first.append(sample_of("F", pair[0], path, line))
                second.append(sample_of("P", pair[1], path, line))
                same.append(verdict)
                fold.append(number)
    trials = Pairs(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(same), np.array(fold))
    return Dataset("cfp_fp", task, samples, CROP, trials=trials)


def _pictures(folder: Folder, path: Path, inner: Path) -> dict[str, Path]:
    """Number -> picture; paths in the list are relative to the folder `Protocol`."""
    folder.need(str(path.relative_to(folder.root)))
    found = {}
    for line, words in lines(path):
        if len(words) != 2:
            raise folder.wrong(path, line, "a line is `number path`")
        found[words[0]] = (inner / words[1]).resolve()
        if not found[words[0]].is_relative_to(folder.root.resolve()):
            raise folder.wrong(path, line, f"{words[1]} leads out of {folder.root}")
    return {number: folder.root / picture.relative_to(folder.root.resolve()) for number, picture in found.items()}
