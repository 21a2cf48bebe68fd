"""AFLW-19: 19 points, 20,000 to train on and 4,386 to test (full), 1,314 of them frontal (all points visible).

Errors are divided by the size of the owners' face box (`nme`, the root of its area) and by its diagonal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, converted, counts
from curate.evaluate.datasets.mat import load_mat
from curate.evaluate.datasets.points import MIRROR
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, LandmarkTarget, Sample, TaskName

ASK = "ask for AFLW at TU Graz (ICG); AFLWinfo_release.mat comes with CCL (Zhu et al., CVPR 2016)"
CROP = CropRule("box", margin=0.25, size=224, origin="bbox of AFLWinfo_release.mat")
POINTS, TRAINED, TESTED = 19, 20000, 4386


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `AFLWinfo_release.mat` and the pictures in `data/flickr/`.

    Raises:
        UsageError: a file is missing, or is not of the format.
    """
    folder = Folder(root, "aflw19", ASK)
    path = folder.need("AFLWinfo_release.mat")
    pictures = folder.need("data/flickr", "flickr", "images")
    content = load_mat(path)
    missing = [name for name in ("bbox", "data", "mask_new", "nameList", "ra") if name not in content]
    if missing:
        raise UsageError(f"{path}: holds no {missing[0]}; {ASK}")
    count = len(content["data"])
    x_then_y = np.asarray(content["data"], dtype=np.float64)
    points = np.stack([x_then_y[:, :POINTS], x_then_y[:, POINTS:]], axis=2) - 1
    left, right, top, bottom = np.asarray(content["bbox"], dtype=np.float64).T - 1
    boxes = np.stack([left, top, right, bottom], axis=1)
    names = [str(np.ravel(name)[0]) for name in np.ravel(content["nameList"])]
    order = np.ravel(content["ra"]).astype(np.int64) - 1
    trained = min(TRAINED, round(count * TRAINED / (TRAINED + TESTED)))
    split = np.full(count, TEST, dtype=object)
    split[order[:trained]] = TRAIN
    samples = []
    for row, name in enumerate(names):
        picture = converted(folder.inside(name, path, row + 1, pictures))
        if not picture.is_file():
            raise UsageError(f"{path}: there is no picture {name} in {pictures}; {ASK}")
        x0, y0, x1, y1 = map(float, boxes[row])
        samples.append(Sample(f"{row:05d}/{name}", File(picture), str(split[row]), box=(x0, y0, x1, y1)))
    tested = split == TEST
    frontal = np.asarray(content["mask_new"]).astype(bool).all(axis=1)
    target = LandmarkTarget(points, "box", boxes, MIRROR[POINTS])
    subsets = {"full": np.flatnonzero(tested), "frontal": np.flatnonzero(tested & frontal)}
    found = {"training faces": int((~tested).sum()), "test faces": int(tested.sum())}
    notes = counts(found, {"training faces": TRAINED, "test faces": TESTED})
    return Dataset("aflw19", task, samples, CROP, (target,), subsets=subsets, notes=notes)
