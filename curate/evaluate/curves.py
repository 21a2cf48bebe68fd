"""What curves are drawn from: the error of every face, the score of every pair; one small file a measurement."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.evaluate.results import Result
from curate.storage.files import atomic_write, digest

LABEL = (
    "backbone",
    "method",
    "manifest",
    "arch",
    "backbone_digest",
    "task",
    "dataset",
    "data",
    "split",
    "mode",
    "fraction",
    "shots",
    "frames",
    "crop",
    "recipe",
    "seed",
)
ARRAYS = ("errors", "scores", "same", "ids", "groups")
EACH = "each "
"""Before the metric's name: the key of its numbers in a file."""


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """One measurement's raw numbers.

    Attributes:
        label: the fields of its results that name it.
        errors: float64 [N]: of each face, how far off it is (landmarks: its NME; classes: 0 or 1); of each pair in
            folds, 0 or 1, weighted so that the mean is 1 - the mean accuracy of folds; empty for templates.
        scores, same: float64 [M] and bool [M], recognition: each pair; empty otherwise.
        ids: str [N], the sample of each error; empty for pairs, which are in the order of the protocol.
        groups: str (in a study int32) [N, 1] or [N, 2], who is seen, so whose errors are not independent: a person, a
            clip, else the picture; of pairs both. Empty in files of before they were kept.
        each: by metric, of those that are not the mean of `errors`: float64 [N], of templates [people], whose mean is
            the metric, see `curate.evaluate.metrics.influence`; `groups` are theirs.
    """

    label: dict[str, Any]
    errors: NDArray[np.float64]
    scores: NDArray[np.float64]
    same: NDArray[np.bool_]
    ids: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, dtype=str))
    groups: NDArray[np.generic] = field(default_factory=lambda: np.zeros((0, 1), dtype=str))
    each: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def save(folder: Path, about: Result, target: int = 0, **numbers: NDArray[np.generic]) -> None:
    """Writes the raw numbers of one measurement, over those of an earlier run of it.

    Args:
        target: which of the data set's targets it is, where there are several.
    """
    write(folder, label_of(about) | ({"target": target} if target else {}), **numbers)


def write(folder: Path, label: dict[str, Any], **numbers: NDArray[np.generic]) -> None:
    """Writes raw numbers under a label, see `MeasuredCurve`."""
    with atomic_write(folder / name_of(label)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, label=np.array(json.dumps(label)), **numbers)


def named(each: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Numbers of metrics as `save` and `write` take them, see `MeasuredCurve`; those that are NaN are left out."""
    return {EACH + metric: values for metric, values in each.items() if not np.isnan(values).any()}


def label_of(about: Result) -> dict[str, Any]:
    """The fields that name a result's curve."""
    return {name: getattr(about, name) for name in LABEL}


def name_of(label: dict[str, Any]) -> str:
    """The file of a curve."""
    return f"{label['task']}-{label['dataset']}-{digest(label)[:12]}.npz"


def read(folder: Path) -> Iterator[MeasuredCurve]:
    """Every measurement of a folder, by file name; files that are none or are damaged are passed over."""
    empty = np.zeros(0)
    for path in sorted(folder.glob("*.npz")):
        try:
            # opened here, for np.load leaves a damaged file open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                label = {"data": None, "recipe": {}} | json.loads(str(stored["label"]))  # the first had neither
                found = {name: stored[name] for name in ARRAYS if name in stored}
                each = {name.removeprefix(EACH): stored[name] for name in stored.files if name.startswith(EACH)}
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
            continue
        if not set(LABEL) <= label.keys():
            continue
        yield MeasuredCurve(
            label,
            found.get("errors", empty),
            found.get("scores", empty),
            found.get("same", empty).astype(bool),
            found.get("ids", np.zeros(0, dtype=str)),
            found.get("groups", np.zeros((0, 1), dtype=str)),
            each,
        )
