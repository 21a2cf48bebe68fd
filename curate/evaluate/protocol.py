"""The protocol: which samples train, validate and test.

rounds     the data set's own split, or one a fold
subset     the training samples of one budget and seed (nested, published)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.choices import MODES, Mode
from curate.errors import UsageError
from curate.evaluate import config, subsets
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.samples import TEST, TRAIN, VALIDATION, ClassTarget, Dataset, Indices, Sample, Target, TaskName

MANY = 2000
"""From so many training samples on, one hold-out part validates instead of five folds."""


def mode_of(text: str) -> Mode:
    """The mode of that name.

    Raises:
        UsageError: there is none.
    """
    for mode in MODES:
        if mode == text:
            return mode
    raise UsageError(f"--mode {text}: none of {', '.join(MODES)}")


def trains(mode: Mode, task: TaskName, recipe: EvaluateRecipe) -> bool:
    """Whether a network is trained, if only a head, so that `finetune` and `heads` decide the outcome."""
    heatmaps = task == "landmarks" and recipe.heads.linear_landmarks == "heatmap"
    return mode == "finetune" or (mode == "linear" and heatmaps)


def decisive_keys(mode: Mode, task: TaskName, recipe: EvaluateRecipe) -> dict[str, Any]:
    """The keys that are not the default and decide an outcome, sorted; results hold crop, frames and seed elsewhere."""
    unused = {"seed", "crop", "frames", "extract"}
    unused |= {"linear"} if trains(mode, task, recipe) else {"finetune", "heads"}
    unused |= set() if mode == "knn" else {"knn"}
    unused |= set() if task == "recognition" else {"train", "templates"}
    kept = {"extract.mean", "extract.std", "extract.mirror" if task == "recognition" else "extract.flip_average"}
    return {k: v for k, v in config.changed(recipe).items() if k in kept or k.split(".")[0] not in unused}


@dataclass(frozen=True, eq=False)
class LabelBudget:
    """How much training data: a share, or so many samples of each class (in all, where there are no classes).

    Raises:
        UsageError: the share is not in (0, 1], or the samples are below 1.
    """

    fraction: float = 1.0
    shots: int | None = None

    def __post_init__(self) -> None:
        subsets.check_size(self.fraction, self.shots)

    def __str__(self) -> str:
        return f"fraction {self.fraction}" if self.shots is None else f"{self.shots} shots"


@dataclass(frozen=True, eq=False)
class Round:
    """Rows that train, validate (maybe none: then a part of the training rows is held out) and test."""

    train: Indices
    validation: Indices
    test: Indices


def with_folds(dataset: Dataset, count: int) -> Dataset:
    """The data set itself, or, where it has no test samples, cut into folds that test each other.

    Raises:
        UsageError: there are no samples to train on, or too few for the folds.
    """
    if dataset.folds or dataset.of(TEST).size:
        return dataset
    rows = dataset.of(TRAIN, VALIDATION)
    count = min(count, len({dataset.samples[i].subject or dataset.samples[i].id for i in rows}))
    if count < 2:
        raise UsageError(f"{dataset.name}: {len(rows)} samples and no test part; nothing can be tested")
    ids = [dataset.samples[i].id for i in rows]
    groups = [dataset.samples[i].subject for i in rows]
    folds = subsets.assign_folds(ids, groups, strata_of(dataset.targets, rows), count)
    samples = list(dataset.samples)
    for row, fold in zip(rows, folds, strict=True):
        samples[row] = replace(samples[row], split=f"fold{fold + 1}")
    return replace(dataset, samples=samples, folds=tuple(f"fold{k + 1}" for k in range(count)))


def strata_of(targets: Sequence[Target], rows: Indices) -> list[Hashable] | None:
    """The class of each row, where the data set has classes."""
    for target in targets:
        if isinstance(target, ClassTarget):
            return [int(target.index[row]) for row in rows]
    return None


def rounds(dataset: Dataset) -> Iterator[Round]:
    """The data set's own split, or one round a fold."""
    if not dataset.folds:
        yield Round(dataset.of(TRAIN), dataset.of(VALIDATION), dataset.of(TEST))
    for fold in dataset.folds:
        others = [name for name in dataset.folds if name != fold]
        yield Round(dataset.of(*others), np.zeros(0, dtype=np.int64), dataset.of(fold))


def subset(dataset: Dataset, target: Target | None, rows: Indices, budget: LabelBudget, seed: int) -> Indices:
    """The rows of one budget and seed, rising."""
    ids = [dataset.samples[i].id for i in rows]
    strata = strata_of((target,) if target is not None else (), rows)
    if target is None:
        strata = [dataset.samples[i].subject for i in rows]
    return rows[subsets.take(ids, strata, seed, budget.fraction, budget.shots)]


def publish(folder: Path, dataset: Dataset, ids: Sequence[str], budget: LabelBudget, seed: int, part: str) -> str:
    """Writes the ids of a subset to `folder`; returns their hash.

    Args:
        ids: of the training samples; those of a cross-validated data set, all folds together, with `train_ids`.
        part: what they are: `train`, `people`, or `cv5` for five folds.
    """
    size = f"fraction{budget.fraction:g}" if budget.shots is None else f"shots{budget.shots}"
    name = f"{dataset.task}-{dataset.name}-{part}-{size}-seed{seed}"
    return subsets.publish(
        folder, name, ids, f"{dataset.name}, {part}, {budget}, seed {seed}: {len(ids)} training samples"
    )


def train_ids(dataset: Dataset, part: Round, rows: Indices) -> list[str]:
    """Ids of the rows that train in one round; in a cross-validated data set behind the fold that is then tested."""
    fold = f"{dataset.samples[part.test[0]].split}\t" if dataset.folds and part.test.size else ""
    return [f"{fold}{dataset.samples[i].id}" for i in rows]


def validation_parts(
    samples: Sequence[Sample], rows: Indices, share: float, seed: int
) -> list[tuple[Indices, Indices]]:
    """How training samples validate a probe: five folds, or one part of many; subjects whole. Positions in `rows`."""
    if len(rows) < 2:
        return []
    ids, groups = [samples[i].id for i in rows], [samples[i].subject for i in rows]
    if len(rows) > MANY:
        held = subsets.hold_out(ids, groups, share, seed)
        return [(np.flatnonzero(~held), np.flatnonzero(held))]
    units = [group or name for name, group in zip(ids, groups, strict=True)]
    if len(set(units)) < 2:
        units = ids
    distinct = sorted(set(units), key=lambda unit: (subsets.draw(seed + 1, unit), unit))
    fold_of = {unit: place % min(5, len(distinct)) for place, unit in enumerate(distinct)}
    folds = np.array([fold_of[unit] for unit in units])
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(int(folds.max()) + 1)]
