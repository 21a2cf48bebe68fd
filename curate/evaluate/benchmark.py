"""`run`: one cell of the five-task benchmark, whatever the backbone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from curate import hardware
from curate.choices import TASKS, Mode
from curate.errors import UnavailableError, UsageError
from curate.evaluate import config, curves, datasets, encoders, frames, protocol, recognition, results
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.encoders import Encoder
from curate.evaluate.features import Features, Progress, extract
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.results import Result
from curate.evaluate.samples import TRAIN, Dataset, PairTrials, Sample, Target
from curate.evaluate.tasks import goal_of
from curate.evaluate.tasks.goal import Floats, Goal, Indices
from curate.evaluate.tasks.landmarks import LandmarkGoal

Spec = str | Path | nn.Module


@dataclass(frozen=True, eq=False)
class Cell:
    """What all seeds and budgets of one call share."""

    dataset: Dataset
    data: Path
    mode: Mode
    recipe: EvaluateRecipe
    folder: Path | None
    cache: Path
    progress: Progress | None


def run(
    task: str,
    dataset: str,
    backbone: Spec,
    *,
    data: str | Path,
    mode: str = "linear",
    fraction: float | Sequence[float] = 1.0,
    shots: int | Sequence[int] | None = None,
    seeds: int = 1,
    arch: str | None = None,
    name: str | None = None,
    recipe: EvaluateRecipe | str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Result]:
    """Measures one backbone on one task and data set.

    Args:
        task: recognition, landmarks, action_units, emotion or reconstruction.
        dataset: a name of the catalogue (`curate.evaluate.CATALOGUE`).
        backbone: a file, `random`, or any nn.Module (see `curate.evaluate.encoders`).
        data: the data set's folder, as its owners distribute it.
        mode: linear, finetune or knn.
        fraction: shares of the training samples, each measured.
        shots: instead, samples of each class (in all, where there are no classes), each measured.
        seeds: so many, from the recipe's `seed` upwards; a `random` backbone is drawn anew for each.
        arch: for `random`, and checked against a file.
        name: what results call the backbone; None: the file as it is named here, `random`, or `CLASS@DIGEST`.
        recipe: a Recipe, or a YAML file; None for the defaults.
        overrides: dotted keys over a recipe file.
        out: results are appended to this file as they come; features and lists of ids lie beside it.
        device: auto, cpu or cuda.
        progress: see `curate.evaluate.features.Progress`.

    Returns:
        One result a metric, part of the test set, budget and seed.

    Raises:
        UsageError: an option, the recipe, the backbone or the folder is wrong; the line says what mends it.
    """
    keys = recipe if isinstance(recipe, EvaluateRecipe) else config.load(Path(recipe) if recipe else None, overrides)
    budgets, kind = _checked(task, fraction, shots, seeds), protocol.mode_of(mode)
    place, folder = _device(device), Path(out).parent if out else None
    found: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="curate-features-") as scratch, encoders.modes_kept(backbone):
        cache = keys.extract.cache or (folder / "features" if folder else Path(scratch))
        content = _dataset(dataset, task, Path(data), keys)
        if out:
            results.check(Path(out))
        cell = Cell(content, Path(data), kind, keys, folder, cache, progress)
        for seed, encoder in _encoders(backbone, arch, name, range(keys.seed, keys.seed + seeds), place):
            encoder.shapes(content.crop.size)  # refuses crops that the network cannot take
            if mode == "finetune" and not encoder.trainable:
                raise UsageError(f"--mode finetune: {encoder.origin.name} cannot be trained; use linear or knn")
            for results_of_one in _measure_all(cell, encoder, budgets, seed):
                if out:
                    results.append(Path(out), results_of_one)
                found += results_of_one
    return found


def _dataset(name: str, task: str, data: Path, keys: EvaluateRecipe) -> Dataset:
    """The data set as the recipe wants it: with others' people, or in folds, its crop at the wished size."""
    content = datasets.read(name, task, data)
    if task == "recognition":
        content = recognition.with_people(content, keys.train)
    else:
        content = protocol.with_folds(content, keys.split.folds)
    return replace(content, crop=content.crop.resized(keys.crop.size))


def _encoders(
    spec: Spec, arch: str | None, name: str | None, seeds: range, place: str
) -> Iterator[tuple[int, Encoder]]:
    """The encoder of each seed: the same one, but `random` is drawn anew."""
    encoder: Encoder | None = None
    for seed in seeds:
        if encoder is None or (isinstance(spec, str) and spec == "random"):
            encoder = encoders.load(spec, arch, seed, place, name)
        yield seed, encoder


def _device(wish: str) -> str:
    try:
        return hardware.device(wish)
    except UnavailableError:
        raise UnavailableError(f"--device {wish}: torch sees no GPU here; use auto or cpu") from None


def _checked(
    task: str, fraction: float | Sequence[float], shots: int | Sequence[int] | None, seeds: int
) -> list[LabelBudget]:
    """The budgets, after a look at the options."""
    if task not in TASKS:
        raise UsageError(f"--task {task}: none of {', '.join(TASKS)}")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: at least 1")
    shares = [float(fraction)] if isinstance(fraction, int | float) else [float(f) for f in fraction]
    if shots is not None:
        counts = [shots] if isinstance(shots, int) else list(shots)
        if counts and any(share != 1 for share in shares):
            raise UsageError("--fraction and --shots: give one of them")
        if counts:
            return [LabelBudget(1.0, count) for count in counts]
    return [LabelBudget(share) for share in shares or [1.0]]


def _measure_all(cell: Cell, encoder: Encoder, budgets: list[LabelBudget], seed: int) -> Iterable[list[Result]]:
    """Results of every budget of one seed, as they come."""
    started = time.perf_counter()
    if cell.dataset.task == "recognition":
        recognition.refuse_untaught(cell.dataset, cell.mode)
        kind = recognition.kind_of(cell.recipe)
        needed = cell.dataset.samples if cell.mode != "finetune" else []
        features = _features(cell, encoder, needed, kind)
        forward = (time.perf_counter() - started) / len(budgets)
        for budget in budgets:
            yield _recognised(cell, encoder, features, budget, seed, forward)
        return
    goals = [goal_of(target, cell.dataset.task) for target in cell.dataset.targets]
    for goal, target in zip(goals, cell.dataset.targets, strict=True):
        started = time.perf_counter()
        networks = _trains(cell)
        spatial = goal.spatial and not networks
        features = _features(
            cell, encoder, cell.dataset.samples, "none" if networks else "map" if spatial else "pooled"
        )
        forward = (time.perf_counter() - started) / len(budgets)
        for budget in budgets:
            yield _answered(cell, encoder, goal, target, features, budget, seed, forward)


def _trains(cell: Cell) -> bool:
    """Whether a network is trained, so that features of frozen crops are of no use."""
    return protocol.trains(cell.mode, cell.dataset.task, cell.recipe)


def _features(cell: Cell, encoder: Encoder, samples: Sequence[Sample], kind: str) -> Features:
    return extract(encoder, samples, cell.dataset.crop, cell.recipe, kind, cell.cache, cell.progress)


def _recognised(
    cell: Cell, encoder: Encoder, features: Features, budget: LabelBudget, seed: int, forward: float
) -> list[Result]:
    started = time.perf_counter()
    if cell.mode == "finetune":
        everything = len(cell.dataset.samples)
        features = Features(features.vectors, np.zeros((everything, 2, 3)), np.ones(everything, dtype=bool))
    scored = recognition.score(cell.dataset, encoder, features, budget, cell.mode, cell.recipe, seed, cell.progress)
    trials = cell.dataset.trials
    part = "people"
    if isinstance(trials, PairTrials) and not cell.dataset.of(TRAIN).size:
        part = f"cv{np.unique(trials.fold).size}"
    listed = _published(cell, scored.taught, budget, seed, part)
    seconds = forward + time.perf_counter() - started
    about = _about(cell, encoder, budget, seed, seconds, listed)
    about = replace(about, n_train=scored.n_train, n_test=scored.n_test, skipped=scored.skipped)
    if cell.folder:
        curves.save(cell.folder / "curves", about, scores=scored.scores, same=scored.same)
    return [replace(about, metric=name, value=value) for name, value in scored.values.items()]


def _answered(
    cell: Cell,
    encoder: Encoder,
    goal: Goal,
    target: Target,
    features: Features,
    budget: LabelBudget,
    seed: int,
    forward: float,
) -> list[Result]:
    """Results of one goal, budget and seed: answers of all rounds are scored together."""
    started = time.perf_counter()
    dataset = cell.dataset
    usable = goal.known() & features.sound
    answers, answered = np.zeros((len(dataset.samples), goal.width)), np.zeros(len(dataset.samples), dtype=bool)
    sizes, damaged = [], int((goal.known() & ~features.sound).sum())
    taught: list[str] = []
    for part in protocol.rounds(dataset):
        train, check, test = (rows[usable[rows]] for rows in (part.train, part.check, part.test))
        train = frames.choose(dataset.samples, train, dataset.crop, cell.recipe.frames, seed, cell.progress)
        if not train.size:
            damaged_alone = goal.known()[part.train].any()
            what = (
                "none of the training pictures can be read and cropped"
                if damaged_alone
                else "there are no training samples"
            )
            raise UsageError(f"{dataset.name}: {what} for {dataset.task}")
        train = protocol.subset(dataset, target, train, budget, seed)
        check = protocol.subset(dataset, target, check, budget, seed) if check.size else check
        taught += protocol.taught_for(dataset, part, train)
        sizes.append(len(train))
        if _trains(cell):
            frozen = cell.mode == "linear"
            answers[test], sound = protocol.trained_answers(
                goal, dataset, encoder, train, check, test, cell.recipe, seed, frozen, cell.progress
            )
            answered[test] = sound
            damaged += int((~sound).sum())
        else:
            cells = _cells(cell, encoder) if goal.spatial else 1
            answers[test] = protocol.frozen_answers(
                goal, dataset, features, cells, train, check, test, cell.mode, cell.recipe, seed
            )
            answered[test] = True
    listed = _published(cell, taught, budget, seed, _whole(dataset) if dataset.folds else "train")
    seconds = forward + time.perf_counter() - started
    about = replace(
        _about(cell, encoder, budget, seed, seconds, listed), n_train=round(float(np.mean(sizes))), skipped=damaged
    )
    return _scored(cell, goal, answers, answered, features, about)


def _scored(
    cell: Cell, goal: Goal, answers: Floats, answered: np.ndarray, features: Features, about: Result
) -> list[Result]:
    dataset = cell.dataset
    tested = dataset.of(*dataset.folds) if dataset.folds else dataset.of("test")
    parts: dict[str, Indices] = dict(dataset.subsets)
    if "full" not in parts:
        parts = {_whole(dataset): tested, **parts}
    found = []
    for part, rows in parts.items():
        rows = rows[answered[rows]]
        if not rows.size:
            continue
        matrices = features.matrices[rows]
        if cell.folder and isinstance(goal, LandmarkGoal):
            errors = goal.errors(answers[rows], rows, matrices, dataset.crop.size)
            curves.save(cell.folder / "curves", replace(about, split=part), errors=errors)
        for metric, value in goal.score(answers[rows], rows, matrices, dataset.crop.size).items():
            found.append(replace(about, split=part, metric=metric, value=value, n_test=len(rows)))
    if not found:
        raise UsageError(f"{dataset.name}: there are no test samples for {dataset.task}")
    return found


def _whole(dataset: Dataset) -> str:
    """What results call all that is tested."""
    return f"cv{len(dataset.folds)}" if dataset.folds else "test"


def _cells(cell: Cell, encoder: Encoder) -> int:
    """Cells in each row of the features that were extracted as maps."""
    _, shapes = encoder.shapes(cell.dataset.crop.size)
    return min(shapes[-1][1], cell.recipe.linear.grid) ** 2 if shapes else 1


def _published(cell: Cell, ids: Sequence[str], budget: LabelBudget, seed: int, part: str) -> str | None:
    if cell.folder is None or not ids:
        return None
    return protocol.publish(cell.folder / "subsets", cell.dataset, ids, budget, seed, part)


def _about(cell: Cell, encoder: Encoder, budget: LabelBudget, seed: int, seconds: float, listed: str | None) -> Result:
    """A result with all but its metric."""
    origin = encoder.origin
    return Result(
        backbone=origin.name, method=origin.method, manifest=origin.manifest, task=cell.dataset.task,
        dataset=cell.dataset.name, split="test", metric="", value=float("nan"), fraction=budget.fraction,
        mode=cell.mode, seed=seed, n_train=0, n_test=0, seconds=round(seconds, 3), shots=budget.shots,
        arch=origin.arch, backbone_digest=origin.digest, subset=listed, crop=cell.dataset.crop.describe(),
        frames=frames.name_of(cell.dataset, cell.recipe.frames), device=encoder.mean.device.type,
        notes=list(cell.dataset.notes), data=str(cell.data),
        recipe=protocol.telling(cell.mode, cell.dataset.task, cell.recipe),
    )  # fmt: skip
