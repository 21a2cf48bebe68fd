"""Recognition: is it the same person? Pairs in folds, and templates of many pictures.

knn       cosine of features as they are
linear    features whitened first: by the covariance within people where there are people to learn from, else, fold by
          fold, by that of the pictures in the other folds (nobody's identity is used)
finetune  a backbone trained with CosFace; then the cosine of its features
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.errors import UsageError
from curate.evaluate import curves, finetune, metrics, probes, protocol, subsets
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.context import Measurement, RunContext
from curate.evaluate.datasets.people import read_people
from curate.evaluate.encoders import Encoder
from curate.evaluate.features import FeatureKind, Features
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.results import Result
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, PairTrials, TemplateTrials, refuse_leaks, upright
from curate.evaluate.tasks.emotion import ExpressionTask
from curate.evaluate.tasks.task import Floats, Head, Indices, OnFeature
from curate.evaluate.tasks.trials import (
    KEPT_FARS,
    Embed,
    as_they_are,
    pair_errors,
    pair_scores,
    people_of_pairs,
    people_of_templates,
    score_pairs,
    score_templates,
    template_scores,
    template_vectors,
)
from curate.pretrain.methods.supervised import cosface
from curate.storage.scratch import scratch


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one budget and seed.

    Attributes:
        values: by the metric's name.
        skipped: pairs left out, or pictures of templates, because a picture is damaged.
        scores, same: float64 [n], the cosine of each pair (of pictures or of templates), and bool [n], whether it is
            one person.
        errors: of each pair in folds, see `curate.evaluate.curves`; None for templates.
        groups: str [n, 2], whom each pair shows, or of templates [people, 1].
        each: see `curate.evaluate.curves`.
    """

    values: dict[str, float]
    skipped: int
    scores: Floats
    same: NDArray[np.bool_]
    errors: Floats | None = None
    groups: NDArray[np.str_] | None = None
    each: dict[str, Floats] = field(default_factory=dict)


def with_people(dataset: Dataset, folder: Path | None) -> Dataset:
    """The data set with the people of another folder (VGGFace2, or `train/<person>/`) to learn from.

    Raises:
        UsageError: the folder holds no people, or a person of the tests, or no picture that can be cropped alike.
    """
    if folder is None:
        return dataset
    people = read_people(folder)
    rule = dataset.crop.rule
    fits = {"whole": True, "five_points": any(s.points is not None for s in people), "box": any(s.box for s in people)}
    if not fits[rule]:
        needed = "five landmarks" if rule == "five_points" else "the face's box"
        raise UsageError(
            f"--set train={folder}: no picture there comes with {needed}, by which {dataset.name} is cropped"
        )
    if rule == "whole":
        people = [upright(sample) for sample in people]
    samples = [s for s in dataset.samples if s.split == TEST] + people
    refuse_leaks(f"{dataset.name} with people of {folder}", samples)
    return replace(dataset, samples=samples)


def measure(measurement: Measurement, budgets: Sequence[LabelBudget]) -> Iterator[list[Result]]:
    """Results of every budget, as they come.

    Raises:
        UsageError: there is nobody to learn from, or none of the pictures to learn from or to test can be used.
    """
    context, started = measurement.context, time.perf_counter()
    _refuse_without_people(context)
    needed = context.dataset.samples if context.mode != "finetune" else []
    features = measurement.features(needed, feature_kind(context.recipe))
    forward = (time.perf_counter() - started) / len(budgets)
    for budget in budgets:
        yield _measured(measurement, features, budget, forward)


def _measured(measurement: Measurement, features: Features, budget: LabelBudget, forward: float) -> list[Result]:
    """Results of one budget; `forward` is its share of the seconds for features."""
    context, started = measurement.context, time.perf_counter()
    dataset, trials = context.dataset, context.dataset.trials
    train = _people(measurement, features, budget)
    train_ids, n_train = [dataset.samples[i].id for i in train], len(train)
    if context.mode == "finetune":
        scored = _tuned(measurement, train)
    elif context.mode == "linear" and train.size:
        names = np.unique([str(dataset.samples[i].subject) for i in train], return_inverse=True)[1]
        shrink = context.recipe.linear.whitening
        whitening = probes.whitening(features.vectors, train, names.astype(np.int64), shrink)
        scored = score_trials(context, features, lambda _: whitening)
    elif context.mode == "linear" and isinstance(trials, PairTrials):
        folds = dict(_whitened_folds(measurement, trials, features, budget))
        train_ids = [f"fold{fold + 1}\t{name}" for fold, (_, names) in folds.items() for name in names]
        n_train = round(len(train_ids) / len(folds))
        scored = score_trials(context, features, lambda fold: folds[fold][0])
    else:
        scored = score_trials(context, features, lambda _: as_they_are)
    by_fold = isinstance(trials, PairTrials) and not dataset.of(TRAIN).size
    part = f"cv{np.unique(trials.fold).size}" if by_fold and isinstance(trials, PairTrials) else "people"
    about = measurement.result(budget, forward + time.perf_counter() - started, train_ids, part)
    about = replace(about, n_train=n_train, n_test=len(scored.same), skipped=scored.skipped)
    if context.folder:
        numbers: dict[str, NDArray[Any]] = {"scores": scored.scores, "same": scored.same}
        if scored.groups is not None:
            numbers |= {"groups": scored.groups} | curves.named(scored.each)
        if scored.errors is not None:
            numbers |= {"errors": scored.errors}
        curves.write(context.folder / "curves", curves.label_of(about), **numbers)
    return [replace(about, metric=name, value=value) for name, value in scored.values.items()]


def _refuse_without_people(context: RunContext) -> None:
    """Sees that there is somebody to learn from, where the mode needs somebody; `linear` can do with folds of pairs."""
    dataset, mode = context.dataset, context.mode
    alone = mode == "knn" or (mode == "linear" and isinstance(dataset.trials, PairTrials))
    if not alone and not dataset.of(TRAIN).size:
        own = "add train/PERSON/*.jpg or " if dataset.name == "pairs" else ""
        knn = ", or use --mode knn" if mode == "linear" else ""
        raise UsageError(f"--mode {mode}: {dataset.name} has nobody to learn from; {own}--set train=VGGFACE2{knn}")


def _people(measurement: Measurement, features: Features, budget: LabelBudget) -> Indices:
    """The pictures to learn from, of the budget's size."""
    context = measurement.context
    dataset = context.dataset
    train: Indices = dataset.of(TRAIN)
    if context.mode == "knn" or not train.size:
        return np.zeros(0, dtype=np.int64)
    given = len(train)
    if context.mode != "finetune":  # training reads the pictures itself
        train = np.asarray(train[features.sound[train]], dtype=np.int64)
    if not train.size:
        raise UsageError(f"{dataset.name}: none of the {given} pictures to learn from can be read and cropped")
    return protocol.subset(dataset, None, train, budget, measurement.seed)


def feature_kind(recipe: EvaluateRecipe) -> FeatureKind:
    """Which features recognition compares."""
    return "mirrored" if recipe.extract.mirror else "pooled"


def _whitened_folds(
    measurement: Measurement, pairs: PairTrials, features: Features, budget: LabelBudget
) -> Iterator[tuple[int, tuple[Embed, list[str]]]]:
    """For each fold, features whitened by pictures that only other folds show, and their ids; no labels are used."""
    dataset, shrink = measurement.context.dataset, measurement.context.recipe.linear.whitening
    both = np.stack([pairs.first, pairs.second])
    for fold in np.unique(pairs.fold):
        own = np.unique(both[:, pairs.fold == fold])
        others = np.setdiff1d(np.unique(both), own)
        others = others[features.sound[others]]
        ids = [dataset.samples[i].id for i in others]
        chosen = others[subsets.take(ids, None, measurement.seed, budget.fraction, budget.shots)]
        embed: Embed = probes.whitening(features.vectors, chosen, None, shrink) if chosen.size else as_they_are
        yield int(fold), (embed, [dataset.samples[i].id for i in chosen])


def score_trials(context: RunContext, features: Features, embed_for_fold: Callable[[int], Embed]) -> Scored:
    """Scores of the data set's pairs or templates.

    Raises:
        UsageError: of no trial can the pictures be read and cropped.
    """
    dataset, trials = context.dataset, context.dataset.trials
    if isinstance(trials, PairTrials):
        scores = pair_scores(features, trials, embed_for_fold)
        sound = ~np.isnan(scores)
        if not sound.any():
            raise UsageError(f"{dataset.name}: of none of the {len(sound)} pairs can both pictures be read and cropped")
        values, skipped = score_pairs(scores, trials), int((~sound).sum())
        errors, groups = pair_errors(scores, trials), people_of_pairs(trials, dataset)[sound]
        return Scored(values, skipped, scores[sound], trials.same[sound], errors, groups)
    if not isinstance(trials, TemplateTrials):
        raise UsageError(f"{dataset.name}: there are no pairs to score")
    damaged = int((~features.sound[trials.sample]).sum())
    if damaged == len(trials.sample):
        raise UsageError(f"{dataset.name}: none of the {damaged} pictures of templates can be read and cropped")
    ids, vectors = template_vectors(features, trials, embed_for_fold(0), context.recipe.templates)
    scores = template_scores(ids, vectors, trials)
    people = people_of_templates(ids, trials)
    values = score_templates(scores, ids, vectors, trials)
    each = {f"tar@far={far:.0e}": metrics.tar_each(scores, trials.same, people, far) for far in KEPT_FARS}
    names = np.unique(people).astype(str)[:, None]
    return Scored(values, damaged, scores, trials.same, None, names, {k: v for k, v in each.items() if k in values})


def _tuned(measurement: Measurement, train: Indices) -> Scored:
    """Scores of the backbone after training; its features are kept for no longer than that."""
    context = measurement.context
    dataset, recipe = context.dataset, context.recipe
    encoder = _trained(measurement, train)
    tested = dataset.of(TEST)
    place = np.full(len(dataset.samples), -1, dtype=np.int64)
    place[tested] = np.arange(len(tested))
    samples, trials = [dataset.samples[i] for i in tested], dataset.trials
    if isinstance(trials, PairTrials):
        trials = replace(trials, first=place[trials.first], second=place[trials.second])
    elif isinstance(trials, TemplateTrials):
        trials = replace(trials, sample=place[trials.sample])
    with scratch("features") as folder:
        features = context.extractor(folder).extract(encoder, samples, feature_kind(recipe))
        scored = replace(context, dataset=replace(dataset, samples=samples, trials=trials))
        return score_trials(scored, features, lambda _: as_they_are)


def _trained(measurement: Measurement, train: Indices) -> Encoder:
    """The backbone after training with CosFace; some pictures of the same people say when to stop."""
    context, seed = measurement.context, measurement.seed
    dataset, recipe = context.dataset, context.recipe
    names = sorted({str(dataset.samples[i].subject) for i in train})
    if len(names) < 2:
        raise UsageError(f"--mode finetune: {len(names)} person to learn from; CosFace needs at least two")
    index = np.full(len(dataset.samples), -1, dtype=np.int64)
    index[train] = np.searchsorted(names, [str(dataset.samples[i].subject) for i in train])
    task = ExpressionTask(ClassTarget(tuple(names), index))
    held = subsets.hold_out([dataset.samples[i].id for i in train], [None] * len(train), recipe.split.validation, seed)
    torch.manual_seed(seed)
    dim, _ = measurement.encoder.shapes(dataset.crop.size)
    layer = CosFace(dim, len(names), recipe.heads.scale, recipe.heads.margin)
    head = Head(OnFeature(layer), lambda given, target: layer.loss(given, target[:, 0].long()))
    plan = finetune.TrainingPlan(dataset.samples, dataset.crop, task, recipe.finetune, seed, progress=context.progress)
    return finetune.train(measurement.encoder, head, plan, train[~held], train[held]).encoder


class CosFace(nn.Module):
    """Cosines to one direction a person, less a margin at the true one (Wang et al. 2018, eq. 4)."""

    def __init__(self, inner: int, people: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(people, inner))
        nn.init.normal_(self.weight, std=0.01)
        self.scale, self.margin = scale, margin

    def forward(self, features: Tensor) -> Tensor:
        """[n, inner] -> cosines [n, people]."""
        return F.linear(F.normalize(features), F.normalize(self.weight))

    def loss(self, cosines: Tensor, people: Tensor) -> Tensor:
        """Cross-entropy of `scale * (cosine - margin at the true person)`."""
        return F.cross_entropy(self.scale * cosface(cosines, people, self.margin), people)
