"""Trials of recognition: scores of pairs of pictures and of templates, and the metrics of both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from curate.evaluate import metrics
from curate.evaluate.config import TemplateWeights
from curate.evaluate.features import Features
from curate.evaluate.samples import Dataset, PairTrials, TemplateTrials
from curate.evaluate.tasks.task import Floats, Indices
from curate.stages.backend import unit

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
KEPT_FARS = (1e-4,)
"""Of templates: where people's influences on TAR are kept, for comparisons: what the literature compares."""
FPIRS = (1e-1, 1e-2)
Single = NDArray[np.float32]
Embed = Callable[[Single], Single]
"""Features [n, D] -> vectors [n, E] that are compared by their cosine."""


def as_they_are(vectors: Single) -> Single:
    """Features that are compared as the backbone gives them."""
    return vectors


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
    return result | open_rates(s, same)


def pair_errors(scores: Floats, pairs: PairTrials) -> Floats | None:
    """0 or 1 for each sound pair, weighted so that the mean is 1 - the mean accuracy of folds; None in one fold."""
    sound = ~np.isnan(scores)
    names, fold = np.unique(pairs.fold[sound], return_inverse=True)
    if names.size < 2:
        return None
    wrong = metrics.fold_errors(scores[sound], pairs.same[sound], fold)
    return np.asarray(wrong * (fold.size / (names.size * np.bincount(fold)))[fold])


def people_of_pairs(pairs: PairTrials, dataset: Dataset) -> NDArray[np.str_]:
    """Whom each pair shows, str [M, 2]: pictures that pairs of one person join are one person."""
    person = _joined(len(dataset.samples), pairs.first[pairs.same], pairs.second[pairs.same])
    _, picture = np.unique(person, return_index=True)
    names = np.array([dataset.samples[i].id for i in picture])
    return np.asarray(names[person[np.stack([pairs.first, pairs.second], axis=1)]])


def people_of_templates(ids: Indices, templates: TemplateTrials) -> Indices:
    """Whom each pair of templates shows, int64 [M, 2]: templates that pairs of one person join are one person, by the
    first id among them.

    Args:
        ids: of all templates, rising.
    """
    first, second = np.searchsorted(ids, templates.first), np.searchsorted(ids, templates.second)
    person = _joined(len(ids), first[templates.same], second[templates.same])
    _, place = np.unique(person, return_index=True)
    return np.asarray(ids[place][person[np.stack([first, second], axis=1)]])


def _joined(count: int, first: Indices, second: Indices) -> Indices:
    """Which of `count` things links join, int64 [count]: numbers of their groups."""
    links = coo_array((np.ones(len(first)), (first, second)), (count, count))
    return np.asarray(connected_components(links, directed=False)[1].astype(np.int64))


def open_rates(scores: Floats, same: NDArray[np.bool_]) -> dict[str, float]:
    """EER, area under the ROC, and TAR at every FAR that the impostor pairs can resolve."""
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
    result = open_rates(scores, templates.same) if len(scores) else {}
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
