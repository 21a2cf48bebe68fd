"""BP4D: intensities (0 to 5) of five action units, 41 people in eight tasks each; people split as in FERA 2015.

Codes are found by their files' names anywhere below the folder, since releases call their folders differently. Codes
and pictures both carry the number of their frame and are joined by it; what has no partner is left out and noted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.clip_boxes import clip_box
from curate.evaluate.datasets.folder import (
    Folder,
    counts,
    files_below,
    in_range,
    integer,
    number,
    numbered,
    pictures_of,
    text_lines,
    unmatched,
)  # fmt: skip
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, Sample, TaskName, ValueTarget

ASK = "ask for BP4D-Spontaneous at www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
UNITS = ("AU06", "AU10", "AU12", "AU14", "AU17")
LOW, HIGH, UNKNOWN = 0.0, 5.0, 9.0
CROP = CropRule("box", margin=0.4, size=224, origin="median of dlib's boxes in five frames of the clip", shift_y=-0.05)
CODED = re.compile(r"([FM]\d{3})_(T\d+)_(AU\d+)\.csv", re.IGNORECASE)
FRAMES = re.compile(r"([FM]\d{3})[ _/-](T\d+)", re.IGNORECASE)
"""What the path of a folder of frames ends with: F001/T1, or F001_T1."""
Clip = tuple[str, str]
"""Person and task, F001 and T1."""
Codes = dict[int, dict[str, float]]
"""By frame, the level of each unit."""


def read(root: Path, task: TaskName) -> Dataset:
    """Reads files `F001_T1_AU06.csv` (frame, intensity) and frames `.../F001/T1/<frame>.jpg`.

    Subjects of odd number train, those of even number test (FERA 2015).

    Raises:
        UsageError: the coding or the frames are missing, or a line is wrong.
    """
    folder = Folder(root, "bp4d", ASK)
    files = files_below(root)
    levels = _codes(root, files)
    frames = _frames(files, set(levels))
    samples, rows = [], []
    lost, spare = dict[str, list[int]](), dict[str, list[int]]()
    for (subject, name), coded in sorted(levels.items()):
        found = numbered(frames[subject, name]) if (subject, name) in frames else {}
        there = sorted(found.keys() & coded.keys())
        clip = f"{subject}/{name}"
        lost[clip], spare[clip] = sorted(coded.keys() - found.keys()), sorted(found.keys() - coded.keys())
        pictures = [File(found[frame]) for frame in there]
        box = clip_box(pictures) if pictures else None
        split = TRAIN if int(subject[1:]) % 2 else TEST
        for frame, picture in zip(there, pictures, strict=True):
            samples.append(Sample(folder.id_of(picture.path), picture, split, subject, box=box, clip=clip))
            rows.append([coded[frame].get(unit, np.nan) for unit in UNITS])
    if not samples:
        raise UsageError(f"{root}: no frame like F001/T1/0001.jpg goes with the coding; {ASK}")
    found_of = {"people": len({s.subject for s in samples}), "clips": len({s.clip for s in samples})}
    notes = unmatched("coded frames without a picture left out", lost)
    notes += unmatched("pictures without codes left out", spare)
    notes += counts(found_of, {"people": 41, "clips": 328})
    target = ValueTarget(UNITS, np.array(rows), LOW, HIGH)
    return Dataset("bp4d", task, samples, CROP, (target,), notes=notes)


def _codes(root: Path, files: Iterable[Path]) -> dict[Clip, Codes]:
    """The codes of every clip.

    Raises:
        UsageError: there are none, the same are in two files, or a line is wrong.
    """
    levels: dict[Clip, Codes] = defaultdict(lambda: defaultdict(dict))
    seen: dict[tuple[Clip, str], Path] = {}
    for path in files:
        named = CODED.fullmatch(path.name)
        if not named or named[3].upper() not in UNITS:
            continue
        clip, unit = (named[1].upper(), named[2].upper()), named[3].upper()
        other = seen.setdefault((clip, unit), path)
        if other != path:
            raise UsageError(f"{path}: {other} has the same name; keep one of them")
        for frame, level in _coded(path):
            levels[clip][frame][unit] = level
    if not levels:
        raise UsageError(f"{root}: no file like F001_T1_AU06.csv in it or any folder below; {ASK}")
    return dict(levels)


def _coded(path: Path) -> list[tuple[int, float]]:
    """(frame, intensity) of one file; unknown intensities (9, or empty) are left out, a first line of words is skipped.

    Raises:
        UsageError: a line is wrong, or an intensity outside 0 to 5.
    """
    found = []
    for line, text in enumerate(text_lines(path), 1):
        fields = [field.strip() for field in text.split(",")]
        if len(fields) < 2 or (line == 1 and not fields[0].isdecimal()):
            continue
        level = number(fields[1], path, line, "intensity")
        if not np.isnan(level) and level != UNKNOWN:
            in_range(level, LOW, HIGH, f"{path}:{line}: intensity", "write 9 for what is not coded")
            found.append((integer(fields[0], path, line, "frame"), level))
    return found


def _frames(files: Iterable[Path], clips: set[Clip]) -> dict[Clip, list[Path]]:
    """Pictures by person and task, from wherever folders F001/T1 or F001_T1 lie."""
    found: dict[Clip, list[Path]] = defaultdict(list)
    for path in pictures_of(files):
        place = path.parent
        named = FRAMES.fullmatch(place.name) or FRAMES.fullmatch(f"{place.parent.name}/{place.name}")
        if named and (named[1].upper(), named[2].upper()) in clips:
            found[named[1].upper(), named[2].upper()].append(path)
    return dict(found)
