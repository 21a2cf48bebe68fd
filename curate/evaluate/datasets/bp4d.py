"""BP4D: intensities (0 to 5) of five action units, 41 people in eight tasks each; people split as in FERA 2015."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.clip_boxes import clip_box
from curate.evaluate.datasets.folder import Folder, files_below, integer, number, pictures_of
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, Sample, TaskName, ValueTarget

ASK = "ask for BP4D-Spontaneous at www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
UNITS = ("AU06", "AU10", "AU12", "AU14", "AU17")
CROP = CropRule("box", margin=0.4, size=224, origin="median of dlib's boxes in five frames of the clip", shift_y=-0.05)
CODED = re.compile(r"([FM]\d{3})_(T\d+)_(AU\d+)\.csv", re.IGNORECASE)
UNKNOWN = 9


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `AUCoding/AU_INT/AUxx/F001_T1_AUxx.csv` (frame, intensity) and frames `.../F001/T1/<frame>.jpg`.

    Subjects of odd number train, those of even number test (FERA 2015).

    Raises:
        UsageError: the coding or the frames are missing, or a line is wrong.
    """
    folder = Folder(root, "bp4d", ASK)
    coding = folder.need("AUCoding/AU_INT", "AU_INT", "AU-Intensity-Codes3.0", "AUCoding")
    levels: dict[tuple[str, str], dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(coding.rglob("*.csv")):
        named = CODED.fullmatch(path.name)
        if named and named[3].upper() in UNITS:
            clip = levels[named[1].upper(), named[2].upper()]
            for frame, level in _coded(path):
                clip[frame][named[3].upper()] = level
    if not levels:
        raise UsageError(f"{coding}: there is no file like F001_T1_AU06.csv; {ASK}")
    frames = _frames(folder, set(levels))
    samples, rows = [], []
    for (subject, name), coded in sorted(levels.items()):
        found = {int(p.stem): p for p in frames.get((subject, name), []) if p.stem.isdecimal()}
        there = sorted(set(found) & set(coded))
        if not there:
            continue
        pictures = [File(found[frame]) for frame in there]
        box = clip_box(pictures)
        split = TRAIN if int(subject[1:]) % 2 else TEST
        for frame, picture in zip(there, pictures, strict=True):
            samples.append(
                Sample(folder.id_of(picture.path), picture, split, subject, box=box, clip=f"{subject}/{name}")
            )
            rows.append([coded[frame].get(unit, np.nan) for unit in UNITS])
    if not samples:
        raise UsageError(f"{root}: no frame like F001/T1/0001.jpg goes with the coding; {ASK}")
    return Dataset("bp4d", task, samples, CROP, (ValueTarget(UNITS, np.array(rows), 0.0, 5.0),))


def _coded(path: Path) -> list[tuple[int, float]]:
    """(frame, intensity) of one file; unknown intensities are left out, a first line of words is skipped."""
    found = []
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fields = [field.strip() for field in text.split(",")]
        if len(fields) < 2 or (line == 1 and not fields[0].isdecimal()):
            continue
        level = number(fields[1], path, line, "intensity")
        if not np.isnan(level) and level != UNKNOWN:
            found.append((integer(fields[0], path, line, "frame"), level))
    return found


def _frames(folder: Folder, clips: set[tuple[str, str]]) -> dict[tuple[str, str], list[Path]]:
    """Pictures by subject and task, from wherever folders F001/T1 lie below the root."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in pictures_of(files_below(folder.root)):
        if (path.parent.parent.name.upper(), path.parent.name.upper()) in clips:
            found[path.parent.parent.name.upper(), path.parent.name.upper()].append(path)
    return found
