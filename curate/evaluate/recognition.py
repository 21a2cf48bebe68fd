"""The protocol of recognition: learn from people, score pairs or templates of others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from curate.choices import Mode
from curate.errors import UsageError
from curate.evaluate import finetune, heads, probes, protocol, subsets
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.datasets.people import read_people
from curate.evaluate.encoders import Encoder
from curate.evaluate.features import Features, Progress, extract
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, PairTrials, TemplateTrials, refuse_leaks
from curate.evaluate.tasks.classes import ClassGoal
from curate.evaluate.tasks.recognition import (
    Embed,
    embed_with,
    pair_scores,
    score_pairs,
    score_templates,
    template_scores,
)
from curate.stages.backend import unit

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one budget and seed, and what they were made from.

    Attributes:
        values: by the metric's name.
        n_train: pictures that were learned from; where each fold has its own, their mean.
        n_test: pairs (of pictures or of templates) that were scored.
        skipped: pairs left out, or pictures of templates, because a picture is damaged.
        taught: ids of the pictures that were learned from, in order; where each fold has its own, behind the fold that
            is then tested and a tab.
        scores, same: float64 [n_test], the cosine of each pair, and bool [n_test], whether it is one person.
    """

    values: dict[str, float]
    n_train: int
    n_test: int
    skipped: int
    taught: list[str]
    scores: NDArray[np.float64]
    same: NDArray[np.bool_]


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
    samples = [s for s in dataset.samples if s.split == TEST] + people
    refuse_leaks(f"{dataset.name} with people of {folder}", samples)
    return replace(dataset, samples=samples)


def refuse_untaught(dataset: Dataset, mode: Mode) -> None:
    """Sees that there is somebody to learn from, where the mode needs somebody; `linear` can do with folds of pairs.

    Raises:
        UsageError: there is not.
    """
    alone = mode == "knn" or (mode == "linear" and isinstance(dataset.trials, PairTrials))
    if not alone and not dataset.of(TRAIN).size:
        own = "add train/PERSON/*.jpg or " if dataset.name == "pairs" else ""
        knn = ", or use --mode knn" if mode == "linear" else ""
        raise UsageError(f"--mode {mode}: {dataset.name} has nobody to learn from; {own}--set train=VGGFACE2{knn}")


def score(
    dataset: Dataset, encoder: Encoder, features: Features, budget: LabelBudget, mode: Mode, recipe: EvaluateRecipe,
    seed: int,
    progress: Progress | None,
) -> Scored:  # fmt: skip
    """Scores of one budget and seed.

    Raises:
        UsageError: none of the pictures to learn from, or none of those to be tested, can be used.
    """
    train = dataset.of(TRAIN)
    if mode == "knn":
        train = train[:0]
    given = len(train)
    train = train[features.sound[train]]
    if given and not train.size:
        raise UsageError(f"{dataset.name}: none of the {given} pictures to learn from can be read and cropped")
    if train.size:
        train = protocol.subset(dataset, None, train, budget, seed)
    taught = [dataset.samples[i].id for i in train]
    if mode == "finetune":
        encoder = _trained(dataset, encoder, train, recipe, seed, progress)
        tested = dataset.of(TEST)
        samples = [dataset.samples[i] for i in tested]
        with tempfile.TemporaryDirectory(prefix="curate-features-") as scratch:  # nothing ever asks for them again
            found = extract(encoder, samples, dataset.crop, recipe, kind_of(recipe), Path(scratch), progress)
            return _score(dataset, _renumbered(dataset, tested), found, lambda _: unit, taught, len(train))
    if mode == "linear" and train.size:
        people = np.unique([str(dataset.samples[i].subject) for i in train], return_inverse=True)[1]
        whitening = probes.whitening(features.vectors, train, people.astype(np.int64), recipe.linear.whitening)
        embed = embed_with(whitening)
        return _score(dataset, dataset.trials, features, lambda _: embed, taught, len(train))
    if mode == "linear" and isinstance(dataset.trials, PairTrials):  # for templates `refuse_untaught` wants people
        folds = dict(_whitened_folds(dataset, dataset.trials, features, budget, recipe, seed))
        taught = [f"fold{fold + 1}\t{name}" for fold, (_, names) in folds.items() for name in names]
        mean = round(len(taught) / len(folds))
        return _score(dataset, dataset.trials, features, lambda fold: folds[fold][0], taught, mean)
    return _score(dataset, dataset.trials, features, lambda _: unit, taught, 0)


def kind_of(recipe: EvaluateRecipe) -> str:
    """Which features recognition compares."""
    return "mirrored" if recipe.extract.mirror else "pooled"


def _whitened_folds(
    dataset: Dataset, pairs: PairTrials, features: Features, budget: LabelBudget, recipe: EvaluateRecipe, seed: int
) -> Iterator[tuple[int, tuple[Embed, list[str]]]]:
    """For each fold, features whitened by pictures that only other folds show, and their ids; no labels are used."""
    both = np.stack([pairs.first, pairs.second])
    for fold in np.unique(pairs.fold):
        own = np.unique(both[:, pairs.fold == fold])
        others = np.setdiff1d(np.unique(both), own)
        others = others[features.sound[others]]
        ids = [dataset.samples[i].id for i in others]
        chosen = others[subsets.take(ids, None, seed, budget.fraction, budget.shots)]
        whitening = probes.whitening(features.vectors, chosen, None, recipe.linear.whitening) if chosen.size else None
        yield int(fold), (embed_with(whitening), [dataset.samples[i].id for i in chosen])


def _score(
    dataset: Dataset, trials: PairTrials | TemplateTrials | None, features: Features,
    embed_for_fold: Callable[[int], Embed],
    taught: list[str], n_train: int,
) -> Scored:  # fmt: skip
    if isinstance(trials, PairTrials):
        scores = pair_scores(features, trials, embed_for_fold)
        sound = ~np.isnan(scores)
        if not sound.any():
            raise UsageError(f"{dataset.name}: of none of the {len(sound)} pairs can both pictures be read and cropped")
        values = score_pairs(scores, trials)
        return Scored(values, n_train, int(sound.sum()), int((~sound).sum()), taught, scores[sound], trials.same[sound])
    if not isinstance(trials, TemplateTrials):
        raise UsageError(f"{dataset.name}: there are no pairs to score")
    embed = embed_for_fold(0)
    damaged = int((~features.sound[trials.sample]).sum())
    if damaged == len(trials.sample):
        raise UsageError(f"{dataset.name}: none of the {damaged} pictures of templates can be read and cropped")
    scores, ids, vectors = template_scores(features, trials, embed)
    values = score_templates(scores, ids, vectors, trials)
    return Scored(values, n_train, len(trials.same), damaged, taught, scores, trials.same)


def _renumbered(dataset: Dataset, tested: Indices) -> PairTrials | TemplateTrials | None:
    """The trials by position among the tested samples."""
    place = np.full(len(dataset.samples), -1, dtype=np.int64)
    place[tested] = np.arange(len(tested))
    if isinstance(dataset.trials, PairTrials):
        return replace(dataset.trials, first=place[dataset.trials.first], second=place[dataset.trials.second])
    if isinstance(dataset.trials, TemplateTrials):
        return replace(dataset.trials, sample=place[dataset.trials.sample])
    return None


def _trained(
    dataset: Dataset, encoder: Encoder, train: Indices, recipe: EvaluateRecipe, seed: int, progress: Progress | None
) -> Encoder:
    """The backbone after training with CosFace; some pictures of the same people say when to stop."""
    names = sorted({str(dataset.samples[i].subject) for i in train})
    if len(names) < 2:
        raise UsageError(f"--mode finetune: {len(names)} person to learn from; CosFace needs at least two")
    index = np.full(len(dataset.samples), -1, dtype=np.int64)
    index[train] = np.searchsorted(names, [str(dataset.samples[i].subject) for i in train])
    goal = ClassGoal(ClassTarget(tuple(names), index))
    held = subsets.hold_out([dataset.samples[i].id for i in train], [None] * len(train), recipe.split.validation, seed)
    torch.manual_seed(seed)
    dim, _ = encoder.shapes(dataset.crop.size)
    cosface = heads.CosFace(dim, len(names), recipe.heads.scale, recipe.heads.margin)
    answer = heads.Answer(
        heads.OnFeature(cosface), lambda given, truth: cosface.loss(given, truth[:, 0].long()), lambda given: given
    )
    job = finetune.Job(dataset.samples, dataset.crop, goal)
    return finetune.train(encoder, answer, job, train[~held], train[held], recipe.finetune, seed, progress).encoder
