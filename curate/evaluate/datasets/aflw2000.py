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
from curate.evaluate.datasets.folder import Folder, MissingPartError, counts, pictures_of
from curate.evaluate.datasets.points import MIRROR, boxes_of, usable
from curate.evaluate.pictures import DamagedPictureError, File, size_of
from curate.evaluate.samples import TEST, TRAIN, Dataset, Sample, ShapeTarget, TaskName
from curate.storage.files import files_below

ASK = "get AFLW2000-3D and 300W-LP from www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm"
SETS = ("AFW", "HELEN", "IBUG", "LFPW")
FLIPPED = "_Flip"
TESTED = ("AFLW2000", "AFLW2000-3D")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads the pictures and `.mat` files of AFLW2000-3D, and 300W-LP where it is there.

    Raises:
        UsageError: AFLW2000-3D is missing, or a file is not of the format.
    """
    folder = Folder(root, "aflw2000", ASK)
    place = folder.find(*TESTED) or (root if list(root.glob("image*.mat")) else None)
    if place is None:
        raise MissingPartError(f"{root}: aflw2000 needs AFLW2000/image00002.jpg and .mat; {ASK}", TESTED)
    training = folder.find("300W_LP", "300W-LP") or (root if folder.find("HELEN", "AFW") else None)
    return read_parts(folder, "aflw2000", task, training, place)


def read_parts(folder: Folder, name: str, task: TaskName, training: Path | None, tested: Path) -> Dataset:
    """A data set of both folders; AFLW2000-3D trains and is cut into folds where it is alone.

    Raises:
        UsageError: a file is not of the format.
    """
    model = morphable.load(folder)
    rows = list(_tested(folder, tested, model, TEST if training else TRAIN))
    notes = list(counts({"pictures of AFLW2000-3D": len(rows)}, {"pictures of AFLW2000-3D": 2000}))
    if training:
        found, more = trained(folder, training, model)
        rows, notes = rows + found, notes + more
    sound = [row for row in rows if usable(row[1][:68, :2])]
    if not sound:
        raise UsageError(f"{folder.root}: no face has points that can be scored; {ASK}")
    points = np.stack([row[1] for row in sound])
    boxes = boxes_of(points[:, :68, :2])
    samples = [replace(row[0], box=box) for row, box in zip(sound, boxes, strict=True)]
    target = ShapeTarget(points, np.array([row[2] for row in sound]))
    notes.append(f"nme_dense and nme_icp over {points.shape[1]} vertices" if model else "nme_icp over the 68 points")
    if not model:
        notes.append("without Model_Shape.mat and Model_Exp.mat: no dense faces, no depths of 300W-LP")
    if len(sound) < len(rows):
        notes.append(f"{len(rows) - len(sound)} faces without usable points left out")
    return Dataset(name, task, samples, mat.CROP, (target,), notes=tuple(notes))


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


def trained(folder: Folder, place: Path, model: morphable.Morphable | None) -> tuple[list[Row], list[str]]:
    """Pictures of 300W-LP with points from the model, or from `landmarks/`, and notes.

    The owners give out `landmarks/AFW/NAME_pts.mat` (x and y of the 3D points) for the four unmirrored folders alone. A
    picture of `AFW_Flip/` without its own takes those of `AFW/`, mirrored.

    Raises:
        UsageError: there is no folder of pictures, none of them has points, or a file is not of the format.
    """
    parts = [p for p in sorted(place.iterdir()) if p.is_dir() and p.name.removesuffix(FLIPPED) in SETS]
    if not parts:
        raise UsageError(f"{place}: there is no folder {', '.join(SETS)}; {ASK}")
    rows, mirrored, lost = [], 0, []
    for part in parts:
        files = files_below(part)
        described = {path.with_suffix("") for path in files if path.suffix == ".mat"}
        for picture in pictures_of(files):
            if picture.with_suffix("") not in described:
                lost.append(picture)
                continue
            path = picture.with_suffix(".mat")
            content = mat.load_mat(path)
            if model:
                points: np.ndarray | None = _modelled(model, content, picture)
            else:
                points, taken = _flat_points(place / "landmarks", part.name, picture)
                mirrored += taken
            if points is None:
                lost.append(picture)
            else:
                rows.append((Sample(folder.id_of(picture), File(picture), TRAIN), points, mat.yaw_of(content, path)))
    if lost and not rows:
        raise UsageError(
            f"{place}: none of the {len(lost)} pictures has points; unpack 300W-LP's landmarks/ there, "
            "or add Model_Shape.mat and Model_Exp.mat"
        )
    notes = [f"{mirrored} mirrored pictures take the points of the unmirrored ones, mirrored"] if mirrored else []
    if lost:
        notes.append(f"{len(lost)} pictures of 300W-LP without points left out, the first is {folder.id_of(lost[0])}")
    missing = sorted({f"{name}{end}" for name in SETS for end in ("", FLIPPED)} - {part.name for part in parts})
    if missing:
        notes.append(f"300W-LP is without its folders {', '.join(missing)}")
    return rows, notes


def _modelled(model: morphable.Morphable, content: dict[str, np.ndarray], picture: Path) -> np.ndarray:
    """The model's points; unknown in a damaged picture, whose height is not known."""
    try:
        height = File(picture).read().shape[0]
    except DamagedPictureError:
        return np.full((len(model.mean) // 3, 3), np.nan)
    return model.points(content, height, picture.with_suffix(".mat"))


def _flat_points(landmarks: Path, part: str, picture: Path) -> tuple[np.ndarray | None, bool]:
    """float64 [68, 3] of the owners' projected 3D points, z unknown; and whether they are the unmirrored picture's.

    Raises:
        UsageError: the file is not of the format.
    """
    own, other = (landmarks / name / f"{picture.stem}_pts.mat" for name in (part, part.removesuffix(FLIPPED)))
    path = own if own.is_file() else other
    if not path.is_file():
        return None, False
    points = mat.load_mat(path).get("pts_3d")
    if points is None or np.shape(points) != (68, 2):
        raise UsageError(f"{path}: holds no pts_3d of 68 x 2 numbers")
    flat = np.asarray(points, dtype=np.float64) - 1
    flipped = path != own
    if flipped:
        try:
            width, _ = size_of(picture)
        except DamagedPictureError:
            return np.full((68, 3), np.nan), True
        flat = flat[list(MIRROR[68])]
        flat[:, 0] = width - 1 - flat[:, 0]
    return np.concatenate([flat, np.full((68, 1), np.nan)], axis=1), flipped
