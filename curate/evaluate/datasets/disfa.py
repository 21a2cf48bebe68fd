"""DISFA: intensities (0 to 5) of twelve action units, 27 people, one video each; three folds of nine people."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.datasets.clip_boxes import clip_box
from curate.evaluate.datasets.folder import Folder, number
from curate.evaluate.datasets.mat import load_mat
from curate.evaluate.pictures import SUFFIXES, File, PictureSource, VideoFrame
from curate.evaluate.samples import Dataset, Sample, TaskName, ValueTarget

ASK = "ask for DISFA at mohammadmahoor.com/disfa"
UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
CROP = CropRule("box", margin=0.25, size=224, origin="tight box around Landmark_Points, or the median of dlib's boxes")
FOLDS = (
    ("SN002", "SN010", "SN001", "SN026", "SN027", "SN032", "SN030", "SN009", "SN016"),
    ("SN013", "SN018", "SN011", "SN028", "SN012", "SN006", "SN031", "SN021", "SN024"),
    ("SN003", "SN029", "SN023", "SN025", "SN008", "SN005", "SN007", "SN017", "SN004"),
)
"""The folds that most work on DISFA uses since Zhao et al. (DRML, CVPR 2016)."""


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `ActionUnit_Labels/SNxxx/SNxxx_auN.txt` and the videos or frames of the left camera.

    Raises:
        UsageError: labels or videos are missing, or a line is wrong.
    """
    folder = Folder(root, "disfa", ASK)
    labels = folder.need("ActionUnit_Labels", "ActionUnits_Labels")
    fold_of = {subject: f"fold{k + 1}" for k, fold in enumerate(FOLDS) for subject in fold}
    samples: list[Sample] = []
    rows: list[np.ndarray] = []
    for place in sorted(p for p in labels.iterdir() if p.is_dir() and p.name in fold_of):
        levels = _levels(place)
        pictures = _pictures(folder, place.name, len(levels))
        boxes = _boxes(folder, place.name, pictures)
        for i in range(min(len(levels), len(pictures))):
            name = f"{place.name}/{i + 1:05d}"
            fold = fold_of[place.name]
            samples.append(Sample(name, pictures[i], fold, place.name, box=boxes[i], clip=place.name))
            rows.append(levels[i])
    if not samples:
        raise UsageError(f"{labels}: there is no folder like SN001; {ASK}")
    folds = tuple(sorted({sample.split for sample in samples}))
    if len(folds) < 2:
        raise UsageError(f"{labels}: people of {folds[0]} alone; people of at least two folds are needed; {ASK}")
    names = tuple(f"AU{unit:02d}" for unit in UNITS)
    return Dataset("disfa", task, samples, CROP, (ValueTarget(names, np.stack(rows), 0.0, 5.0),), folds=folds)


def _levels(place: Path) -> np.ndarray:
    """float64 [frames, 12] of one person.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    columns = []
    for unit in UNITS:
        path = place / f"{place.name}_au{unit}.txt"
        if not path.is_file():
            raise UsageError(f"{path}: is missing; {ASK}")
        lines = [text for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if text.strip()]
        columns.append([number(text.split(",")[-1].strip(), path, i, "intensity") for i, text in enumerate(lines, 1)])
    count = min(map(len, columns))
    return np.array([column[:count] for column in columns]).T


def _pictures(folder: Folder, subject: str, count: int) -> list[PictureSource]:
    """Frames of one person, in order: of the left camera's video, or pictures in a folder named like the person.

    Raises:
        UsageError: there are neither.
    """
    video = folder.find(f"Video*_LeftCamera/LeftVideo{subject}_[cC]omp.avi", f"LeftVideo{subject}_[cC]omp.avi")
    if video:
        return [VideoFrame(video, i) for i in range(count)]
    place = folder.find(
        f"[iI]mages/Left/{subject}", f"[iI]mages/{subject}", f"[iI]mages/LeftVideo{subject}*",
        f"Video*_LeftCamera*/{subject}", f"Video*_LeftCamera*/LeftVideo{subject}*",
    )  # fmt: skip
    found = sorted((p for p in place.iterdir() if p.suffix.lower() in SUFFIXES), key=_number) if place else []
    if not found:
        folder.need(f"Videos_LeftCamera/LeftVideo{subject}_comp.avi", f"Images/Left/{subject}")
    return [File(path) for path in found]


def _number(path: Path) -> int:
    """The last number in a file's name."""
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else 0


def _boxes(folder: Folder, subject: str, pictures: list[PictureSource]) -> list[Box]:
    """A box a frame: around the owners' 66 points, or those of the nearest frame that has them; else one for the clip.

    The owners number these files in two ways: `SN001_0000_lm.mat` from 0, `l00001_lm.mat` from 1; a few are missing.
    """
    place = folder.find(f"Landmark_Points/{subject}", f"Landmark_Points/Landmark_Points/{subject}")
    files = {_number(p) - (not p.name.startswith(subject)): p for p in place.rglob("*.mat")} if place else {}
    if not files:
        return [clip_box(pictures)] * len(pictures)
    there = np.array(sorted(files))
    after = np.clip(np.searchsorted(there, np.arange(len(pictures))), 1, len(there) - 1) if len(there) > 1 else 0
    before = np.maximum(after - 1, 0)
    frames = np.arange(len(pictures))
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
