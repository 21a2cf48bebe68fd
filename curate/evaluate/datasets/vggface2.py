"""VGGFace2: people to learn from (`train/`), and pairs of the people in `test/`.

The owners publish no list of pairs, so the ten folds here are drawn by curate (seeded, people of a fold in no other):
good for comparing backbones with each other, not with the literature.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from curate.errors import UsageError
from curate.evaluate.crops import CropRule
from curate.evaluate.datasets.folder import Folder, counts, number, pictures_of, table
from curate.evaluate.pictures import File
from curate.evaluate.samples import TEST, TRAIN, Dataset, PairTrials, Sample, TaskName
from curate.evaluate.subsets import ranked
from curate.storage.files import files_below

ASK = "ask for VGGFace2 at www.robots.ox.ac.uk/~vgg/data/vgg_face2"
ALIGNED = CropRule("five_points", size=112, origin="bb_landmark/loose_landmark_*.csv")
FOLDS, PAIRS_A_FOLD = 10, 600


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `train/` and `test/` with the landmarks of `bb_landmark/`.

    Raises:
        UsageError: a folder or file is missing, or too few people have two pictures.
    """
    samples = training(root) + _part(root, TEST)
    people = {split: len({s.subject for s in samples if s.split == split}) for split in (TRAIN, TEST)}
    notes = list(
        counts({f"{split} people": n for split, n in people.items()}, {"train people": 8631, "test people": 500})
    )
    bare = sum(sample.points is None for sample in samples)
    if bare:
        notes.append(f"{bare} pictures without landmarks in bb_landmark/ cannot be aligned and are left out")
    return Dataset("vggface2", task, samples, ALIGNED, trials=draw_pairs(samples), notes=tuple(notes))


def training(root: Path) -> list[Sample]:
    """The people of `train/`.

    Raises:
        UsageError: a folder or file is missing.
    """
    return _part(root, TRAIN)


def _part(root: Path, split: str) -> list[Sample]:
    folder = Folder(root, "vggface2", ASK)
    start = folder.need(split, f"data/{split}")
    path = folder.need(f"bb_landmark/loose_landmark_{split}.csv", f"data/bb_landmark/loose_landmark_{split}.csv")
    columns = ["NAME_ID", *(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")]
    points: dict[str, np.ndarray] = {}
    for line, row in table(path, columns):
        points[row["NAME_ID"]] = np.array([number(row[c], path, line, c) for c in columns[1:]]).reshape(5, 2)
    samples = []
    for picture in pictures_of(files_below(start)):
        person = picture.relative_to(start).parts[0]
        found = points.get(f"{person}/{picture.stem}")
        samples.append(Sample(folder.id_of(picture), File(picture), split, person, points=found))
    if not samples:
        raise UsageError(f"{start}: there are no pictures; {ASK}")
    return samples


def draw_pairs(samples: list[Sample]) -> PairTrials:
    """Ten folds of as many pairs of one person as of two; the people of a fold are in no other.

    Raises:
        UsageError: fewer than two people a fold have two pictures.
    """
    people: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        if sample.split == TEST and sample.subject is not None:
            people[sample.subject].append(row)
    names = sorted(name for name, rows in people.items() if len(rows) > 1)
    count = min(FOLDS, len(names) // 2)
    if count < 2:
        raise UsageError(f"vggface2: {len(names)} people of test/ have two pictures; pairs need at least four")
    order = [names[i] for i in ranked(names, None, 0)]
    random = np.random.default_rng(0)
    found: list[tuple[int, int, bool, int]] = []
    for fold in range(count):
        own = order[fold::count]
        for _ in range(PAIRS_A_FOLD // 2):
            rows = people[own[int(random.integers(len(own)))]]
            a, b = random.choice(len(rows), 2, replace=False)
            found.append((rows[a], rows[b], True, fold))
            one, other = random.choice(len(own), 2, replace=False)
            a, b = random.choice(people[own[one]]), random.choice(people[own[other]])
            found.append((int(a), int(b), False, fold))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return PairTrials(columns[0], columns[1], columns[2].astype(bool), columns[3])
