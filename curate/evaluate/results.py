"""One line of `results.jsonl` a measurement, and statistics over seeds."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from curate.storage.documents import read_lines
from curate.storage.files import storage_error


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        backbone: as the user named it; `backbone_digest` names its weights.
        method, manifest: what trained it, and on what; None where that is not known.
        split: the part of the data set that was scored: `test`, one of its subsets, or `cv5` where five folds were.
        value: in the metric's own unit; errors and rates are shares, not percent.
        fraction: share of the training samples that was used; `shots` where samples were counted instead.
        n_train, n_test: samples (for pairs: pairs) that were used.
        seconds: wall clock of this measurement, its share of the forward pass included.
        subset: hash of the published list of training ids.
        skipped: samples or pairs left out because a picture is damaged.
        crop: every choice of the crop.
        device: where it ran.
        data: the data set's folder, as it was given; None in results of before it was recorded.
        recipe: the keys of the recipe that decide the value and are not the default, by name; not those given above.
        notes: what its reader must know of the data set, for example how many annotations were unusable.
    """

    backbone: str
    method: str | None
    manifest: str | None
    task: str
    dataset: str
    split: str
    metric: str
    value: float
    fraction: float
    mode: str
    seed: int
    n_train: int
    n_test: int
    seconds: float
    shots: int | None = None
    arch: str | None = None
    backbone_digest: str | None = None
    subset: str | None = None
    skipped: int = 0
    crop: dict[str, Any] = field(default_factory=dict)
    frames: str = "all"
    device: str = "cpu"
    data: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def line(self) -> str:
        """JSON in one line; a value that is not a number is null."""
        values = asdict(self)
        if not np.isfinite(self.value):
            values["value"] = None
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    def key(self) -> tuple[object, ...]:
        """What two runs of the same measurement have in common."""
        crop = json.dumps(self.crop, sort_keys=True)
        return (self.cell(), self.seed, crop)

    def cell(self) -> tuple[object, ...]:
        """What the seeds of one cell of a table have in common."""
        return (*self.row(), json.dumps(self.recipe, sort_keys=True), self.task, *self.column())

    def column(self) -> tuple[str, str | None, str, str]:
        """What the cells of one column of a table have in common: data set, its folder, part and metric."""
        return (self.dataset, self.data, self.split, self.metric)

    def row(self) -> tuple[object, ...]:
        """What the cells of one row of a table have in common: a backbone and a protocol, but for crop and recipe."""
        return (
            self.backbone, self.method, self.manifest, self.arch, self.mode,
            self.fraction if self.shots is None else None, self.shots, self.frames,
        )  # fmt: skip


def assignments(recipe: Mapping[str, Any]) -> dict[str, str]:
    """`key=value` of each key of a result's recipe, as `--set` takes it."""
    return {k: f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in recipe.items()}


def append(path: Path, results: Iterable[Result]) -> None:
    """Appends lines in one write, so that runs side by side never mix within a line.

    A line that an interrupted machine left half-written is closed first, so that it spoils nothing but itself.

    Raises:
        StorageError: the file cannot be written.
    """
    data = "".join(result.line() + "\n" for result in results).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error


def check(path: Path) -> None:
    """Sees that results can be appended, before they cost anything.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise storage_error(path, error) from error


def of(values: Any) -> Result:
    """A result from its JSON object; a null value is NaN, fields that are not known are left out.

    Raises:
        ValueError: a field is missing or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError("no object")
    known = {name: value for name, value in values.items() if name in Result.__dataclass_fields__}
    if known.get("value") is None:
        known["value"] = float("nan")
    return _RESULT.validate_python(known)


_RESULT = TypeAdapter(Result)


def read(path: str | Path) -> list[Result]:
    """Every measurement of a file; of repeated ones the last stands.

    Raises:
        UsageError: the file is missing, or a line is no measurement (the last line may be cut short).
    """
    found = read_lines(Path(path), _measurement, "remove the line")
    return list({result.key(): result for result in found}.values())


def _measurement(values: Any) -> Result:
    try:
        return of(values)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ValueError(f"no measurement of curate evaluate ({field} is missing or wrong)") from None


@dataclass(frozen=True)
class Summary:
    """Seeds of one cell: mean, standard deviation (n - 1), and a bootstrap interval of the mean (None for one seed)."""

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    seeds: int


def summarise(values: Sequence[float], level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Summary:
    """Mean, deviation and percentile bootstrap interval of the mean over seeds; NaN are left out."""
    sound = np.array([v for v in values if not np.isnan(v)], dtype=np.float64)
    if not sound.size:
        return Summary(float("nan"), None, None, None, 0)
    mean = float(sound.mean())
    if sound.size == 1:
        return Summary(mean, None, None, None, 1)
    chosen = np.random.default_rng(seed).integers(0, sound.size, (draws, sound.size))
    low, high = np.quantile(sound[chosen].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Summary(mean, float(sound.std(ddof=1)), float(low), float(high), int(sound.size))
