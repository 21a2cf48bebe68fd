"""BP4D: intensities (0 to 5) of five action units, or occurrence of twelve; 41 people in eight tasks each.

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
from curate.evaluate.config import DataOptions
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.clip_boxes import clip_box
from curate.evaluate.datasets.folder import (
    Folder,
    MissingPartError,
    counts,
    in_range,
    integer,
    number,
    numbered,
    pictures_of,
    table,
    text_lines,
    unmatched,
)  # fmt: skip
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, OccurrenceTarget, Sample, TaskName, ValueTarget
from curate.storage.files import files_below

ASK = "ask for BP4D-Spontaneous at www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
UNITS = ("AU06", "AU10", "AU12", "AU14", "AU17")
LOW, HIGH, UNKNOWN = 0.0, 5.0, 9.0
CROP = CropRule("box", margin=0.4, size=224, origin="median of dlib's boxes in five frames of the clip", shift_y=-0.05)
DETECTED = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
FOLDS = (
    ("F001", "F002", "F008", "F009", "F010", "F016", "F018", "F023", "M001", "M004", "M007", "M008", "M012", "M014"),
    ("F003", "F005", "F011", "F013", "F020", "F022", "M002", "M005", "M010", "M011", "M013", "M016", "M017", "M018"),
    ("F004", "F006", "F007", "F012", "F014", "F015", "F017", "F019", "F021", "M003", "M006", "M009", "M015"),
)
"""The folds that work on detection uses since JAA-Net (Shao et al., ECCV 2018), as ME-GraphAU's code lists them."""
OCCURRENCE = re.compile(r"([FM]\d{3})_(T\d+)\.csv", re.IGNORECASE)
CODED = re.compile(r"([FM]\d{3})_(T\d+)_(AU\d+)\.csv", re.IGNORECASE)
FRAMES = re.compile(r"([FM]\d{3})[ _/-](T\d+)", re.IGNORECASE)
"""What the path of a folder of frames ends with: F001/T1, or F001_T1."""
FRAME_PATTERNS = tuple(f"[FM]*[0-9]{join}T[0-9]*/*" for join in "/_- ")
"""The same as patterns of paths."""
DEPTHS = ("", "*/", "*/*/", "*/*/*/")
"""Where files are looked for to say which folder --data should have named; any depth would search whole disks."""
Clip = tuple[str, str]
"""Person and task, F001 and T1."""
Codes = dict[int, dict[str, float]]
"""By frame, the level of each unit."""


def read(root: Path, task: TaskName, options: DataOptions) -> Dataset:
    """Reads codes and frames `.../F001/T1/<frame>.jpg`.

    Intensities are files `F001_T1_AU06.csv` (frame, intensity); subjects of odd number train, those of even number test
    (FERA 2015). Occurrence are files `F001_T1.csv` (a column a unit, named by its number); three folds of people.

    Raises:
        UsageError: the coding or the frames are missing, or a line is wrong.
    """
    folder = Folder(root, "bp4d", ASK)
    files = files_below(root)
    occurs = options.labels == "occurrence"
    units, levels = (DETECTED, _occurrence(root, files)) if occurs else (UNITS, _codes(root, files))
    fold_of = {person: f"fold{k + 1}" for k, fold in enumerate(FOLDS) for person in fold}
    frames = _frames(files, set(levels))
    samples, rows = [], []
    lost, spare, partly = dict[str, list[int]](), dict[str, list[int]](), dict[str, list[int]]()
    for (subject, name), coded in sorted(levels.items()):
        found = numbered(frames[subject, name]) if (subject, name) in frames else {}
        there = sorted(found.keys() & coded.keys())
        clip = f"{subject}/{name}"
        lost[clip], spare[clip] = sorted(coded.keys() - found.keys()), sorted(found.keys() - coded.keys())
        partly[clip] = sorted(frame for frame in there if len(coded[frame]) < len(units))
        pictures = [File(found[frame]) for frame in there]
        box = clip_box(pictures) if pictures else None
        split = TRAIN if int(subject[1:]) % 2 else TEST
        if occurs:
            if subject not in fold_of:
                raise UsageError(f"{root}: {subject} is in none of the three folds of BP4D's 41 people")
            split = fold_of[subject]
        for frame, picture in zip(there, pictures, strict=True):
            samples.append(Sample(folder.id_of(picture.path), picture, split, subject, box=box, clip=clip))
            rows.append([coded[frame].get(unit, np.nan) for unit in units])
    if not samples:
        raise _missing(f"{root}: no frame like F001/T1/0001.jpg goes with the coding", *FRAME_PATTERNS)
    found_of = {"people": len({s.subject for s in samples}), "clips": len({s.clip for s in samples})}
    notes = unmatched("coded frames without a picture left out", lost)
    notes += unmatched("pictures without codes left out", spare)
    notes += unmatched("frames without a code for some of the units, unknown there", partly)
    notes += counts(found_of, {"people": 41, "clips": 328})
    values = np.array(rows)
    target = OccurrenceTarget(units, values) if occurs else ValueTarget(units, values, LOW, HIGH)
    folds = tuple(sorted({sample.split for sample in samples})) if occurs else ()
    if occurs and len(folds) < 2:
        raise UsageError(f"{root}: people of {folds[0]} alone; people of at least two folds are needed; {ASK}")
    return Dataset("bp4d", task, samples, CROP, (target,), folds=folds, notes=notes)


def _missing(message: str, *patterns: str) -> MissingPartError:
    """The error for a part that is not there; patterns of its files say which folder has it."""
    return MissingPartError(f"{message}; {ASK}", tuple(depth + pattern for depth in DEPTHS for pattern in patterns))


def _occurrence(root: Path, files: Iterable[Path]) -> dict[Clip, Codes]:
    """Which units are there in every frame of every clip; 9 is unknown.

    Raises:
        UsageError: there are no such files, the same are in two, or a line is wrong.
    """
    levels: dict[Clip, Codes] = {}
    columns = {unit: str(int(unit[2:])) for unit in DETECTED}
    for path in files:
        named = OCCURRENCE.fullmatch(path.name)
        if not named:
            continue
        clip = (named[1].upper(), named[2].upper())
        if clip in levels:
            raise UsageError(f"{path}: there is another file of this name; keep one of them")
        levels[clip] = {}
        for line, row in table(path, ("0", *columns.values())):
            found = {}
            for unit, column in columns.items():
                value = number(row[column], path, line, unit)
                if value not in (0, 1, UNKNOWN) and not np.isnan(value):
                    raise UsageError(f"{path}:{line}: {unit} = {value:g}: occurrence is 0 or 1, or 9 for not coded")
                found[unit] = np.nan if value == UNKNOWN else value
            levels[clip][integer(row["0"], path, line, "frame")] = found
    if not levels:
        raise _missing(f"{root}: no file of occurrence like F001_T1.csv in it or any folder below", "[FM][0-9]*_T?.csv")
    return levels


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
        raise _missing(f"{root}: no file like F001_T1_AU06.csv in it or any folder below", "[FM][0-9]*_T*_AU*.csv")
    return {
        clip: {frame: found for frame, found in codes.items() if not np.isnan(list(found.values())).all()}
        for clip, codes in levels.items()
    }


def _coded(path: Path) -> list[tuple[int, float]]:
    """(frame, intensity) of one file; unknown intensities (9, or empty) are NaN, a first line of words is skipped.

    Raises:
        UsageError: a line is wrong, or an intensity outside 0 to 5.
    """
    found = []
    for line, text in enumerate(text_lines(path), 1):
        fields = [field.strip() for field in text.split(",")]
        if len(fields) < 2 or (line == 1 and not fields[0].isdecimal()):
            continue
        level = number(fields[1], path, line, "intensity")
        level = np.nan if level == UNKNOWN else level
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
