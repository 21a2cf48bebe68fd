"""A linear probe on pictures with labels of the user's choice, while a backbone is trained.

`probe.data` is a folder with one folder a class, or with `labels.csv` (columns `image`, `label` and, where the user
wants to decide it, `split`: train or test). Features of whole pictures go through ridge regression onto the classes:
the answer is exact and the same on every run, so what moves from probe to probe is the backbone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from curate.errors import UsageError
from curate.records import Pixels
from curate.storage.files import files_below

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
RIDGE = 0.1
"""Penalty, as a share of the mean variance of a feature."""


@dataclass(frozen=True)
class LabelledPictures:
    """What the probe looks at.

    Attributes:
        images: uint8 [n, s, s, 3]: the central square of each picture, resized.
        label: int64 [n].
        train: bool [n]; the others are the test.
        classes: their number.
        unreadable: pictures that were left out.
    """

    images: Pixels
    label: NDArray[np.int64]
    train: NDArray[np.bool_]
    classes: int
    unreadable: int


def read(folder: Path, size: int, most: int, seed: int) -> LabelledPictures:
    """Reads the pictures of a probe.

    Args:
        folder: see the module.
        size: side to which they are resized, pixels.
        most: pictures that are read; of more, chance picks so many of each class alike.
        seed: of that choice, and of the halves where there is no `split`.

    Raises:
        UsageError: there are no labelled pictures, fewer than two classes, or a split lacks pictures.
    """
    if not folder.is_dir():
        raise UsageError(f"probe.data = {folder}: no such folder; give one with a folder a class, or with labels.csv")
    table = folder / "labels.csv"
    rows = _listed(table) if table.is_file() else _filed(folder)
    names = sorted({label for _, label, _ in rows})
    if len(names) < 2:
        raise UsageError(f"probe.data = {folder}: {len(names)} classes of pictures; 2 are needed")
    rows = _sample(rows, most, np.random.default_rng((seed, 4)))
    images, kept = [], []
    for row in rows:
        try:
            images.append(_square(folder / row[0], size))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            continue
        kept.append(row)
    label = np.array([names.index(row[1]) for row in kept], np.int64)
    train = np.array([row[2] for row in kept], np.bool_)
    for part, chosen in (("train", train), ("test", ~train)):
        if len(np.unique(label[chosen])) < 2:
            raise UsageError(f"probe.data = {folder}: {part} has readable pictures of fewer than 2 classes")
    return LabelledPictures(np.stack(images), label, train, len(names), len(rows) - len(kept))


def accuracy(features: Tensor, pictures: LabelledPictures) -> float:
    """Mean over the classes of the test of the share of its pictures that are named right.

    Args:
        features: float [n, d], of `pictures.images`.
    """
    x = features.double()
    train = torch.from_numpy(pictures.train)
    label = torch.from_numpy(pictures.label)
    mean = x[train].mean(0)
    spread = x[train].std(0).clamp_min(1e-6)
    x = torch.cat(((x - mean) / spread, x.new_ones(len(x), 1)), 1)
    target = torch.nn.functional.one_hot(label[train], pictures.classes).double()
    count, width = int(train.sum()), x.shape[1]
    penalty = RIDGE * count * torch.eye(width, dtype=x.dtype)
    penalty[-1, -1] = 0.0
    weights = torch.linalg.lstsq(x[train].T @ x[train] + penalty, x[train].T @ target).solution
    named = (x[~train] @ weights).argmax(1)
    targets = label[~train]
    right = [float((named[targets == one] == one).double().mean()) for one in range(pictures.classes) if one in targets]
    return sum(right) / len(right)


Row = tuple[str, str, bool]
"""Path within the folder, label, and whether it is of the training half."""


def _listed(table: Path) -> list[Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("image", "label") if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{table}: no column {missing[0]}; image, label and perhaps split are wanted")
            lines = [(row["image"] or "", row["label"] or "", (row.get("split") or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read ({error})") from None
    wrong = next((n for n, line in enumerate(lines, 2) if line[2] not in ("", "train", "test")), None)
    if wrong is not None:
        raise UsageError(f"{table}:{wrong}: split is train or test, or empty in every row")
    if any(split for _, _, split in lines):
        return [(image, label, split == "train") for image, label, split in lines if split]
    return _halved([(image, label) for image, label, _ in lines])


def _filed(folder: Path) -> list[Row]:
    found = [
        (str(path.relative_to(folder)), path.relative_to(folder).parts[0])
        for path in files_below(folder)
        if path.suffix.lower() in SUFFIXES and path.parent != folder
    ]
    return _halved(found)


def _halved(rows: list[tuple[str, str]]) -> list[Row]:
    """Every other picture of each class is of the training half."""
    seen: dict[str, int] = {}
    out = []
    for image, label in sorted(rows):
        seen[label] = seen.get(label, -1) + 1
        out.append((image, label, seen[label] % 2 == 0))
    return out


def _sample(rows: list[Row], most: int, rng: np.random.Generator) -> list[Row]:
    """At most so many, of every class and half in turn."""
    if len(rows) <= most:
        return rows
    groups: dict[tuple[str, bool], list[Row]] = {}
    for index in rng.permutation(len(rows)):
        groups.setdefault(rows[index][1:], []).append(rows[index])
    turns = [
        row for place in range(max(map(len, groups.values()))) for g in groups.values() for row in g[place : place + 1]
    ]
    return turns[:most]


def _square(path: Path, size: int) -> Pixels:
    """The central square of a picture: uint8 [size, size, 3]."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
        return np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC))
