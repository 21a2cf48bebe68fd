"""Probes against scikit-learn and plain algebra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors

from curate.evaluate import probes
from curate.evaluate.features import FeatureTable

ALL = slice(None)


def fit_on(
    table: FeatureTable,
    rows: np.ndarray,
    targets: np.ndarray,
    parts: probes.Parts,
    strengths: Sequence[float],
    final: np.ndarray | None = None,
) -> probes.ProbeData:
    final = np.arange(len(rows)) if final is None else final
    return probes.ProbeData(table, rows, targets.astype(np.float64).reshape(len(rows), -1), parts, final, strengths)


def data(seed: int, n: int, d: int, k: int = 3) -> tuple[FeatureTable, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32) * rng.uniform(0.5, 3, d).astype(np.float32) + 5
    y = x @ rng.normal(size=(d, k)) / d + 0.1 * rng.normal(size=(n, k)) + 2
    return FeatureTable([x[: n // 3], x[n // 3 :]]), x, y


@given(st.integers(0, 1000), st.sampled_from([(12, 30), (60, 8), (20, 20)]), st.sampled_from([0.01, 1.0]))
@settings(max_examples=25)
def test_ridge_as_scikit_learn(seed: int, shape: tuple[int, int], strength: float) -> None:
    table, x, y = data(seed, *shape)
    rows = np.arange(len(x))
    probe = probes.ridge(fit_on(table, rows, y, [], [strength]))
    z = (x.astype(np.float64) - x.mean(0)) / x.std(0) / np.sqrt(x.shape[1])
    reference = Ridge(alpha=strength * len(x) / 100).fit(z, y)
    np.testing.assert_allclose(probe(table, rows), reference.predict(z), atol=2e-3)


def test_both_ways_of_solving_agree() -> None:
    table, x, y = data(0, 40, 15)
    rows = np.arange(len(x))
    scale = probes.scaler(table, rows)
    centred = fit_on(table, rows, y - y.mean(0), [], [0.1])
    np.testing.assert_allclose(probes._dual(centred, scale), probes._primal(centred, scale), atol=1e-3)


def test_strength_is_chosen_on_validation_samples() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 50)).astype(np.float32)
    y = rng.normal(size=(60, 1))  # nothing to learn: the strongest penalty is best
    parts = [(np.arange(30), np.arange(30, 60))]
    strengths = (1e-4, 1.0, 1e6)
    rows = np.arange(60)
    weak, strong = (
        probes.ridge(fit_on(FeatureTable([x]), rows, y, p, strengths)).weight for p in ([(rows, rows)], parts)
    )
    assert np.abs(strong).max() < 1e-3 < np.abs(weak).max()


def test_samples_that_only_validate_do_not_train() -> None:
    table, _, y = data(2, 30, 5)
    final, rows = np.arange(20), np.arange(30)
    changed = y.copy()
    changed[20:] += 100
    one = probes.ridge(fit_on(table, rows, y, [], [1.0], final))
    other = probes.ridge(fit_on(table, rows, changed, [], [1.0], final))
    np.testing.assert_allclose(one(table, rows), other(table, rows))
    labels = (y[:, 0] > np.median(y[:, 0])).astype(np.int64)
    a = probes.logistic(fit_on(table, rows, labels, [], [1.0], final), 2)
    b = probes.logistic(fit_on(table, rows, np.where(rows < 20, labels, 1 - labels), [], [1.0], final), 2)
    np.testing.assert_allclose(a(table, rows), b(table, rows))


def test_unknown_targets_are_left_out_column_by_column() -> None:
    table, x, y = data(3, 40, 6)
    holes = y.copy()
    holes[::3, 0] = np.nan
    holes[:, 2] = np.nan
    rows = np.arange(40)
    probe = probes.ridge(fit_on(table, rows, holes, [], [0.1]))
    there = np.flatnonzero(~np.isnan(holes[:, 0]))
    z = (x.astype(np.float64) - x.mean(0)) / x.std(0) / np.sqrt(6)
    reference = Ridge(alpha=0.1 * len(there) / 100).fit(z[there], y[there, 0])
    np.testing.assert_allclose(probe(table, rows)[:, 0], reference.predict(z), atol=2e-2)
    assert np.isfinite(probe(table, rows)).all()


@given(st.integers(0, 100), st.sampled_from([2, 4]))
@settings(max_examples=8)
def test_logistic_as_scikit_learn(seed: int, classes: int) -> None:
    table, x, y = data(seed, 60, 6)
    labels = np.digitize(y[:, 0], np.quantile(y[:, 0], np.linspace(0, 1, classes + 1)[1:-1])).astype(np.int64)
    probe = probes.logistic(fit_on(table, np.arange(60), labels, [], [1.0]), classes)
    z = (x.astype(np.float64) - x.mean(0)) / x.std(0) / np.sqrt(6)
    reference = LogisticRegression(C=1 / (0.01 * 60), max_iter=5000, tol=1e-8)
    reference.fit(z, labels)
    logits = probe(table, np.arange(60))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    if classes > 2:
        np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), reference.predict_proba(z), atol=5e-3)
    else:  # two rows of weights instead of one halve the penalty
        assert (logits.argmax(1) == reference.predict(z)).mean() > 0.9


def test_one_class_and_one_sample_are_possible() -> None:
    table, _, y = data(5, 10, 4)
    one = np.array([3])
    assert (
        probes.logistic(fit_on(table, one, np.array([1]), [], [1.0]), 3)(table, np.arange(10)).argmax(1).tolist()
        == [1] * 10
    )
    np.testing.assert_allclose(
        probes.ridge(fit_on(table, one, y[3:4], [], [1.0]))(table, np.arange(10)), np.tile(y[3], (10, 1))
    )


def test_constant_features_do_no_harm() -> None:
    x = np.ones((10, 4), np.float32)
    x[:, 0] = np.arange(10)
    table, rows = FeatureTable([x]), np.arange(10)
    assert np.isfinite(probes.ridge(fit_on(table, rows, np.arange(10.0)[:, None], [], [1e-4]))(table, rows)).all()
    assert np.isfinite(probes.neighbours(table, rows, np.ones((10, 1)), rows, 3, 0.07)).all()


def test_neighbours_as_scikit_learn() -> None:
    table, x, y = data(6, 50, 8)
    train, test = np.arange(40), np.arange(40, 50)
    centred = x - x[train].mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    distance, index = NearestNeighbors(n_neighbors=5, metric="cosine").fit(unit[train]).kneighbors(unit[test])
    weight = np.exp((1 - distance) / 0.07)
    expected = (weight[..., None] * y[index]).sum(1) / weight.sum(1, keepdims=True)
    np.testing.assert_allclose(probes.neighbours(table, train, y[train], test, 5, 0.07), expected, rtol=1e-4)


def test_neighbours_skip_unknown_targets() -> None:
    table, _, y = data(7, 12, 4)
    holes = y.copy()
    holes[:, 1] = np.nan
    holes[0, 0] = np.nan
    rows = np.arange(12)
    found = probes.neighbours(table, rows, holes, rows, 1, 0.07)
    np.testing.assert_allclose(found[1:, 0], y[1:, 0], rtol=1e-6)
    assert found[0, 0] == pytest.approx(np.nanmean(holes[:, 0])) and (found[:, 1] == 0).all()


def test_whitening_makes_the_covariance_round() -> None:
    table, x, _ = data(8, 400, 5)
    rows = np.arange(400)
    found = probes.whitening(table, rows, None, 1e-6)
    np.testing.assert_allclose(np.cov(((x - found.mean) @ found.matrix).T, bias=True), np.eye(5), atol=1e-2)
    people = np.arange(400) % 7
    within = probes.whitening(table, rows, people, 1e-6)
    z = (x - within.mean) @ within.matrix
    z = z - np.stack([z[people == p].mean(0) for p in people])
    np.testing.assert_allclose(z.T @ z / 400, np.eye(5), atol=1e-2)


def test_maps_are_cut_to_leading_channels() -> None:
    rng = np.random.default_rng(9)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    maps = (rng.normal(size=(30, 4, 2)) @ basis).astype(np.float32).reshape(30, 24)
    short = probes.reduce_maps(FeatureTable([maps]), np.arange(20), cells=4, width=8)
    assert short.shape == (30, 8)
    gram = lambda m: m @ m.T  # noqa: E731
    moved = maps.reshape(30, 4, 6) - maps[:20].reshape(-1, 6).mean(0)
    np.testing.assert_allclose(gram(short.take(np.arange(30))), gram(moved.reshape(30, 24)), atol=1e-3)
    assert probes.reduce_maps(FeatureTable([maps]), np.arange(20), 4, 24).shape == (30, 24)


def test_balanced_logistic_as_scikit_learn() -> None:
    table, x, y = data(7, 80, 5)
    labels = np.digitize(y[:, 0], np.quantile(y[:, 0], [0.1, 0.3])).astype(np.int64)
    weights = len(labels) / (3 * np.bincount(labels))
    probe = probes.logistic(fit_on(table, np.arange(80), labels, [], [1.0]), 3, weights)
    z = (x.astype(np.float64) - x.mean(0)) / x.std(0) / np.sqrt(5)
    reference = LogisticRegression(C=1 / (0.01 * 80), max_iter=5000, tol=1e-8, class_weight="balanced").fit(z, labels)
    logits = probe(table, np.arange(80))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), reference.predict_proba(z), atol=5e-3)
