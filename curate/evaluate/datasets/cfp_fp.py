"""CFP-FP: frontal against profile, 7,000 pairs in ten folds. The owners' folder, or insightface's `cfp_fp.bin`."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, converted, counts, lines
from curate.evaluate.datasets.insightface_bin import read_bin
from curate.evaluate.datasets.pair_list import PairList
from curate.evaluate.samples import Dataset, TaskName

ASK = "get cfp-dataset.zip from www.cfpw.io, or cfp_fp.bin with insightface's data sets"
CROP = CropRule("whole", size=112, origin="the owners' tight pictures")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads CFP with `Protocol/Pair_list_{F,P}.txt` and `Protocol/Split/FP/NN/{same,diff}.txt`.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "cfp_fp", ASK)
    binary = folder.find("cfp_fp.bin")
    if binary:
        return read_bin(binary, "cfp_fp", task)
    inner = folder.find("Protocol", "cfp-dataset/Protocol") or folder.need("Protocol", "cfp_fp.bin")
    pictures = {kind: _pictures(folder, inner / f"Pair_list_{kind}.txt", inner) for kind in "FP"}
    listed = PairList(folder)
    folder.need(str((inner / "Split" / "FP").relative_to(root)))
    for fold, split in enumerate(sorted(p for p in (inner / "Split" / "FP").iterdir() if p.is_dir())):
        for name, verdict in (("same.txt", True), ("diff.txt", False)):
            path = folder.need(str((split / name).relative_to(root)))
            for line, words in lines(path):
                numbers = "".join(words).split(",")
                if len(numbers) != 2:
                    raise folder.wrong(path, line, "a pair is `frontal,profile`")
                found = [pictures[kind].get(number) for kind, number in zip("FP", numbers, strict=True)]
                if found[0] is None or found[1] is None:
                    raise folder.wrong(path, line, f"the lists have no pair {','.join(numbers)}; {ASK}")
                lost = next((p for p in found if p and not p.is_file()), None)
                if lost:
                    raise folder.wrong(path, line, f"there is no picture {folder.id_of(lost)}; {ASK}")
                first, second = (listed.picture(p, p.parent.parent.name) for p in (found[0], found[1]))
                listed.add(first, second, verdict, fold)
    if not len(listed):
        raise UsageError(f"{inner}: Split/FP holds no pairs; {ASK}")
    notes = counts({"pairs": len(listed)}, {"pairs": 7000})
    return Dataset("cfp_fp", task, listed.samples, CROP, trials=listed.pairs(), notes=notes)


def _pictures(folder: Folder, path: Path, inner: Path) -> dict[str, Path]:
    """Number -> picture; paths in the list are relative to the folder `Protocol`."""
    folder.need(str(path.relative_to(folder.root)))
    found = {}
    for line, words in lines(path):
        if len(words) != 2:
            raise folder.wrong(path, line, "a line is `number path`")
        found[words[0]] = converted(folder.inside(words[1], path, line, inner))
    return found
