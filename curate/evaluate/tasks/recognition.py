"""Recognition: is it the same person? Pairs in folds, and templates of many pictures.

knn       cosine of features as they are
linear    features whitened first: by the covariance within people where there are people to learn from, else, fold by
          fold, by that of the pictures in the other folds (nobody's identity is used)
finetune  a backbone trained with CosFace; then the cosine of its features
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.evaluate.features import Features
from curate.evaluate.probes import Whitening
from curate.evaluate.samples import PairTrials, TemplateTrials
from curate.stages.backend import unit

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (1e-1, 1e-2)
Single = NDArray[np.float32]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Embed = Callable[[Single], Single]
"""Features [n, D] -> unit vectors [n, E]."""


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
            previous = (embed, rows, embed(features.vectors.take(rows)))
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


def template_vectors(features: Features, templates: TemplateTrials, embed: Embed) -> tuple[Indices, Single]:
    """Template ids, rising, and their unit vectors: pictures averaged by medium, media by template.

    Damaged pictures are left out; a template without any sound one has a zero vector.
    """
    ids, of_template = np.unique(templates.template, return_inverse=True)
    _, of_medium, first = _media(templates)
    sound = np.flatnonzero(features.sound[templates.sample])
    sums: NDArray[np.float64] | None = None
    counts = np.zeros(len(first))
    for start in range(0, len(sound), 4096):
        part = sound[start : start + 4096]
        vectors = embed(features.vectors.take(templates.sample[part]))
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


def template_scores(features: Features, templates: TemplateTrials, embed: Embed) -> tuple[Floats, Indices, Single]:
    """The cosine of every pair of templates float64 [M], the template ids and their vectors."""
    ids, vectors = template_vectors(features, templates, embed)
    a, b = np.searchsorted(ids, templates.first), np.searchsorted(ids, templates.second)
    scores = np.empty(len(a))
    for start in range(0, len(a), 65536):
        where = slice(start, start + 65536)
        scores[where] = np.einsum("nd,nd->n", vectors[a[where]], vectors[b[where]])
    return scores, ids, vectors


def score_templates(scores: Floats, ids: Indices, vectors: Single, templates: TemplateTrials) -> dict[str, float]:
    """1:1 as for pairs; 1:N: rank 1 and 5, and TPIR at FPIR, each the mean over galleries.

    Args:
        scores, ids, vectors: of `template_scores`.
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
    result |= {f"rank{k}": float(v) for k, v in zip((1, 5), np.mean(ranks, axis=0), strict=True)}
    # strangers to one gallery are mates of another, so each gallery has its own
    return result | {f"tpir@fpir={f:.0e}": float(v) for f, v in zip(FPIRS, np.mean(rates, axis=0), strict=True)}


def embed_with(whitening: Whitening | None) -> Embed:
    """Features to unit vectors, whitened first where there is a whitening."""
    return unit if whitening is None else whitening
