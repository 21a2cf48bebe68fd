"""Every metric against an independent way to the same number, on random and on degenerate input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import simpson
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from curate.evaluate import metrics as m

TIGHT = {"rel": 1e-9, "abs": 1e-9}
seeds = st.integers(0, 2**32 - 1)


def anova_icc(table: np.ndarray) -> float:
    """ICC(3,1) by the sums of squares of a two-way analysis of variance, written out with loops."""
    n, k = table.shape
    grand = table.mean()
    total = sum((table[i, j] - grand) ** 2 for i in range(n) for j in range(k))
    rows = k * sum((table[i].mean() - grand) ** 2 for i in range(n))
    columns = n * sum((table[:, j].mean() - grand) ** 2 for j in range(k))
    bms, ems = rows / (n - 1), (total - rows - columns) / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems)


@given(seeds, st.integers(2, 40), st.integers(2, 5))
def test_icc_is_the_analysis_of_variance(seed: int, n: int, k: int) -> None:
    table = np.random.default_rng(seed).normal(size=(n, k)) * 3 + np.arange(k)
    assert m.icc_3_1(table) == pytest.approx(anova_icc(table), **TIGHT)


def test_icc_of_shrout_and_fleiss() -> None:
    """Their table 2: six targets, four judges, ICC(3,1) = .71."""
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert m.icc_3_1(table) == pytest.approx(0.7148, abs=5e-5)


@given(seeds, st.integers(2, 60))
def test_agreement_of_random_values(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n)
    p = 0.5 * t + rng.normal(size=n)
    assert m.icc(p, t) == pytest.approx(anova_icc(np.stack([p, t], 1)), **TIGHT)
    assert m.icc(p, t) == pytest.approx(2 * np.cov(p, t)[0, 1] / (p.var(ddof=1) + t.var(ddof=1)), **TIGHT)
    assert m.pcc(p, t) == pytest.approx(
        scipy.stats.pearsonr(p, t)[0] if n > 2 else np.sign((p[1] - p[0]) * (t[1] - t[0])), **TIGHT
    )
    rho = np.corrcoef(p, t)[0, 1]
    lin = 2 * rho * p.std() * t.std() / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert m.ccc(p, t) == pytest.approx(lin, **TIGHT)
    assert m.rmse(p, t) == pytest.approx(math.sqrt(sk.mean_squared_error(t, p)), **TIGHT)
    assert m.mae(p, t) == pytest.approx(sk.mean_absolute_error(t, p), **TIGHT)
    assert m.sagr(p, t) == pytest.approx(
        sum(math.copysign(1, a) == math.copysign(1, b) for a, b in zip(p, t, strict=True)) / n
    )


def test_degenerate_agreement() -> None:
    varies, flat = np.array([0.1, 0.4, -0.3]), np.full(3, 0.1)
    for metric in (m.icc, m.ccc):
        assert metric(flat, varies) == 0
        assert metric(varies, flat) == 0
        assert metric(varies, varies) == pytest.approx(1)
        assert math.isnan(metric(flat, flat))
        assert math.isnan(metric([1.0], [1.0]))
        assert math.isnan(metric([], []))
    assert math.isnan(m.icc(flat, flat + 1))  # a rater's own level does not count
    assert m.ccc(flat, flat + 1) == 0
    assert math.isnan(m.pcc(flat, varies))
    assert m.pcc(varies, -varies) == pytest.approx(-1)
    assert math.isnan(m.rmse([], []))
    assert m.sagr([0, 1, -1, 0], [0, 2, 3, 1]) == 0.5
    assert m.pcc(varies * 1e-200, varies) == pytest.approx(1)


@pytest.mark.parametrize("metric", [m.icc, m.ccc, m.pcc, m.rmse, m.mae, m.sagr])
def test_agreement_refuses_what_is_no_vector(metric: object) -> None:
    for p, t in (([1, 2], [1]), ([1, math.nan], [1, 2]), ([[1]], [[1]])):
        with pytest.raises(ValueError):
            metric(p, t)  # type: ignore[operator]


@given(seeds, st.integers(1, 60), st.integers(1, 7))
def test_classes_as_scikit_learn(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    p, t = rng.integers(0, classes, n), rng.integers(0, classes, n)
    assert m.accuracy(p, t) == pytest.approx(sk.accuracy_score(t, p), **TIGHT)
    assert m.macro_f1(p, t) == pytest.approx(sk.f1_score(t, p, average="macro", zero_division=0), **TIGHT)
    there = np.unique([t, p])
    assert m.confusion(p, t).tolist() == [[int(((t == a) & (p == b)).sum()) for b in there] for a in there]
    recalls = [float((p[t == c] == c).mean()) for c in np.unique(t)]
    assert m.balanced_accuracy(p, t) == pytest.approx(float(np.mean(recalls)), **TIGHT)


def test_degenerate_classes() -> None:
    assert math.isnan(m.accuracy([], [])) and math.isnan(m.macro_f1([], [])) and math.isnan(m.balanced_accuracy([], []))
    assert m.macro_f1(["a", "a"], ["b", "b"]) == 0
    assert m.macro_f1([1, 1], [1, 1]) == 1


def naive_nme(p: np.ndarray, t: np.ndarray, d: np.ndarray) -> float:
    faces = []
    for face in range(len(p)):
        found = [math.dist(a, b) for a, b in zip(p[face], t[face], strict=True) if not np.isnan(b).any()]
        if found:
            faces.append(sum(found) / len(found) / d[face])
    return sum(faces) / len(faces) if faces else math.nan


@given(seeds, st.integers(1, 8), st.sampled_from([5, 19, 29, 68, 98]), st.booleans())
def test_nme_of_random_faces(seed: int, n: int, points: int, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 200, (n, points, 2))
    p = t + rng.normal(size=t.shape) * 4
    if holes:
        t[rng.random((n, points)) < 0.3] = np.nan
    d = rng.uniform(20, 100, n)
    assert m.nme(p, t, d) == pytest.approx(naive_nme(p, t, d), nan_ok=True, **TIGHT)


def test_normalisers_written_out() -> None:
    rng = np.random.default_rng(1)
    t = rng.uniform(0, 200, (4, 68, 2))
    for face, ocular, pupil, box in zip(t, m.inter_ocular(t), m.inter_pupil(t), m.tight_boxes(t), strict=True):
        assert ocular == pytest.approx(math.dist(face[36], face[45]))
        assert pupil == pytest.approx(math.dist(face[36:42].mean(0), face[42:48].mean(0)))
        assert box.tolist() == [face[:, 0].min(), face[:, 1].min(), face[:, 0].max(), face[:, 1].max()]
    assert m.box_size([[10, 10, 14, 19]])[0] == 6
    assert m.diagonal([[10, 10, 13, 14]])[0] == 5
    wflw = rng.uniform(0, 1, (2, 98, 2))
    assert m.inter_ocular(wflw)[1] == pytest.approx(math.dist(wflw[1, 60], wflw[1, 72]))
    with pytest.raises(ValueError, match="17 points"):
        m.inter_ocular(np.zeros((1, 17, 2)))


def test_degenerate_nme() -> None:
    t = np.zeros((1, 3, 2))
    with pytest.raises(ValueError, match="face 0"):
        m.nme(t, t, [0.0])
    with pytest.raises(ValueError):
        m.nme(t, np.zeros((1, 4, 2)), [1.0])
    with pytest.raises(ValueError, match="predicted"):
        m.nme(t + np.nan, t, [1.0])
    assert math.isnan(m.nme(t, t + np.nan, [1.0]))
    assert math.isnan(m.nme(np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), []))


@given(hnp.arrays(float, st.integers(1, 50), elements=st.floats(0, 0.3)), st.sampled_from([0.07, 0.08, 0.1]))
def test_failure_rate_ced_and_area(errors: np.ndarray, at: float) -> None:
    assert m.failure_rate(errors, at) == pytest.approx(sum(e > at for e in errors) / len(errors))
    grid = np.linspace(0, at, 7)
    assert m.ced(errors, grid).tolist() == [sum(e <= x for e in errors) / len(errors) for x in grid]
    steps = np.unique(
        np.concatenate([[0.0], np.sort(errors[errors < at]), [at]])
    )  # integrate the staircase piece by piece
    area = sum((b - a) * (errors <= a).mean() for a, b in itertools.pairwise(steps)) / at
    assert m.auc(errors, at) == pytest.approx(area, **TIGHT)
    sampled = np.linspace(0, at, round(at / 1e-4) + 1)
    usual = simpson([(errors <= x).mean() for x in sampled], x=sampled) / at
    assert m.auc(errors, at, step=1e-4) == pytest.approx(usual, **TIGHT)
    assert m.auc(errors, at, step=1e-4) == pytest.approx(area, abs=2e-4 / at)


def test_degenerate_errors() -> None:
    assert m.auc([0.0, 0.0], 0.08) == 1 and m.auc([0.08], 0.08) == 0 and m.failure_rate([0.08], 0.08) == 0
    assert (
        math.isnan(m.auc([], 0.08)) and math.isnan(m.failure_rate([math.nan], 0.1)) and math.isnan(m.ced([], [0.1])[0])
    )
    with pytest.raises(ValueError):
        m.auc([0.1], 0)


scored = st.tuples(seeds, st.integers(2, 80), st.sampled_from([3, 1000]))


def scores_and_same(seed: int, n: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.5
    same[:2] = [True, False]
    return np.round((rng.random(n) + 0.4 * same) * levels) / levels, same  # few levels: many ties


@given(scored)
def test_roc_as_scikit_learn(case: tuple[int, int, int]) -> None:
    scores, same = scores_and_same(*case)
    curve = m.roc(scores, same)
    far, tar, thresholds = sk.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far, atol=1e-12)
    np.testing.assert_allclose(curve.tar, tar, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert m.roc_auc(scores, same) == pytest.approx(sk.roc_auc_score(same, scores), **TIGHT)
    usual = (
        brentq(lambda x: 1 - x - interp1d(far, tar)(x), 0, 1, xtol=1e-14) if np.unique(far).size == far.size else None
    )
    if usual is not None:
        assert m.eer(scores, same) == pytest.approx(usual, **TIGHT)


@given(scored, st.sampled_from([1e-6, 1e-3, 0.1, 0.25, 0.5, 1.0]))
def test_tar_at_far_by_trying_every_threshold(case: tuple[int, int, int], far: float) -> None:
    scores, same = scores_and_same(*case)
    best = 0.0
    for threshold in [*scores, np.inf]:
        accepted = scores >= threshold
        if accepted[~same].mean() <= far:
            best = max(best, float(accepted[same].mean()))
    assert float(m.tar_at_far(scores, same, far)) == pytest.approx(best, **TIGHT)


@given(scored)
def test_equal_error_rate_lies_between_its_operating_points(case: tuple[int, int, int]) -> None:
    scores, same = scores_and_same(*case)
    curve = m.roc(scores, same)
    rate = m.eer(scores, same)
    before = (1 - curve.tar >= curve.far).nonzero()[0][-1]
    after = (1 - curve.tar <= curve.far).nonzero()[0][0]
    assert curve.far[min(before, after)] - 1e-12 <= rate <= curve.far[max(before, after)] + 1e-12
    share = (
        (rate - curve.far[before]) / (curve.far[after] - curve.far[before])
        if curve.far[after] > curve.far[before]
        else None
    )
    if share is not None:
        assert 1 - (curve.tar[before] + share * (curve.tar[after] - curve.tar[before])) == pytest.approx(rate, **TIGHT)


@given(seeds, st.integers(20, 60), st.sampled_from([4, 1000]))
def test_ten_fold_accuracy_by_trying_every_threshold(seed: int, n: int, levels: int) -> None:
    scores, same = scores_and_same(seed, n, levels)
    folds = np.arange(n) % 10
    accuracies = []
    for fold in range(10):
        others, own = folds != fold, folds == fold
        tried = [(float(((scores[others] >= c) == same[others]).mean()), -c) for c in [*scores[others], np.inf]]
        threshold = -max(tried)[1]
        accuracies.append(float(((scores[own] >= threshold) == same[own]).mean()))
    np.testing.assert_allclose(m.fold_accuracies(scores, same, folds), accuracies, atol=1e-12)
    wrong = m.fold_errors(scores, same, folds)
    np.testing.assert_allclose([1 - wrong[folds == k].mean() for k in np.unique(folds)], accuracies, atol=1e-12)
    assert m.ten_fold_accuracy(scores, same, folds) == pytest.approx(float(np.mean(accuracies)), **TIGHT)


def test_degenerate_verification() -> None:
    assert m.eer([1, 0], [1, 0]) == 0 and m.eer([0, 1], [1, 0]) == 1 and m.eer([1, 1], [1, 0]) == 0.5
    for same in ([1, 1], [0, 0]):
        assert math.isnan(m.eer([0, 1], same)) and math.isnan(m.roc_auc([0, 1], same))
        assert math.isnan(float(m.tar_at_far([0, 1], same, 0.1)))
    assert math.isnan(m.eer([], []))
    assert m.tar_at_far([0.9, 0.8], [1, 0], [1e-6, 1]).tolist() == [1, 1]
    for scores, same in (([1, math.nan], [1, 0]), ([1], [1, 0]), ([1, 2], [1, 7])):
        with pytest.raises(ValueError):
            m.roc(scores, same)
    with pytest.raises(ValueError, match="two"):
        m.ten_fold_accuracy([1, 0], [1, 0], [1, 1])


@given(seeds, st.integers(2, 12), st.integers(1, 8), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_identification_by_loops(seed: int, probes: int, gallery: int, fpir: float) -> None:
    rng = np.random.default_rng(seed)
    similarity = np.round(rng.random((probes, gallery)), 1)
    ids, gallery_ids = rng.integers(0, gallery * 2, probes), np.arange(gallery)
    mated = [i for i in range(probes) if ids[i] < gallery]
    stranger = [i for i in range(probes) if ids[i] >= gallery]
    rank = [1 + sum(similarity[i, j] >= similarity[i, ids[i]] for j in range(gallery) if j != ids[i]) for i in mated]
    expected = [np.mean([r <= k for r in rank]) if mated else math.nan for k in (1, 5)]
    np.testing.assert_allclose(m.rank_accuracy(similarity, ids, gallery_ids), expected)
    best = math.nan
    if mated and stranger:
        best = 0.0
        for t in [*similarity.ravel(), np.inf]:
            if np.mean([similarity[i].max() >= t for i in stranger]) <= fpir:
                found = [r == 1 and similarity[i, ids[i]] >= t for i, r in zip(mated, rank, strict=True)]
                best = max(best, float(np.mean(found)))
    assert float(m.tpir_at_fpir(similarity, ids, gallery_ids, fpir)) == pytest.approx(best, nan_ok=True, **TIGHT)


@given(seeds, st.integers(1, 6), st.sampled_from([2, 3]))
@settings(max_examples=30)
def test_shape_error_by_loops(seed: int, n: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 200, (n, 68, dims))
    p = t + rng.normal(size=t.shape)
    if dims == 3:
        p[..., 2] += 500  # the distance to the camera is free
    errors = []
    for a, b in zip(p, t, strict=True):
        a, b = a.copy(), b.copy()
        if dims == 3:
            a[:, 2] -= a[:, 2].mean()
            b[:, 2] -= b[:, 2].mean()
        width, height = np.ptp(b[:, 0]), np.ptp(b[:, 1])
        errors.append(np.mean([math.dist(x, y) for x, y in zip(a, b, strict=True)]) / math.sqrt(width * height))
    np.testing.assert_allclose(m.shape_nme_each(p, t), errors, rtol=1e-9)
    assert m.shape_nme(p, t) == pytest.approx(float(np.mean(errors)), **TIGHT)


def test_yaw_bins() -> None:
    means, balanced = m.by_yaw([1.0, 3.0, 5.0, 7.0, 9.0], [0, -30, 30.1, 60.1, -95])
    assert means.tolist() == [2, 5, 8] and balanced == 5
    means, balanced = m.by_yaw([2.0], [0])
    assert means[0] == 2 and np.isnan(means[1:]).all() and balanced == 2


@given(st.integers(0, 500), st.sampled_from([0.05, 0.07, 0.08, 0.1]))
@settings(max_examples=30)
def test_area_on_the_grid_of_published_scorers(seed: int, threshold: float) -> None:
    """As FaRL's and STAR's scorers are written, whose grid may go one step beyond the threshold."""
    errors = np.random.default_rng(seed).gamma(2, 0.02, 60)
    grid = np.arange(0, threshold + 1e-4, 1e-4)
    shares = np.array([np.count_nonzero(errors <= x) for x in grid]) / len(errors)
    expected = simpson(shares, x=grid) / threshold
    assert m.auc(errors, threshold, 1e-4, overshoot=True) == pytest.approx(expected, abs=1e-12)
    assert m.auc(errors, threshold) == pytest.approx(expected, abs=2.5e-4 / threshold)


def test_published_grids_overshoot_at_5_and_7_percent() -> None:
    beyond = {t for t in (0.05, 0.07, 0.08, 0.1) if np.arange(0, t + 1e-4, 1e-4)[-1] > t + 5e-5}
    perfect = {t: m.auc(np.zeros(3), t, 1e-4, overshoot=True) for t in (0.05, 0.07, 0.08, 0.1)}
    assert {t for t, area in perfect.items() if area > 1 + 1e-6} == beyond and beyond


@given(st.integers(0, 200))
@settings(max_examples=15)
def test_icp_error_as_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 30, (40, 3))
    turn = Rotation.from_rotvec(rng.normal(0, 0.05, 3))
    points = turn.apply(truth + rng.normal(0, 1, truth.shape)) + rng.normal(0, 5, 3)
    moved = points + truth.mean(0) - points.mean(0)
    previous = None
    for _ in range(50):
        nearest = np.linalg.norm(moved[:, None] - truth[None], axis=2).argmin(1)
        if previous is not None and (nearest == previous).all():
            break
        goal = truth[nearest]
        fit, _ = Rotation.align_vectors(goal - goal.mean(0), points - points.mean(0))
        moved, previous = fit.apply(points - points.mean(0)) + goal.mean(0), nearest
    expected = np.linalg.norm(moved[:, None] - truth[None], axis=2).min(1).mean() / 60
    assert m.icp_error(points, truth, 60.0) == pytest.approx(expected, rel=1e-9)


def test_icp_error_does_not_see_pose_but_sees_size() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 30, (60, 3))
    turned = Rotation.from_rotvec([0.02, -0.03, 0.01]).apply(truth) + np.array([3, -2, 500])
    assert m.icp_error(turned, truth, 1.0) < 1e-9 and m.icp_error(1.2 * truth, truth, 1.0) > 1


@given(st.integers(0, 500), st.sampled_from([0.01, 0.1, 0.5]))
@settings(max_examples=30)
def test_pooled_fpir_as_insightface(seed: int, fpir: float) -> None:
    rng = np.random.default_rng(seed)
    gallery, probes = rng.permutation(30)[:8], None
    probes = rng.choice(gallery, 12)
    similarity = rng.normal(size=(12, 8)) + (probes[:, None] == gallery[None]) * 1.5
    own = np.array([similarity[i, np.flatnonzero(gallery == p)[0]] for i, p in enumerate(probes)])
    wrong = sorted((similarity[i, j] for i in range(12) for j in range(8) if gallery[j] != probes[i]), reverse=True)
    expected = sum(score > wrong[math.ceil(12 * fpir) - 1] for score in own) / 12
    assert m.tpir_at_pooled_fpir(similarity, probes, gallery, fpir) == pytest.approx(expected)
    strangers = np.append(probes, 99)
    more = np.concatenate([similarity, np.full((1, 8), 9.0)])
    assert m.tpir_at_pooled_fpir(more, strangers, gallery, fpir) == pytest.approx(expected)


@given(st.integers(0, 300))
@settings(max_examples=20)
def test_f1_and_squared_error_as_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, t = rng.random(30) < 0.3, rng.random(30) < 0.3
    if (p | t).any():
        assert m.f1(p, t) == pytest.approx(sk.f1_score(t, p, zero_division=0), abs=1e-12)
    a, b = rng.normal(size=(2, 20))
    assert m.mse(a, b) == pytest.approx(sk.mean_squared_error(b, a), abs=1e-12)
    assert np.isnan(m.f1(np.zeros(3), np.zeros(3)))


def test_yaw_bins_of_the_paper_end_at_90() -> None:
    errors, yaw = np.array([1.0, 2, 3, 9]), np.array([-10.0, 45, 80, 120])
    assert m.by_yaw(errors, yaw)[0].tolist() == [1, 2, 6]
    assert m.by_yaw(errors, yaw, beyond=False)[0].tolist() == [1, 2, 3]
