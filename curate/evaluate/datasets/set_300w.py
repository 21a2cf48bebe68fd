"""300-W: 68 points.

Train 3,148 (AFW, trainsets of HELEN and LFPW); common 554, challenging 135 (IBUG), full both; private 600.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from curate.evaluate.config import DataOptions
from curate.evaluate.datasets.folder import Folder, counts, pictures_of, with_beside, without_picture
from curate.evaluate.datasets.points import MIRROR, read_pts
from curate.evaluate.datasets.pts import build
from curate.evaluate.pictures import DamagedPictureError, size_of
from curate.evaluate.samples import TEST, TRAIN, Dataset, Sample, TaskName
from curate.storage.files import files_below

ASK = "ask for 300-W at ibug.doc.ic.ac.uk/resources/facial-point-annotations"
TRAINING = ("afw", "helen/trainset", "lfpw/trainset")
COMMON = ("helen/testset", "lfpw/testset")
CHALLENGING = ("ibug",)
EXPECTED = {"train": 3148, "common": 554, "challenging": 135, "full": 689, "private": 600}
MIRRORED = "_mirror"
"""What the names of mirrored copies end with, which some scripts leave beside the pictures."""
Annotated = tuple[str, Path, np.ndarray]
"""Split, picture and points."""
PRIVATE = ("300W/01_Indoor", "300W/02_Outdoor")


def read(root: Path, task: TaskName, options: DataOptions) -> Dataset:
    """Reads 300-W; its private test part is optional.

    Args:
        options: `mirrored` adds the mirrored copies of training pictures to them.

    Raises:
        UsageError: a folder is missing, or a `.pts` file is wrong.
    """
    folder = Folder(root, "300w", ASK)
    found, looked = list[Annotated](), list[Path]()
    for split, parts in ((TRAIN, TRAINING), (TEST, COMMON + CHALLENGING)):
        for part in parts:
            looked.append(folder.need(part))
            found += [(split, *own) for own in _annotated(looked[-1])]
    for part in PRIVATE:
        place = folder.find(part, part.split("/")[-1])
        if place:
            looked.append(place)
            found += [(TEST, *own) for own in _annotated(place)]
    copies = [p for place in looked for p in pictures_of(files_below(place)) if p.stem.endswith(MIRRORED)]
    added, unsure = _mirrored(found, copies) if options.mirrored else ([], 0)
    notes = without_picture(looked, ".pts")
    if added:
        notes = (*notes, f"{len(added)} mirrored copies are trained on, with the points of their originals, mirrored")
    if unsure:
        notes = (*notes, f"{unsure} mirrored copies left out: not of the size of their original, or damaged")
    if len(copies) > len(added) + unsure:
        why = "training mirrors anyway" if not options.mirrored else "they have no original that is trained on"
        notes = (*notes, f"{len(copies) - len(added) - unsure} mirrored copies (NAME{MIRRORED}.*) left out: {why}")
    dataset = build("300w", task, folder, found + added, notes)
    if added:
        dataset = replace(dataset, samples=[_with_its_copy(sample) for sample in dataset.samples])

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


def _annotated(place: Path) -> list[tuple[Path, np.ndarray]]:
    """Pictures with their points; mirrored copies, and what a script wrote beside them, are not looked at."""
    pictures = [p for p in with_beside(place, ".pts", ASK) if not p.stem.endswith(MIRRORED)]
    return [(picture, read_pts(picture.with_suffix(".pts"))) for picture in pictures]


def _mirrored(found: Sequence[Annotated], copies: Sequence[Path]) -> tuple[list[Annotated], int]:
    """Mirrored copies of training pictures with the points of their originals, mirrored; and how many cannot be.

    A copy's own `.pts` is not looked at: the scripts that write them often forget that left and right change names.
    """
    originals = {(p.parent, p.stem): (p, points) for split, p, points in found if split == TRAIN}
    added: list[Annotated] = []
    unsure = 0
    for copy in copies:
        picture, points = originals.get((copy.parent, copy.stem.removesuffix(MIRRORED)), (None, None))
        if picture is None or points is None or len(points) not in MIRROR:
            continue
        try:
            width, height = size_of(copy)
            same = (width, height) == size_of(picture)
        except DamagedPictureError:
            same = False
        if same:
            turned = points[list(MIRROR[len(points)])]
            added.append((TRAIN, copy, np.stack([width - 1 - turned[:, 0], turned[:, 1]], axis=1)))
        else:
            unsure += 1
    return added, unsure


def _with_its_copy(sample: Sample) -> Sample:
    """A training picture and its copy are one subject, so that none validates what was learned from the other."""
    if sample.split != TRAIN:
        return sample
    return replace(sample, subject=str(PurePosixPath(sample.id).with_suffix("")).removesuffix(MIRRORED))
