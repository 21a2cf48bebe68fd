"""AFLW2000-3D, trained on 300W-LP: 68 points in three dimensions, and the dense face where the model's files are there.

Without 300W-LP in the folder, AFLW2000-3D is cross-validated by itself: not what the literature reports, and named so
(`split` is `cv5`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.datasets import mat, morphable
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.datasets.points import boxes_of, usable
from curate.evaluate.pictures import SUFFIXES, DamagedPictureError, File
from curate.evaluate.samples import TEST, TRAIN, Dataset, Sample, ShapeTarget, TaskName

ASK = "get AFLW2000-3D and 300W-LP from www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm"
SETS = ("AFW", "HELEN", "IBUG", "LFPW")
TESTED = ("AFLW2000", "AFLW2000-3D")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads the pictures and `.mat` files of AFLW2000-3D, and 300W-LP where it is there.

    Raises:
        UsageError: AFLW2000-3D is missing, or a file is not of the format.
    """
    folder = Folder(root, "aflw2000", ASK)
    place = folder.find(*TESTED) or (root if list(root.glob("image*.mat")) else None)
    if place is None:
        raise UsageError(f"{root}: aflw2000 needs AFLW2000/image00002.jpg and .mat; {ASK}")
    training = folder.find("300W_LP", "300W-LP") or (root if folder.find("HELEN", "AFW") else None)
    return read_parts(folder, "aflw2000", task, training, place)


def read_parts(folder: Folder, name: str, task: TaskName, training: Path | None, tested: Path) -> Dataset:
    """A data set of both folders; AFLW2000-3D trains and is cut into folds where it is alone.

    Raises:
        UsageError: a file is not of the format.
    """
    model = morphable.load(folder)
    rows = list(_tested(folder, tested, model, TEST if training else TRAIN))
    if training:
        rows += list(trained(folder, training, model))
    sound = [row for row in rows if usable(row[1][:68, :2])]
    if not sound:
        raise UsageError(f"{folder.root}: no face has points that can be scored; {ASK}")
    points = np.stack([row[1] for row in sound])
    boxes = boxes_of(points[:, :68, :2])
    samples = [replace(row[0], box=box) for row, box in zip(sound, boxes, strict=True)]
    target = ShapeTarget(points, np.array([row[2] for row in sound]))
    notes: tuple[str, ...] = (
        () if model else ("without Model_Shape.mat and Model_Exp.mat: no dense faces, no depths of 300W-LP",)
    )
    lost = (f"{len(rows) - len(sound)} faces without usable points left out",) if len(sound) < len(rows) else ()
    return Dataset(name, task, samples, mat.CROP, (target,), notes=notes + lost)


Row = tuple[Sample, np.ndarray, float]


def _tested(folder: Folder, place: Path, model: morphable.Morphable | None, split: str) -> Iterator[Row]:
    checked = False
    for picture, points, yaw in mat.annotated(place, ASK):
        if model:
            path = picture.with_suffix(".mat")
            found = _modelled(model, mat.load_mat(path), picture)
            if not checked and not np.isnan(found).any():
                morphable.check(found, points, path)
                checked = True
            points = np.concatenate([points, found[68:]])
        yield Sample(folder.id_of(picture), File(picture), split), points, yaw


def trained(folder: Folder, place: Path, model: morphable.Morphable | None) -> Iterator[Row]:
    """Pictures of 300W-LP with points from the model, or `landmarks/*/*_pts.mat` (x and y of the 3D points alone)."""
    parts = [p for p in sorted(place.iterdir()) if p.is_dir() and p.name.removesuffix("_Flip") in SETS]
    if not parts:
        raise UsageError(f"{place}: there is no folder {', '.join(SETS)}; {ASK}")
    for part in parts:
        for picture in sorted(
            p for p in part.iterdir() if p.suffix.lower() in SUFFIXES and p.with_suffix(".mat").is_file()
        ):
            path = picture.with_suffix(".mat")
            content = mat.load_mat(path)
            if model:
                points = _modelled(model, content, picture)
            else:
                points = _flat_points(place / "landmarks" / part.name / f"{picture.stem}_pts.mat")
            yield Sample(folder.id_of(picture), File(picture), TRAIN), points, mat.yaw_of(content, path)


def _modelled(model: morphable.Morphable, content: dict[str, np.ndarray], picture: Path) -> np.ndarray:
    """The model's points; unknown in a damaged picture, whose height is not known."""
    try:
        height = File(picture).read().shape[0]
    except DamagedPictureError:
        return np.full((len(model.mean) // 3, 3), np.nan)
    return model.points(content, height, picture.with_suffix(".mat"))


def _flat_points(path: Path) -> np.ndarray:
    """float64 [68, 3] of the owners' projected 3D points; z is unknown."""
    if not path.is_file():
        raise UsageError(f"{path}: is missing; unpack 300W-LP's landmarks/, or add Model_Shape.mat and Model_Exp.mat")
    points = mat.load_mat(path).get("pts_3d")
    if points is None or np.shape(points) != (68, 2):
        raise UsageError(f"{path}: holds no pts_3d of 68 x 2 numbers")
    return np.concatenate([np.asarray(points, dtype=np.float64) - 1, np.full((68, 1), np.nan)], axis=1)
