"""Who is it, among a gallery? Closed-set ranks and open-set TPIR at FPIR (IJB's 1:N protocol)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.evaluate.metrics.arrays import Floats


def rank_accuracy(
    similarity: ArrayLike, probe_ids: ArrayLike, gallery_ids: ArrayLike, ranks: tuple[int, ...] = (1, 5)
) -> Floats:
    """Share of probes whose own subject is among the best `rank` gallery entries, float64 [len(ranks)].

    Args:
        similarity: float [P, G].
        probe_ids: [P]; probes of subjects that are not in the gallery are left out.
        gallery_ids: [G], one entry a subject.

    Returns:
        A subject's rank is one more than the number of *other* entries that score at least as much as its own: ties
        count against it. NaN where no probe has a mate.

    Raises:
        ValueError: `similarity` is not [P, G], or a subject occurs twice in the gallery.
    """
    _, own, others = _mates(similarity, probe_ids, gallery_ids)
    mated = ~np.isnan(own)
    if not mated.any():
        return np.full(len(ranks), np.nan)
    place = 1 + (others[mated] >= own[mated, None]).sum(axis=1)
    return np.array([(place <= r).mean() for r in ranks])


def tpir_at_fpir(
    similarity: ArrayLike, probe_ids: ArrayLike, gallery_ids: ArrayLike, fpir: float | ArrayLike
) -> Floats:
    """True positive identification rate at false positive identification rates; shape of `fpir`.

    FPIR(t): share of probes without a mate whose best score is >= t. TPIR(t): share of mated probes whose own entry is
    the single best and scores >= t. The largest TPIR among thresholds (the scores that occur, and infinity) with
    FPIR <= `fpir`. NaN where there are no mated probes or none without a mate.

    Args:
        similarity: float [P, G].
        probe_ids: [P]; a subject that is not in the gallery has no mate.
        gallery_ids: [G], one entry a subject.
        fpir: float of any shape.

    Raises:
        ValueError: `similarity` is not [P, G], or a subject occurs twice in the gallery.
    """
    scores, own, others = _mates(similarity, probe_ids, gallery_ids)
    wanted = np.asarray(fpir, dtype=np.float64)
    mated = ~np.isnan(own)
    if mated.all() or not mated.any():
        return np.full(wanted.shape, np.nan)
    false_best = np.sort(scores[~mated].max(axis=1))
    hit = own[mated] > others[mated].max(axis=1, initial=-np.inf)
    hits = np.sort(own[mated][hit])
    thresholds = np.unique(np.concatenate([false_best, hits, [np.inf]]))
    fp = 1 - np.searchsorted(false_best, thresholds, side="left") / false_best.size
    tp = (hits.size - np.searchsorted(hits, thresholds, side="left")) / mated.sum()
    first = np.array([int(np.argmax(fp <= f)) for f in wanted.ravel()], dtype=np.int64)  # fp falls, tp falls
    return np.asarray(tp[first].reshape(wanted.shape), dtype=np.float64)


def tpir_at_pooled_fpir(
    similarity: ArrayLike, probe_ids: ArrayLike, gallery_ids: ArrayLike, fpir: float | ArrayLike
) -> Floats:
    """TPIR where every wrong entry of every probe is an impostor, as insightface's 1:N evaluation; shape of `fpir`.

    The threshold is the `ceil(P * fpir)`-th highest score of all wrong entries of the P mated probes; TPIR is the share
    of these probes whose own entry scores above it. Probes without a mate are left out. NaN without mated probes, or
    where there are fewer wrong entries than the threshold asks for.

    Args:
        similarity, probe_ids, gallery_ids, fpir: as for `tpir_at_fpir`.

    Raises:
        ValueError: `similarity` is not [P, G], or a subject occurs twice in the gallery.
    """
    _, own, others = _mates(similarity, probe_ids, gallery_ids)
    wanted = np.asarray(fpir, dtype=np.float64)
    mated = ~np.isnan(own)
    wrong = np.sort(others[mated][np.isfinite(others[mated])])[::-1]
    place = np.ceil(mated.sum() * wanted.ravel()).astype(np.int64) - 1
    found = [(own[mated] > wrong[max(at, 0)]).mean() if 0 <= at < wrong.size else np.nan for at in place]
    return np.array(found, dtype=np.float64).reshape(wanted.shape)


def _mates(similarity: ArrayLike, probe_ids: ArrayLike, gallery_ids: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Scores [P, G], each probe's own score [P] (NaN without a mate), and the scores with its own made -inf [P, G]."""
    scores = np.asarray(similarity, dtype=np.float64)
    probes, gallery = np.asarray(probe_ids), np.asarray(gallery_ids)
    if scores.shape != (probes.size, gallery.size):
        raise ValueError(
            f"similarity has shape {scores.shape}, not [{probes.size} probes, {gallery.size} gallery entries]"
        )
    if np.unique(gallery).size != gallery.size:
        raise ValueError("gallery_ids: a subject occurs twice; average its templates first")
    mate: NDArray[np.bool_] = probes[:, None] == gallery[None, :]
    own = np.where(mate.any(axis=1), np.where(mate, scores, -np.inf).max(axis=1, initial=-np.inf), np.nan)
    return scores, own, np.where(mate, -np.inf, scores)
