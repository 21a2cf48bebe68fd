"""Measuring a task that is learned from labels: all but recognition.

For every round (the data set's own split, or one a fold) a probe, neighbours or a network predicts each test sample;
the predictions of all rounds are scored together.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.evaluate import curves, finetune, frames, probes, protocol, subsets
from curate.evaluate.context import Measurement
from curate.evaluate.features import FeatureKind, Features, FeatureTable
from curate.evaluate.metrics import YAW_BINS, mean_error
from curate.evaluate.probes import Predictor, ProbeData
from curate.evaluate.protocol import LabelBudget, Round
from curate.evaluate.results import Result
from curate.evaluate.samples import Dataset, OccurrenceTarget, Target, ValueTarget
from curate.evaluate.tasks import task_of
from curate.evaluate.tasks.action_units import ActionUnitTask, OccurrenceTask
from curate.evaluate.tasks.emotion import ExpressionTask
from curate.evaluate.tasks.task import Floats, Indices, Predictions, Task


@dataclass(frozen=True, eq=False)
class Question:
    """One target of the data set with its place among them, its task, and the features that it is predicted from."""

    target: Target
    place: int
    task: Task
    features: Features


def measure(measurement: Measurement, budgets: Sequence[LabelBudget]) -> Iterator[list[Result]]:
    """Results of every target and budget, as they come.

    Raises:
        UsageError: there are no training samples or no test samples that can be used.
    """
    context = measurement.context
    dataset = context.dataset
    for place, target in enumerate(dataset.targets):
        started = time.perf_counter()
        task = task_of(target, dataset.task)
        kind: FeatureKind = "none" if context.trains_network else "map" if task.spatial else "pooled"
        features = measurement.features(dataset.samples, kind)
        if kind != "none" and task.mirrors and context.recipe.extract.flip_average:
            flipped = measurement.features(dataset.samples, "map_flipped" if task.spatial else "pooled_flipped")
            features = replace(features, vectors=features.vectors.followed_by(flipped.vectors))
        forward = (time.perf_counter() - started) / len(budgets)
        question = Question(target, place, task, features)
        for budget in budgets:
            yield _measured(measurement, question, budget, forward)


def _measured(measurement: Measurement, question: Question, budget: LabelBudget, forward: float) -> list[Result]:
    """Results of one target, budget and seed; `forward` is this budget's share of the seconds for features."""
    started = time.perf_counter()
    dataset, task, features = measurement.context.dataset, question.task, question.features
    predicted, answered = np.zeros((len(dataset.samples), task.width)), np.zeros(len(dataset.samples), dtype=bool)
    sizes, damaged = [], int((task.known() & ~features.sound).sum())
    train_ids: list[str] = []
    for part in protocol.rounds(dataset):
        own = _usable(measurement, question, part, budget)
        if measurement.context.recipe.split.balance and isinstance(question.task, ExpressionTask):
            task = question.task.balanced(own.train)
        train_ids += protocol.train_ids(dataset, part, own.train)
        sizes.append(len(own.train))
        if measurement.context.trains_network:
            predicted[own.test], sound = _tuned(measurement, task, own)
            answered[own.test] = sound
            damaged += int((~sound).sum())
        else:
            predicted[own.test] = _probed(measurement, replace(question, task=task), own)
            answered[own.test] = True
    seconds = forward + time.perf_counter() - started
    about = measurement.result(budget, seconds, train_ids, dataset.tested_part if dataset.folds else "train")
    about = replace(about, n_train=round(float(np.mean(sizes))), skipped=damaged)
    return _scored(measurement, question, (predicted, answered), about)


def _usable(measurement: Measurement, question: Question, part: Round, budget: LabelBudget) -> Round:
    """The round's rows that are labelled and can be read; of those that train and validate, the budget's.

    Raises:
        UsageError: none is left to train on.
    """
    context = measurement.context
    dataset, known = context.dataset, question.task.known()
    usable = known & question.features.sound
    train, validation, test = (rows[usable[rows]] for rows in (part.train, part.validation, part.test))
    train = frames.choose(dataset, train, context.recipe.frames, measurement.seed, context.progress)
    if not train.size:
        damaged = known[part.train].any()
        none = "none of the training pictures can be read and cropped"
        raise UsageError(f"{dataset.name}: {none if damaged else 'there are no training samples'} for {dataset.task}")
    train = protocol.subset(dataset, question.target, train, budget, measurement.seed)
    if validation.size:
        validation = protocol.subset(dataset, question.target, validation, budget, measurement.seed)
    return Round(train, validation, test)


def _probed(measurement: Measurement, question: Question, own: Round) -> Floats:
    """Predictions [len(own.test), width] by a probe or by neighbours on frozen features."""
    context, task, features = measurement.context, question.task, question.features
    recipe, dataset = context.recipe, context.dataset
    table = features.vectors
    cells = _map_cells(measurement) if task.spatial else 1
    if cells > 1:
        table = probes.reduce_maps(table, own.train, cells, recipe.linear.width)
    if context.mode == "knn":
        wanted, knn = task.votes(_targets(task, own.train, features, dataset)), recipe.knn

        def vote(table: FeatureTable, rows: Indices) -> Floats:
            return probes.neighbours(table, own.train, wanted, rows, knn.k, knn.temperature)

        return _with_flipped(task, vote, table, own.test, len(dataset.samples))
    rows, final = np.concatenate([own.train, own.validation]), np.arange(len(own.train))
    if len(own.validation):
        parts = [(final, np.arange(len(own.train), len(rows)))]
    else:
        parts = protocol.validation_parts(dataset.samples, own.train, recipe.split.validation, measurement.seed)
    targets = _targets(task, rows, features, dataset)
    predict = task.probe(ProbeData(table, rows, targets, parts, final, recipe.linear.strengths))
    return _with_flipped(task, predict, table, own.test, len(dataset.samples))


def _with_flipped(task: Task, predict: Predictor, table: FeatureTable, rows: Indices, samples: int) -> Floats:
    """Predictions for rows, averaged with those for their mirror images where the table has them behind all samples."""
    found = predict(table, rows)
    if len(table) == samples:
        return found
    return np.asarray((found + task.unmirrored(predict(table, rows + samples))) / 2)


def _targets(task: Task, rows: Indices, features: Features, dataset: Dataset) -> Floats:
    """float64 [len(rows), K] under each sample's crop."""
    found = [task.target(int(row), features.matrices[row], dataset.crop.size) for row in rows]
    return np.stack(found) if found else np.zeros((0, task.width))


def _map_cells(measurement: Measurement) -> int:
    """Cells in each row of features that were extracted as maps."""
    context = measurement.context
    _, shapes = measurement.encoder.shapes(context.dataset.crop.size)
    return min(shapes[-1][1], context.recipe.linear.grid) ** 2 if shapes else 1


def _tuned(measurement: Measurement, task: Task, own: Round) -> tuple[Floats, NDArray[np.bool_]]:
    """Predictions [len(own.test), width] of a trained network, and which of the test samples could be read."""
    context, seed = measurement.context, measurement.seed
    dataset, recipe, samples = context.dataset, context.recipe, context.dataset.samples
    train, validation = own.train, own.validation
    if not len(validation) and len(train) > 1:
        ids, groups = [samples[i].id for i in train], [samples[i].subject for i in train]
        held = subsets.hold_out(ids, groups, recipe.split.validation, seed)
        train, validation = train[~held], train[held]
    torch.manual_seed(seed)
    head = task.head(*measurement.encoder.shapes(dataset.crop.size), recipe.heads)
    frozen = context.mode == "linear"
    plan = finetune.TrainingPlan(
        samples, dataset.crop, task, recipe.finetune, seed, frozen, recipe.extract.flip_average, context.progress
    )
    network = finetune.train(measurement.encoder, head, plan, train, validation)
    return finetune.predict(network, head, plan, own.test)


def _scored(
    measurement: Measurement, question: Question, answers: tuple[Floats, NDArray[np.bool_]], about: Result
) -> list[Result]:
    """A result a metric and part of the test set; `answers` are predictions of all samples, and which have one."""
    predicted, answered = answers
    context, task = measurement.context, question.task
    dataset, found = context.dataset, []
    for part, every in dataset.tested().items():
        rows = every[answered[every]]
        if not rows.size:
            continue
        scored = Predictions(predicted[rows], rows, question.features.matrices[rows], dataset.crop.size)
        if context.folder:
            seen = [dataset.samples[row] for row in rows]
            ids, groups = np.array([s.id for s in seen]), np.array([[s.subject or s.clip or s.id] for s in seen])
            numbers = {"errors": task.errors(scored), "ids": ids, "groups": groups}
            numbers |= curves.named(task.each(scored))
            curves.save(context.folder / "curves", replace(about, split=part), question.place, **numbers)
        values = task.score(scored)
        if part == dataset.tested_part and isinstance(task, ActionUnitTask | OccurrenceTask):
            values |= _by_fold(dataset, task, scored)
        notes = [*about.notes, *_shortened(values, dataset, part)]
        for metric, value in values.items():
            found.append(replace(about, split=part, metric=metric, value=value, n_test=len(rows), notes=notes))
    if not found:
        raise UsageError(f"{dataset.name}: there are no test samples for {dataset.task}")
    return found


def _shortened(values: dict[str, float], dataset: Dataset, part: str) -> list[str]:
    """Notes on means over units, valence and arousal, or bins of yaw to which some gave nothing."""
    names = {name for t in dataset.targets if isinstance(t, ValueTarget | OccurrenceTarget) for name in t.names}
    short = defaultdict(list)
    for metric in values:
        each = [name for name in names if f"{metric}_{name}" in values]
        lost = tuple(sorted(name for name in each if np.isnan(values[f"{metric}_{name}"])))
        if lost:
            short[lost, len(each) - len(lost)].append(metric)
    notes = [
        f"{part}: means over {left} of {left + len(lost)} ({', '.join(metrics)}): undefined for {', '.join(lost)}"
        for (lost, left), metrics in short.items()
    ]
    of_yaw = [name.removesuffix("_balanced") for name in values if name.endswith("_balanced")]
    bins = [f"yaw_{int(low)}_{int(high)}" for low, high in YAW_BINS]
    empty = [name for name in bins if of_yaw and f"{of_yaw[0]}_{name}" not in values]
    if empty:
        notes.append(f"{part}: no face in {', '.join(empty)}: ..._balanced is the mean of the other bins")
    return notes


def _by_fold(dataset: Dataset, task: Task, scored: Predictions) -> dict[str, float]:
    """Metrics over all units as the mean over folds, beside those of all folds pooled; none without folds."""
    of_fold = np.array([dataset.samples[row].split for row in scored.rows])
    each: dict[str, list[float]] = defaultdict(list)
    for fold in dataset.folds:
        own = np.flatnonzero(of_fold == fold)
        if own.size:
            rows, matrices = scored.rows[own], scored.matrices[own]
            for metric, value in task.score(
                replace(scored, values=scored.values[own], rows=rows, matrices=matrices)
            ).items():
                each[metric].append(value)
    return {f"{metric}_by_fold": mean_error(values) for metric, values in each.items() if "_AU" not in metric}
