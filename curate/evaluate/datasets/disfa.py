"""DISFA: intensities (0 to 5) of twelve action units, 27 people, one video each; three folds of nine people.

Labels and pictures both carry the number of their frame and are joined by it; what has no partner is left out and
noted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.datasets.clip_boxes import clip_box
from curate.evaluate.datasets.folder import (
    Folder,
    counts,
    in_range,
    integer,
    number,
    numbered,
    pictures_of,
    text_lines,
    unmatched,
)
from curate.evaluate.datasets.mat import load_mat
from curate.evaluate.pictures import File, PictureSource, VideoFrame
from curate.evaluate.samples import Dataset, OccurrenceTarget, Sample, TaskName, ValueTarget
from curate.storage.files import files_below

ASK = "ask for DISFA at mohammadmahoor.com/disfa"
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
LOW, HIGH = 0.0, 5.0
DETECTED, THERE = (1, 2, 4, 6, 9, 12, 25, 26), 2
"""Units whose occurrence is detected, and the level from which on a unit counts as there (Zhao et al., CVPR 2016)."""
CROP = CropRule("box", margin=0.25, size=224, origin="tight box around Landmark_Points, or the median of dlib's boxes")
FOLDS = (
    ("SN002", "SN010", "SN001", "SN026", "SN027", "SN032", "SN030", "SN009", "SN016"),
    ("SN013", "SN018", "SN011", "SN028", "SN012", "SN006", "SN031", "SN021", "SN024"),
    ("SN003", "SN029", "SN023", "SN025", "SN008", "SN005", "SN007", "SN017", "SN004"),
)
"""The folds that most work on DISFA uses since Zhao et al. (DRML, CVPR 2016)."""
Levels = dict[int, "np.ndarray"]
"""Frame, counted from 0 -> float64 [12], NaN where unknown."""


@dataclass(frozen=True, eq=False)
class _Person:
    """What the folder holds of one person: labels, and pictures by the number in their names.

    Attributes:
        video: whether pictures are frames of the owners' video, by their index, which counts from 0 for sure.
    """

    name: str
    levels: Levels
    pictures: Mapping[int, PictureSource]
    video: bool


def read(root: Path, task: TaskName, options: DataOptions) -> Dataset:
    """Reads `ActionUnit_Labels/SNxxx/SNxxx_auN.txt` and the videos or frames of the left camera.

    Raises:
        UsageError: labels or videos are missing, or a line is wrong.
    """
    folder = Folder(root, "disfa", ASK)
    labels = folder.need("ActionUnit_Labels", "ActionUnits_Labels")
    fold_of = {subject: f"fold{k + 1}" for k, fold in enumerate(FOLDS) for subject in fold}
    people = [_person(folder, p) for p in sorted(labels.iterdir()) if p.is_dir() and p.name in fold_of]
    if not people:
        raise UsageError(f"{labels}: there is no folder like SN001; {ASK}")
    first, notes = _first_number(people)
    lost, spare, partly = dict[str, list[int]](), dict[str, list[int]](), dict[str, list[int]]()
    samples: list[Sample] = []
    rows: list[np.ndarray] = []
    for person in people:
        pictures = person.pictures if person.video else {n - first: p for n, p in person.pictures.items()}
        lost[person.name] = sorted(frame + 1 for frame in person.levels.keys() - pictures.keys())
        spare[person.name] = sorted(frame + 1 for frame in pictures.keys() - person.levels.keys())
        partly[person.name] = sorted(f + 1 for f, values in person.levels.items() if np.isnan(values).any())
        frames = sorted(person.levels.keys() & pictures.keys())
        boxes = _boxes(folder, person.name, [(frame, pictures[frame]) for frame in frames])
        for frame, box in zip(frames, boxes, strict=True):
            name, fold = f"{person.name}/{frame + 1:05d}", fold_of[person.name]
            samples.append(Sample(name, pictures[frame], fold, person.name, box=box, clip=person.name))
            rows.append(person.levels[frame])
    if not samples:
        raise UsageError(f"{root}: no frame has the number of a label; {ASK}")
    folds = tuple(sorted({sample.split for sample in samples}))
    if len(folds) < 2:
        raise UsageError(f"{labels}: people of {folds[0]} alone; people of at least two folds are needed; {ASK}")
    notes += unmatched("labelled frames without a picture left out", lost)
    notes += unmatched("pictures without labels left out", spare)
    notes += unmatched("frames without a label for some of the units, unknown there", partly)
    notes += counts({"people": len(people)}, {"people": 27})
    target = _target(np.stack(rows), options)
    return Dataset("disfa", task, samples, CROP, (target,), folds=folds, notes=tuple(notes))


def _target(levels: np.ndarray, options: DataOptions) -> ValueTarget | OccurrenceTarget:
    """Intensities of the twelve units, or whether each of eight is there, as the literature has both."""
    if options.labels == "intensity":
        return ValueTarget(tuple(f"AU{unit:02d}" for unit in UNITS), levels, LOW, HIGH)
    chosen = levels[:, [UNITS.index(unit) for unit in DETECTED]]
    there = np.where(np.isnan(chosen), np.nan, chosen >= THERE)
    return OccurrenceTarget(tuple(f"AU{unit:02d}" for unit in DETECTED), there)


def _person(folder: Folder, place: Path) -> _Person:
    levels = _levels(place)
    video = folder.find(f"Video*_LeftCamera/LeftVideo{place.name}_[cC]omp.avi", f"LeftVideo{place.name}_[cC]omp.avi")
    if video:
        return _Person(place.name, levels, {frame: VideoFrame(video, frame) for frame in levels}, True)
    return _Person(place.name, levels, _pictures(folder, place.name), False)


def _levels(place: Path) -> Levels:
    """The labels of one person: lines `frame,intensity`, frames counted from 1 (from 0, where a frame 0 is listed).

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    found: dict[int, np.ndarray] = defaultdict(lambda: np.full(len(UNITS), np.nan))
    for column, unit in enumerate(UNITS):
        path = place / f"{place.name}_au{unit}.txt"
        if not path.is_file():
            raise UsageError(f"{path}: is missing; {ASK}")
        seen: set[int] = set()
        for line, text in enumerate(text_lines(path), 1):
            fields = text.replace(",", " ").split()
            if not fields:
                continue
            if len(fields) != 2:
                raise UsageError(f"{path}:{line}: a line is `frame,intensity`, for example 1,0")
            frame, level = integer(fields[0], path, line, "frame"), number(fields[1], path, line, "intensity")
            if frame in seen:
                raise UsageError(f"{path}:{line}: frame {frame} is listed twice")
            seen.add(frame)
            found[frame][column] = in_range(level, LOW, HIGH, f"{path}:{line}: intensity", "remove the line")
    first = 0 if 0 in found else 1
    return {frame - first: values for frame, values in found.items()}


def _pictures(folder: Folder, subject: str) -> dict[int, PictureSource]:
    """Frames of one person by the number in their names, from a folder named like the person.

    Raises:
        UsageError: there are none, or two have one number.
    """
    place = folder.find(
        f"[iI]mages/Left/{subject}", f"[iI]mages/{subject}", f"[iI]mages/LeftVideo{subject}*",
        f"Video*_LeftCamera*/{subject}", f"Video*_LeftCamera*/LeftVideo{subject}*",
    )  # fmt: skip
    paths = pictures_of(files_below(place)) if place else []
    if not paths:
        folder.need(f"Videos_LeftCamera/LeftVideo{subject}_comp.avi", f"Images/Left/{subject}")
        raise UsageError(f"{place}: there are no pictures; {ASK}")
    return {number: File(path) for number, path in numbered(paths).items()}


def _first_number(people: list[_Person]) -> tuple[int, list[str]]:
    """The number of a video's first frame in the names of pictures, which is one for all people: 0 or 1; and notes.

    Cut from the videos, a person has as many frames as labels: a picture 0 says that they count from 0, one whose
    number is that of the labels that they count from 1. Without either they are taken as counting from 1, as labels do.
    """
    cut = [person for person in people if not person.video]
    zero = any(0 in person.pictures for person in cut)
    one = any(max(person.levels) + 1 in person.pictures for person in cut)
    if zero and one:
        return 0, ["pictures are numbered from 0 and go one beyond the labels: joined as numbered from 0"]
    if cut and not zero and not one:
        return 1, ["neither the first nor the last frame of anybody is there: pictures taken as numbered from 1"]
    return (0 if zero else 1), []


def _boxes(folder: Folder, subject: str, pictures: list[tuple[int, PictureSource]]) -> list[Box]:
    """A box a frame: around the owners' 66 points, or those of the nearest frame that has them; else one for the clip.

    The owners number these files in two ways: `SN001_0000_lm.mat` from 0, `l00001_lm.mat` from 1; a few are missing.
    """
    place = folder.find(f"Landmark_Points/{subject}", f"Landmark_Points/Landmark_Points/{subject}")
    found = [p for p in files_below(place) if p.suffix == ".mat"] if place else []
    files = {n - (not p.name.startswith(subject)): p for n, p in numbered(found).items()} if found else {}
    if not files:
        return [clip_box([picture for _, picture in pictures])] * len(pictures)
    there, frames = np.array(sorted(files)), np.array([frame for frame, _ in pictures], dtype=np.int64)
    after = np.clip(np.searchsorted(there, frames), 1, len(there) - 1) if len(there) > 1 else 0
    before = np.maximum(after - 1, 0)
    nearest = np.where(frames - there[before] <= there[after] - frames, there[before], there[after])
    box_of = {int(frame): _box(files[int(frame)]) for frame in np.unique(nearest)}
    return [box_of[int(frame)] for frame in nearest]


def _box(path: Path) -> Box:
    content = load_mat(path)
    points = next((np.asarray(v, dtype=np.float64) for v in content.values() if np.shape(v) == (66, 2)), None)
    if points is None:
        raise UsageError(f"{path}: holds no 66 x 2 points; {ASK}")
    (x0, y0), (x1, y1) = points.min(axis=0) - 1, points.max(axis=0) - 1
    return (float(x0), float(y0), float(x1), float(y1))
