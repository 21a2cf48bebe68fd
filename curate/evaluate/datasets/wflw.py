"""WFLW: 98 points, 7,500 to train on and 2,500 to test, with six subsets of the test part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.evaluate.datasets.folder import Folder, converted, counts, lines, number
from curate.evaluate.datasets.points import CROP, MIRROR, boxes_of
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, LandmarkTarget, Sample, TaskName

ASK = "get WFLW_images.tar.gz and WFLW_annotations.tar.gz from wywu.github.io/projects/LAB/WFLW.html"
SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
POINTS = 98


def read(root: Path, task: TaskName) -> Dataset:
    """Reads the lists of `WFLW_annotations/list_98pt_rect_attr_train_test/`.

    Raises:
        UsageError: a file is missing, or a line is wrong.
    """
    folder = Folder(root, "wflw", ASK)
    pictures = folder.need("WFLW_images", "images")
    start = "WFLW_annotations/list_98pt_rect_attr_train_test"
    samples, points, attributes = [], [], []
    for split in (TRAIN, TEST):
        name = f"list_98pt_rect_attr_{split}.txt"
        path = folder.need(f"{start}/{name}", f"list_98pt_rect_attr_train_test/{name}", name)
        for line, words in lines(path):
            if len(words) != 2 * POINTS + 4 + len(SUBSETS) + 1:
                raise folder.wrong(path, line, f"{len(words)} fields instead of {2 * POINTS + 4 + len(SUBSETS) + 1}")
            face = np.array([number(w, path, line, "point") for w in words[: 2 * POINTS]]).reshape(POINTS, 2)
            picture = converted(folder.inside(words[-1], path, line, pictures))
            if not picture.is_file():
                raise folder.wrong(path, line, f"there is no picture {words[-1]} in {pictures}; {ASK}")
            points.append(face)
            attributes.append([word == "1" for word in words[2 * POINTS + 4 : -1]])
            box = boxes_of(face[None])[0]
            samples.append(Sample(f"{split}/{line:05d}/{words[-1]}", File(picture), split, box=box))
    target = LandmarkTarget(np.stack(points), "inter_ocular", np.array(boxes_of(np.stack(points))), MIRROR[POINTS])
    tested = np.array([sample.split == TEST for sample in samples])
    flags = np.array(attributes) & tested[:, None]
    subsets = {name: np.flatnonzero(flags[:, i]) for i, name in enumerate(SUBSETS)}
    found = {"training faces": int((~tested).sum()), "test faces": int(tested.sum())}
    notes = counts(found, {"training faces": 7500, "test faces": 2500})
    return Dataset("wflw", task, samples, CROP, (target,), subsets=subsets, notes=notes)
