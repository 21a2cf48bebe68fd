"""MICC Florence 2D/3D: scans of 53 people, drawn from 15 sides; trained on 300W-LP.

The scans have no landmarks, so what is scored is the distance from each reconstructed point to the scan after the two
have been brought together (ICP), divided by the size of the scan in the picture. The literature scores dense meshes
with renderings of its own: numbers are comparable between backbones here, not with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.datasets import mat, morphable
from curate.evaluate.datasets.aflw2000 import trained
from curate.evaluate.datasets.folder import Folder, counts
from curate.evaluate.datasets.points import boxes_of, usable
from curate.evaluate.datasets.scan import Rendered, read_obj
from curate.evaluate.samples import TEST, Dataset, Sample, ShapeTarget, TaskName
from curate.storage.files import files_below

ASK = "ask for the scans at www.micc.unifi.it/resources/datasets/florence-3d-faces; 300W-LP must lie beside them"
PITCHES, YAWS = (-15.0, 20.0, 25.0), (-80.0, -40.0, 0.0, 40.0, 80.0)
"""Degrees, as Jackson et al. 2017 render them."""
KEPT = 4000
"""Vertices of a scan that are kept for scoring."""


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `subject_NN/Model/frontal1/obj/*.obj` and `300W_LP/`.

    Raises:
        UsageError: scans or 300W-LP are missing, or a file is not of the format.
    """
    folder = Folder(root, "florence", ASK)
    training = folder.need("300W_LP", "300W-LP")
    scans = _scans(root)
    if not scans:
        raise UsageError(f"{root}: there is no subject_01/Model/frontal1/obj/*.obj; {ASK}")
    found, notes = trained(folder, training, morphable.load(folder))
    rows = [row for row in found if usable(row[1][:68, :2])]
    if not rows:
        raise UsageError(f"{training}: no face has points to learn from; {ASK}")
    boxes = boxes_of(np.stack([row[1][:68, :2] for row in rows]))
    samples = [Sample(row[0].id, row[0].picture, row[0].split, box=box) for row, box in zip(rows, boxes, strict=True)]
    points = [row[1] for row in rows]
    yaws = [row[2] for row in rows]
    surfaces: dict[int, np.ndarray] = {}
    for path in scans:
        scan = read_obj(path)
        for pitch in PITCHES:
            for yaw in YAWS:
                picture = Rendered(path, pitch, yaw)
                placed = scan.placed(pitch, yaw, picture.side)
                surfaces[len(samples)] = placed[:: max(len(placed) // KEPT, 1)]
                box = boxes_of(placed[None, :, :2])[0]
                person = path.relative_to(root).as_posix().split("/Model/")[0]
                samples.append(Sample(f"{person}/pitch{pitch:g}_yaw{yaw:g}", picture, TEST, person, box))
                points.append(np.full_like(points[0], np.nan))
                yaws.append(yaw)
    target = ShapeTarget(np.stack(points), np.array(yaws), surfaces)
    notes += counts({"scanned people": len(scans)}, {"scanned people": 53})
    return Dataset("florence", task, samples, mat.CROP, (target,), notes=tuple(notes))


def _scans(root: Path) -> list[Path]:
    """The first frontal scan of each person; a few have only the second."""
    of_person: dict[str, Path] = {}
    files = [path for path in files_below(root) if path.suffix == ".obj"]
    for name in ("frontal1", "frontal2"):
        for path in files:
            parts = path.relative_to(root).parts
            person = next((part for part in parts if part.startswith("subject_")), None)
            if person and name in parts:
                of_person.setdefault(person, path)
    return [of_person[person] for person in sorted(of_person)]
