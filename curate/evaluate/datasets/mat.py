"""`mat`: a user's own shapes: `train/` and `test/` with pictures beside `.mat` files that hold `pt3d_68`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from curate.errors import UsageError, one_line
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, with_beside, without_picture
from curate.evaluate.datasets.points import boxes_of, refuse_far, usable
from curate.evaluate.pictures import File
from curate.evaluate.samples import Dataset, Sample, ShapeTarget, TaskName

ASK = "put pictures beside .mat files with pt3d_68 of the same stem in train/ and test/"
CROP = CropRule("box", margin=0.25, size=224, origin="tight box around the 68 annotated points, x and y")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads every picture of `train/`, `val/` and `test/` that has a `.mat` file beside it.

    Raises:
        UsageError: a folder or all its annotations are missing, or a `.mat` file is wrong.
    """
    folder = Folder(root, "mat", ASK)
    parts = folder.splits()
    found = [(split, *item) for split, part in parts.items() for item in annotated(part, ASK)]
    return build("mat", task, folder, found, without_picture(parts.values(), ".mat"))


def annotated(part: Path, ask: str) -> list[tuple[Path, np.ndarray, float]]:
    """Pictures below a folder with a `.mat` file beside them: path, points float64 [68, 3], yaw in degrees; sorted.

    Raises:
        UsageError: there is none.
    """
    return [(picture, *read_mat(picture.with_suffix(".mat"))) for picture in with_beside(part, ".mat", ask)]


def read_mat(path: Path) -> tuple[np.ndarray, float]:
    """`pt3d_68` as float64 [68, 3] counted from (0, 0), and the yaw of `Pose_Para` in degrees (NaN without).

    Raises:
        UsageError: it is no MATLAB file, or `pt3d_68` or `Pose_Para` do not hold the numbers that they should.
    """
    content = load_mat(path)
    points = content.get("pt3d_68")
    if points is None or np.shape(points) not in ((3, 68), (68, 3)) or points.dtype.kind not in "iuf":
        raise UsageError(f"{path}: holds no pt3d_68 of 3 x 68 numbers")
    points = np.asarray(points, dtype=np.float64)
    if np.isinf(points).any():
        raise UsageError(f"{path}: pt3d_68 holds an infinite number; write NaN where a point is not known")
    points = points.T if points.shape == (3, 68) else points
    return points - [1.0, 1.0, 0.0], yaw_of(content, path)  # MATLAB counts pixels from 1


def yaw_of(content: dict[str, np.ndarray], path: Path) -> float:
    """The yaw of `Pose_Para` in degrees; NaN without.

    Raises:
        UsageError: it is no numbers.
    """
    pose = np.ravel(content.get("Pose_Para", ()))
    if pose.dtype.kind not in "iuf":
        raise UsageError(f"{path}: Pose_Para holds no numbers")
    return float(np.degrees(pose[1])) if pose.size >= 3 else float("nan")


def load_mat(path: Path) -> dict[str, np.ndarray]:
    """The numeric arrays of a MATLAB file (up to version 7.2).

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return {k: v for k, v in scipy.io.loadmat(path).items() if isinstance(v, np.ndarray)}
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError, EOFError, IndexError) as error:
        raise UsageError(f"{path}: cannot be read as a MATLAB file ({one_line(error, 120)})") from None


def build(
    name: str,
    task: TaskName,
    folder: Folder,
    found: list[tuple[str, Path, np.ndarray, float]],
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A data set of (split, picture, points, yaw); faces that cannot be scored are left out and counted."""
    for _, picture, face, _ in found:
        refuse_far(face, picture, picture.with_suffix(".mat"))
    sound = [item for item in found if usable(item[2][:, :2])]
    if not sound:
        raise UsageError(f"{folder.root}: no face has points that can be scored; {folder.ask}")
    points = np.stack([item[2] for item in sound])
    samples = [
        Sample(folder.id_of(picture), File(picture), split, box=box)
        for (split, picture, _, _), box in zip(sound, boxes_of(points[..., :2]), strict=True)
    ]
    target = ShapeTarget(points, np.array([item[3] for item in sound]))
    partly = sum(bool(np.isnan(item[2][:, :2]).any()) for item in sound)
    if partly:
        notes = (*notes, f"{partly} faces have points that are not known: they neither train nor test")
    if len(sound) < len(found):
        notes = (*notes, f"{len(found) - len(sound)} faces without usable points left out")
    return Dataset(name, task, samples, CROP, (target,), notes=notes)
