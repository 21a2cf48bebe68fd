"""`pts`: a user's own landmarks: `train/` and `test/` (optionally `val/`) with pictures beside `.pts` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.datasets.folder import Folder, with_beside, without_picture
from curate.evaluate.datasets.points import CROP, MIRROR, boxes_of, read_pts, refuse_far, usable, usual_normaliser
from curate.evaluate.pictures import File
from curate.evaluate.samples import Dataset, LandmarkTarget, Sample, TaskName

ASK = "put pictures beside .pts files of the same stem in train/ and test/"


def read(root: Path, task: TaskName) -> Dataset:
    """Reads every picture of `train/`, `val/` and `test/` that has a `.pts` file beside it.

    Raises:
        UsageError: a folder or all its annotations are missing, a `.pts` file is wrong, or numbers of points differ.
    """
    folder = Folder(root, "pts", ASK)
    parts = folder.splits()
    found = [(split, picture, points) for split, part in parts.items() for picture, points in annotated(part, ASK)]
    return build("pts", task, folder, found, without_picture(parts.values(), ".pts"))


def annotated(part: Path, ask: str) -> list[tuple[Path, np.ndarray]]:
    """Pictures below a folder that have a `.pts` file beside them, with their points; sorted.

    Raises:
        UsageError: there is none.
    """
    return [(picture, read_pts(picture.with_suffix(".pts"))) for picture in with_beside(part, ".pts", ask)]


def build(
    name: str, task: TaskName, folder: Folder, found: list[tuple[str, Path, np.ndarray]], notes: tuple[str, ...] = ()
) -> Dataset:
    """A data set of (split, picture, points); faces that cannot be scored are left out and counted.

    Raises:
        UsageError: the numbers of points differ, or no face can be scored.
    """
    sizes = sorted({len(points) for _, _, points in found})
    if len(sizes) > 1:
        odd = next(picture for _, picture, points in found if len(points) != sizes[-1])
        raise UsageError(f"{odd.with_suffix('.pts')}: {sizes[0]} points, but others have {sizes[-1]}; use one scheme")
    for _, picture, points in found:
        refuse_far(points, picture, picture.with_suffix(".pts"))
    sound = [item for item in found if usable(item[2])]
    if not sound:
        raise UsageError(f"{folder.root}: no face has points that can be scored; {folder.ask}")
    points = np.stack([item[2] for item in sound])
    boxes = boxes_of(points)
    samples = [
        Sample(folder.id_of(picture), File(picture), split, box=box)
        for (split, picture, _), box in zip(sound, boxes, strict=True)
    ]
    target = LandmarkTarget(points, usual_normaliser(sizes[0]), np.array(boxes), MIRROR.get(sizes[0]))
    unknown = sum(int(np.isnan(item[2]).any(axis=1).sum()) for item in sound)
    if unknown:
        notes = (*notes, f"{unknown} points are not annotated (nan, or both coordinates 0 or -1)")
    if len(sound) < len(found):
        notes = (*notes, f"{len(found) - len(sound)} faces without usable points left out")
    return Dataset(name, task, samples, CROP, (target,), notes=notes)
