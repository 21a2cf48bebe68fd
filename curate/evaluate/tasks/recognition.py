"""Recognition: is it the same person? Pairs in folds, and templates of many pictures.

knn       cosine of features as they are
linear    features whitened first: by the covariance within people where there are people to learn from, else, fold by
          fold, by that of the pictures in the other folds (nobody's identity is used)
finetune  a backbone trained with CosFace; then the cosine of its features
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.errors import UsageError
from curate.evaluate import curves, finetune, metrics, probes, protocol, subsets
from curate.evaluate.config import EvaluateRecipe, TemplateWeights
from curate.evaluate.context import Measurement, RunContext
from curate.evaluate.datasets.people import read_people
from curate.evaluate.encoders import Encoder
from curate.evaluate.features import FeatureKind, Features
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.results import Result
from curate.evaluate.samples import TEST, TRAIN, ClassTarget, Dataset, PairTrials, TemplateTrials, refuse_leaks, upright
from curate.evaluate.tasks.emotion import ExpressionTask
from curate.evaluate.tasks.task import Floats, Head, Indices, OnFeature
from curate.pretrain.methods.supervised import cosface
from curate.stages.backend import unit

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (1e-1, 1e-2)
Single = NDArray[np.float32]
Embed = Callable[[Single], Single]
"""Features [n, D] -> vectors [n, E] that are compared by their cosine."""


def as_they_are(vectors: Single) -> Single:
    """Features that are compared as the backbone gives them."""
    return vectors


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one budget and seed.

    Attributes:
        values: by the metric's name.
        skipped: pairs left out, or pictures of templates, because a picture is damaged.
        scores, same: float64 [n], the cosine of each pair (of pictures or of templates), and bool [n], whether it is
            one person.
    """

    values: dict[str, float]
    skipped: int
    scores: Floats
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
        curves.save(context.folder / "curves", about, scores=scored.scores, same=scored.same)
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
        return Scored(score_pairs(scores, trials), int((~sound).sum()), scores[sound], trials.same[sound])
    if not isinstance(trials, TemplateTrials):
        raise UsageError(f"{dataset.name}: there are no pairs to score")
    damaged = int((~features.sound[trials.sample]).sum())
    if damaged == len(trials.sample):
        raise UsageError(f"{dataset.name}: none of the {damaged} pictures of templates can be read and cropped")
    ids, vectors = template_vectors(features, trials, embed_for_fold(0), context.recipe.templates)
    scores = template_scores(ids, vectors, trials)
    return Scored(score_templates(scores, ids, vectors, trials), damaged, scores, trials.same)


def pair_scores(features: Features, pairs: PairTrials, embed_for_fold: Callable[[int], Embed]) -> Floats:
    """The cosine of every pair, float64 [M]; NaN where a picture is damaged."""
    scores = np.full(len(pairs.same), np.nan)
    sound = features.sound[pairs.first] & features.sound[pairs.second]
    previous: tuple[Embed, Indices, Single] | None = None
    for fold in np.unique(pairs.fold):
        own = np.flatnonzero(sound & (pairs.fold == fold))
        embed = embed_for_fold(int(fold))
        if previous is None or previous[0] is not embed:
            rows = np.unique(np.concatenate([pairs.first, pairs.second]))
            previous = (embed, rows, unit(embed(features.vectors.take(rows))))
        _, rows, vectors = previous
        for start in range(0, len(own), 65536):
            part = own[start : start + 65536]
            a = vectors[np.searchsorted(rows, pairs.first[part])].astype(np.float64)
            b = vectors[np.searchsorted(rows, pairs.second[part])].astype(np.float64)
            scores[part] = np.einsum("nd,nd->n", a, b)
    return scores


def score_pairs(scores: Floats, pairs: PairTrials) -> dict[str, float]:
    """Accuracy over folds, EER, area under the ROC, and TAR at every FAR that the impostor pairs can resolve."""
    sound = ~np.isnan(scores)
    s, same, fold = scores[sound], pairs.same[sound], pairs.fold[sound]
    result = {"accuracy": float("nan")}
    if np.unique(fold).size > 1:
        result["accuracy"] = metrics.ten_fold_accuracy(s, same, fold)
    return result | _open_rates(s, same)


def _open_rates(scores: Floats, same: NDArray[np.bool_]) -> dict[str, float]:
    result = {"eer": metrics.eer(scores, same), "roc_auc": metrics.roc_auc(scores, same)}
    wanted = [far for far in FARS if far * int((~same).sum()) >= 1]
    rates = metrics.tar_at_far(scores, same, wanted)
    return result | {f"tar@far={far:.0e}": float(rate) for far, rate in zip(wanted, rates, strict=True)}


def template_vectors(
    features: Features, templates: TemplateTrials, embed: Embed, weights: TemplateWeights
) -> tuple[Indices, Single]:
    """Template ids, rising, and their unit vectors: pictures averaged by medium, media added by template.

    Damaged pictures are left out; a template without any sound one has a zero vector. Source: insightface's
    `image2template_feature`.
    """
    ids, of_template = np.unique(templates.template, return_inverse=True)
    _, of_medium, first = _media(templates)
    sound = np.flatnonzero(features.sound[templates.sample])
    sums: NDArray[np.float64] | None = None
    counts = np.zeros(len(first))
    for start in range(0, len(sound), 4096):
        part = sound[start : start + 4096]
        vectors = embed(features.vectors.take(templates.sample[part])).astype(np.float64)
        if not weights.norm:
            vectors = unit(vectors).astype(np.float64)
        if weights.detector and templates.score is not None:
            vectors = vectors * templates.score[part, None]
        if sums is None:
            sums = np.zeros((len(first), vectors.shape[1]))
        np.add.at(sums, of_medium[part], vectors)
        np.add.at(counts, of_medium[part], 1)
    if sums is None:
        return ids, np.zeros((len(ids), 1), np.float32)
    result = np.zeros((len(ids), sums.shape[1]))
    np.add.at(result, of_template[first], sums / np.maximum(counts, 1)[:, None])
    return ids, unit(result.astype(np.float32))


def _media(templates: TemplateTrials) -> tuple[Indices, Indices, Indices]:
    """The distinct (template, medium) pairs: as rows, each picture's pair, and one picture of each pair."""
    both = np.stack([templates.template, templates.media], axis=1)
    rows, first, of_medium = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return rows, of_medium.ravel(), first


def template_scores(ids: Indices, vectors: Single, templates: TemplateTrials) -> Floats:
    """The cosine of every pair of templates, float64 [M]; `ids` and `vectors` of `template_vectors`."""
    a, b = np.searchsorted(ids, templates.first), np.searchsorted(ids, templates.second)
    scores = np.empty(len(a))
    for start in range(0, len(a), 65536):
        where = slice(start, start + 65536)
        scores[where] = np.einsum("nd,nd->n", vectors[a[where]], vectors[b[where]])
    return scores


def score_templates(scores: Floats, ids: Indices, vectors: Single, templates: TemplateTrials) -> dict[str, float]:
    """1:1 as for pairs; 1:N among all galleries as one, as insightface does, and by gallery, as the owners do.

    Args:
        scores, ids, vectors: of `template_scores` and `template_vectors`.
    """
    result = _open_rates(scores, templates.same) if len(scores) else {}
    if templates.probes is None or not templates.galleries:
        return result
    probe_ids, probe_people = templates.probes
    probes = vectors[np.searchsorted(ids, probe_ids)]
    ranks, rates = [], []
    for gallery_ids, gallery_people in templates.galleries.values():
        similarity = probes @ vectors[np.searchsorted(ids, gallery_ids)].T
        ranks.append(metrics.rank_accuracy(similarity, probe_people, gallery_people))
        rates.append(metrics.tpir_at_fpir(similarity, probe_people, gallery_people, FPIRS))
    everybody = np.concatenate([people for _, people in templates.galleries.values()])
    everyone = np.concatenate([gallery for gallery, _ in templates.galleries.values()])
    _, first = np.unique(everybody, return_index=True)  # a person of two galleries counts once
    similarity = probes @ vectors[np.searchsorted(ids, everyone[first])].T
    merged = metrics.rank_accuracy(similarity, probe_people, everybody[first])
    pooled = metrics.tpir_at_pooled_fpir(similarity, probe_people, everybody[first], FPIRS)
    result |= {f"rank{k}": float(v) for k, v in zip((1, 5), merged, strict=True)}
    result |= {f"tpir@fpir={f:.0e}": float(v) for f, v in zip(FPIRS, pooled, strict=True)}
    # strangers to one gallery are mates of another, so each gallery has its own
    result |= {f"rank{k}_by_gallery": float(v) for k, v in zip((1, 5), np.mean(ranks, axis=0), strict=True)}
    by_gallery = zip(FPIRS, np.mean(rates, axis=0), strict=True)
    return result | {f"tpir_by_gallery@fpir={f:.0e}": float(v) for f, v in by_gallery}


def template_note(dataset: Dataset, weights: TemplateWeights) -> tuple[str, ...]:
    """Which of the field's ways templates are made and searched; none where there are no templates."""
    trials = dataset.trials
    if not isinstance(trials, TemplateTrials):
        return ()
    detector = weights.detector and trials.score is not None
    made = f"templates as N{int(weights.norm)} D{int(detector)} of insightface"
    searched = "; 1:N among all galleries as one (insightface), *_by_gallery the mean over galleries (the owners)"
    return (made + (searched if trials.probes is not None else ""),)


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
    with tempfile.TemporaryDirectory(prefix="curate-features-") as scratch:
        features = context.extractor(Path(scratch)).extract(encoder, samples, feature_kind(recipe))
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
