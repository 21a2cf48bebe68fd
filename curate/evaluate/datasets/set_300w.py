"""300-W: 68 points.

Train 3,148 (AFW, trainsets of HELEN and LFPW); common 554, challenging 135 (IBUG), full both; private 600.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from curate.evaluate.datasets.folder import Folder, counts, without_picture
from curate.evaluate.datasets.pts import annotated, build
from curate.evaluate.samples import TEST, TRAIN, Dataset, TaskName

ASK = "ask for 300-W at ibug.doc.ic.ac.uk/resources/facial-point-annotations"
TRAINING = ("afw", "helen/trainset", "lfpw/trainset")
COMMON = ("helen/testset", "lfpw/testset")
CHALLENGING = ("ibug",)
EXPECTED = {"train": 3148, "common": 554, "challenging": 135, "full": 689, "private": 600}
MIRRORED = "_mirror"
"""What the names of mirrored copies end with, which some scripts leave beside the pictures."""
PRIVATE = ("300W/01_Indoor", "300W/02_Outdoor")


def read(root: Path, task: TaskName) -> Dataset:
    """Reads 300-W; its private test part is optional.

    Raises:
        UsageError: a folder is missing, or a `.pts` file is wrong.
    """
    folder = Folder(root, "300w", ASK)
    found, looked = list[tuple[str, Path, np.ndarray]](), []
    for split, parts in ((TRAIN, TRAINING), (TEST, COMMON + CHALLENGING)):
        for part in parts:
            looked.append(folder.need(part))
            found += [(split, picture, points) for picture, points in annotated(looked[-1], ASK)]
    for part in PRIVATE:
        place = folder.find(part, part.split("/")[-1])
        if place:
            looked.append(place)
            found += [(TEST, picture, points) for picture, points in annotated(place, ASK)]
    sound = [item for item in found if not item[1].stem.endswith(MIRRORED)]
    notes = without_picture(looked, ".pts")
    if len(sound) < len(found):
        notes = (
            *notes,
            f"{len(found) - len(sound)} mirrored copies (NAME{MIRRORED}.*) left out: training mirrors anyway",
        )
    dataset = build("300w", task, folder, sound, notes)

    def rows(parts: tuple[str, ...]) -> np.ndarray:
        inside = [i for i, sample in enumerate(dataset.samples) if sample.id.startswith(tuple(f"{p}/" for p in parts))]
        return np.array(inside, dtype=np.int64)

    subsets = {"full": rows(COMMON + CHALLENGING), "common": rows(COMMON), "challenging": rows(CHALLENGING)}
    private = rows(PRIVATE + tuple(part.split("/")[-1] for part in PRIVATE))
    subsets |= {"private": private} if private.size else {}
    sizes = {"train": int(dataset.of(TRAIN).size)} | {part: len(own) for part, own in subsets.items()}
    partial = counts(
        {f"{part} faces": sizes[part] for part in sizes}, {f"{part} faces": EXPECTED[part] for part in sizes}
    )
    return replace(dataset, subsets=subsets, notes=(*dataset.notes, *partial))
