"""Uncertainty of metrics that are no mean over samples: against derivatives, the bootstrap and known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.study.statistics import clustered

Floats = NDArray[np.float64]
SEED = st.integers(0, 2**32 - 1)


def affect(rng: np.random.Generator, people: int, each: int = 6) -> tuple[Floats, Floats, NDArray[np.str_]]:
    """Predictions and targets of people whose pictures are alike, and who each picture shows [N, 1]."""
    person = np.repeat(np.arange(people), each)
    target = rng.normal(size=people)[person] + 0.5 * rng.normal(size=len(person))
    predicted = 0.7 * target + 0.3 + 0.5 * rng.normal(size=people)[person] + 0.4 * rng.normal(size=len(person))
    return predicted, target, person[:, None].astype(str)


def there(rng: np.random.Generator, people: int) -> tuple[Floats, Floats, NDArray[np.str_]]:
    predicted, target, groups = affect(rng, people)
    return 1.0 * (predicted > 0.5), 1.0 * (target > 0.8), groups


def classes(rng: np.random.Generator, people: int) -> tuple[Floats, Floats, NDArray[np.str_]]:
    predicted, target, groups = affect(rng, people)
    return np.clip(np.round(predicted), -1, 1), np.clip(np.round(target), -1, 1), groups


CASES = [
    pytest.param(metrics.ccc, metrics.ccc_each, affect, id="ccc"),
    pytest.param(metrics.icc, metrics.icc_each, affect, id="icc"),
    pytest.param(metrics.f1, metrics.f1_each, there, id="f1"),
    pytest.param(metrics.macro_f1, metrics.macro_f1_each, classes, id="macro f1"),
]
Metric = Callable[[Floats, Floats], float]
Each = Callable[[Floats, Floats], Floats]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats, NDArray[np.str_]]]


@pytest.mark.parametrize(("metric", "each", "draw"), CASES)
@given(seed=SEED)
@settings(max_examples=15)
def test_its_mean_is_the_metric_and_it_is_the_derivative(metric: Metric, each: Each, draw: Draw, seed: int) -> None:
    """A sample that is there k times more moves the metric as its number says, to first order."""
    predicted, target, _ = draw(np.random.default_rng(seed), 40)
    found = each(predicted, target)
    assert found.mean() == pytest.approx(metric(predicted, target), abs=1e-12)
    many = 200  # every sample 200 times, one of them 201 times
    often = np.full(len(target), many)
    often[7] += 1
    moved = metric(np.repeat(predicted, often), np.repeat(target, often)) - metric(predicted, target)
    assert moved * often.sum() == pytest.approx(found[7] - found.mean(), rel=0.02, abs=0.02)


@pytest.mark.parametrize(("metric", "each", "draw"), CASES)
def test_its_standard_error_is_that_of_a_bootstrap_of_whole_people(metric: Metric, each: Each, draw: Draw) -> None:
    rng = np.random.default_rng(0)
    predicted, target, groups = draw(rng, 60)
    found = clustered(each(predicted, target), groups)
    drawn = []
    for _ in range(800):
        rows = (6 * rng.integers(0, 60, 60)[:, None] + np.arange(6)).ravel()
        drawn.append(metric(predicted[rows], target[rows]))
    assert found is not None and found.error == pytest.approx(np.std(drawn), rel=0.12)


@pytest.mark.parametrize(("metric", "each", "draw"), CASES)
def test_intervals_hold_the_truth_as_often_as_they_say(metric: Metric, each: Each, draw: Draw) -> None:
    """Of the difference of two backbones on the same 40 people, 95 %; two deviations of 250 draws are 2.8 points."""
    truth, hits, draws = np.zeros(2), 0, 250
    rng = np.random.default_rng(1)
    predicted, target, _ = draw(rng, 40_000)
    truth[0] = metric(predicted, target)
    truth[1] = metric(np.where(np.arange(len(target)) % 3 > 0, predicted, predicted[::-1]), target)
    for _ in range(draws):
        predicted, target, groups = draw(rng, 40)
        strangers = draw(rng, 40)[0]
        other = np.where(np.arange(len(target)) % 3 > 0, predicted, strangers)
        found = each(predicted, target) - each(other, target)
        spread = clustered(found, groups)
        assert spread is not None
        hits += abs(found.mean() - (truth[0] - truth[1])) <= 2.02 * spread.error
    assert hits / draws >= 0.91


def verification(rng: np.random.Generator, people: int) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Scores of all pairs of three templates a person, whose people differ in how alike they are to all and to
    themselves."""
    person = np.repeat(np.arange(people), 3)
    first, second = np.triu_indices(len(person), 1)
    same = person[first] == person[second]
    sheep, lamb = 0.5 * rng.normal(size=people), 0.5 * rng.normal(size=people)
    alike = np.where(same, 3 + sheep[person[first]], lamb[person[first]] + lamb[person[second]])
    return alike + rng.normal(size=len(same)), same, np.stack([person[first], person[second]], 1)


def test_tar_at_a_far_is_covered_over_people() -> None:
    """Never too narrow: impostors are counted with both of their people."""
    rng = np.random.default_rng(2)
    far, hits, draws = 1e-2, 0, 150
    truth = np.mean([metrics.tar_at_far(*verification(rng, 400)[:2], far) for _ in range(3)])
    errors, rates = [], []
    for _ in range(draws):
        scores, same, people = verification(rng, 60)
        found = metrics.tar_each(scores, same, people, far)
        assert len(found) == 60 and found.mean() == pytest.approx(float(metrics.tar_at_far(scores, same, far)))
        spread = clustered(found, np.arange(60)[:, None].astype(str))
        assert spread is not None
        errors.append(spread.error)
        rates.append(found.mean())
        hits += abs(found.mean() - truth) <= 2.0 * spread.error
    assert hits / draws >= 0.91 and np.median(errors) == pytest.approx(np.std(rates), rel=0.15)


def test_what_is_undefined_stays_so() -> None:
    constant = np.ones(4)
    assert np.isnan(metrics.ccc_each(constant, constant)).all() and np.isnan(metrics.icc_each(constant, constant)).all()
    assert np.isnan(metrics.f1_each(0 * constant, 0 * constant)).all()
    assert metrics.macro_f1_each([], []).size == metrics.ccc_each([], []).size == 0
    nobody = metrics.tar_each(constant, constant == 0, np.array([["a", "b"]] * 4), 0.1)
    assert len(nobody) == 2 and np.isnan(nobody).all()
    perfect = metrics.ccc_each([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert perfect == pytest.approx(np.ones(3))
