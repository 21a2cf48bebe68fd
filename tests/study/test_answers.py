"""The uncertainty over test pictures: against the bootstrap, McNemar's test and sums written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.evaluate import Result, curves
from curate.study import answers
from curate.study.answers import Answers, over_pictures
from curate.study.arms import Question
from curate.study.results import COLUMNS, Line
from curate.study.statistics import Spread, clustered, clustered_covariance, together

SEED = st.integers(0, 2**32 - 1)
QUESTION = Question("t", "emotion", "afew_va", "test", "ccc_valence", "linear", 1.0, None)


def own(count: int) -> np.ndarray:
    return np.array([[str(i)] for i in range(count)])


def answered(errors: np.ndarray, groups: np.ndarray | None = None) -> Answers:
    return Answers(
        errors, np.array([f"p{i}" for i in range(len(errors))]), own(len(errors)) if groups is None else groups
    )


@given(SEED)
@settings(max_examples=20)
def test_of_independent_pictures_it_is_the_standard_error_of_the_paired_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.gamma(2, size=(2, 30))
    found = over_pictures({0: answered(first)}, {0: answered(second)}, 1.05)
    assert found is not None and found.df == 29
    assert found.error == pytest.approx(stats.sem(first - 1.05 * second))


def test_it_is_that_of_a_bootstrap_of_whole_people() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    values = rng.normal(size=40)[person] + 0.3 * rng.normal(size=len(person))
    found = clustered(values, person[:, None].astype(str))
    drawn = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(person == one) for one in rng.integers(0, 40, 40)])
        drawn.append(values[rows].mean())
    assert found is not None and found.error == pytest.approx(np.std(drawn), rel=0.1)
    assert found.error > 1.5 * stats.sem(values)  # pictures of one person are fewer than they look


@given(st.lists(st.booleans(), min_size=30, max_size=60), SEED)
@settings(max_examples=20)
def test_of_right_and_wrong_it_is_mcnemars(first: list[bool], seed: int) -> None:
    """z of McNemar's test, (b - c) / sqrt(b + c - (b - c)^2 / n): the Wald form."""
    one = np.array(first, dtype=float)
    two = np.random.default_rng(seed).permutation(one)
    b, c, n = int(((one == 1) & (two == 0)).sum()), int(((one == 0) & (two == 1)).sum()), len(one)
    found = over_pictures({0: answered(one)}, {0: answered(two)})
    assert found is not None
    assert found.error * np.sqrt((n - 1) / n) == pytest.approx(np.sqrt(b + c - (b - c) ** 2 / n) / n)


def test_pairs_depend_on_each_other_where_they_share_a_person() -> None:
    """Against the double sum over all pairs of pairs."""
    rng = np.random.default_rng(1)
    person = rng.integers(0, 12, (60, 2))
    effect = rng.normal(size=12)
    values = effect[person].sum(axis=1) + 0.1 * rng.normal(size=60)
    left = values - values.mean()
    shares = (person[:, None, :, None] == person[None, :, None, :]).any(axis=(2, 3))
    seen = len(np.unique(person))
    wanted = np.sqrt((left[:, None] * left[None] * shares).sum() * seen / (seen - 1)) / 60
    found = clustered(values, person.astype(str))
    assert found == Spread(pytest.approx(wanted), seen - 1)
    covariance = clustered_covariance(np.stack([values, 2 * values]), person.astype(str))
    assert covariance[0, 0] >= found.error**2 * 0.999 and covariance[1, 1] == pytest.approx(4 * covariance[0, 0])
    single = clustered_covariance(values[None], own(60))
    assert single[0, 0] == pytest.approx(stats.sem(values) ** 2)


def test_only_the_same_pictures_are_paired() -> None:
    some = answered(np.arange(4.0))
    other = Answers(some.errors, some.ids[::-1], some.groups)
    assert over_pictures({0: some}, {0: other}) is None and over_pictures({0: some}, {1: some}) is None
    assert over_pictures({}, {}) is None and clustered(np.ones(3), np.array([["a"]] * 3)) is None


def test_both_uncertainties_add_up() -> None:
    seeds, pictures = Spread(3.0, 10.0), Spread(4.0, 100.0)
    assert together(seeds, None) == seeds == together(seeds, Spread(0.0, 9.0))
    both = together(seeds, pictures)
    assert both.error == pytest.approx(5.0) and both.df == pytest.approx(625 / (81 / 10 + 256 / 100))


def test_answers_are_kept_and_found_again(tmp_path: Path) -> None:
    """The target whose mean is the metric; none where the metric is no mean."""
    about = Result("b", "swav", None, "landmarks", "pts", "test", "nme", 0.25, 1.0, "linear", 0, 9, 4, 1.0)
    for place, errors in enumerate(([0.1, 0.4], [0.5, 0.5])):
        groups, ids = np.array([["a"], ["b"]]), np.array(["x", "y"])
        curves.save(tmp_path / "c", about, place, errors=np.array(errors), ids=ids, groups=groups)
    curves.save(tmp_path / "c", about, 2, scores=np.ones(3), same=np.ones(3, dtype=bool))
    answers.keep(tmp_path / "c", tmp_path / answers.NAME / "k")
    assert len(list((tmp_path / answers.NAME / "k").iterdir())) == 2
    look = answers.of_study(tmp_path)
    line = Line(about, dict.fromkeys(COLUMNS) | {"cell": "k"})
    question = Question("t", "landmarks", "pts", "test", "nme", "linear", 1.0, None)
    found = look(line, question)
    assert found is not None and found.errors.tolist() == [0.1, 0.4]
    assert look(Line(about, line.columns | {"cell": "gone"}), question) is None
    ccc = Question("t", "landmarks", "pts", "test", "ccc_valence", "linear", 1.0, None)
    assert look(line, ccc) is None


def test_influences_on_a_metric_that_is_no_mean_are_kept_and_found(tmp_path: Path) -> None:
    """Of pictures beside their errors, of templates alone; as errors, since CCC and TAR are better higher."""
    about = Result("b", "swav", None, "emotion", "afew_va", "test", "ccc_valence", 0.6, 1.0, "linear", 0, 9, 2, 1.0)
    groups, ids, each = np.array([["a"], ["b"]]), np.array(["x", "y"]), np.array([0.5, 0.7])
    undefined = np.full(2, np.nan)
    numbers = curves.named({"ccc_valence": each, "ccc_arousal": undefined})
    curves.save(tmp_path / "c", about, errors=np.array([0.1, 0.2]), ids=ids, groups=groups, **numbers)
    verified = replace(about, task="recognition", dataset="ijbc", metric="tar@far=1e-04")
    curves.save(tmp_path / "c", verified, groups=groups, scores=np.ones(3), **curves.named({verified.metric: each}))
    answers.keep(tmp_path / "c", tmp_path / answers.NAME / "k")
    earlier = tmp_path / answers.NAME / "earlier"  # when names were kept
    curves.save(earlier, about, ids=ids, groups=groups, **numbers)
    look = answers.of_study(tmp_path)
    for cell in ("k", "earlier"):
        own = look(Line(about, dict.fromkeys(COLUMNS) | {"cell": cell}), QUESTION)
        assert own is not None and own.groups.tolist() == [[0], [1]], "who is seen is kept without names"
    for result, name in ((about, "ccc_valence"), (verified, "tar@far=1e-04")):
        question = Question("t", result.task, result.dataset, "test", name, "linear", 1.0, None)
        found = look(Line(result, dict.fromkeys(COLUMNS) | {"cell": "k"}), question)
        assert found is not None and found.errors == pytest.approx([0.5, 0.3]) and found.groups.tolist() == [[0], [1]]
        other = Line(replace(result, value=0.61), dict.fromkeys(COLUMNS) | {"cell": "k"})
        assert look(other, question) is None, "numbers of another measurement"
