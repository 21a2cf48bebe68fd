"""Thresholds from pairs whose answer is known."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_curve

from curate.calibration.recall import measured_at, recall_curve

scores = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(lambda values: np.array(values) / 40)


@given(scores, scores, st.floats(0.5, 1))
@example(np.array([0, 0, 0, 0, 0, 1]) / 40, np.zeros(1), 0.5)  # six sixths are a little less than 1
def test_a_point_does_what_it_says(same, other, precision):
    point = recall_curve(same, other).at(precision)
    if point.recall == 0:
        for threshold in same:  # nothing would do
            told = measured_at(threshold, same, other)
            assert told.precision < precision + 1e-9
        return
    told = measured_at(point.threshold, same, other)
    assert np.isclose(told.recall, point.recall) and np.isclose(told.false, point.false)
    assert told.precision >= precision - 1e-9
    for threshold in np.unique(np.concatenate([same, other])):  # and no other one does it with more
        rival = measured_at(threshold, same, other)
        assert rival.precision < precision - 1e-9 or rival.recall <= point.recall + 1e-9


@given(scores, scores)
def test_the_curve_is_that_of_scikit_learn(same, other):
    labels = np.r_[np.ones(len(same)), np.zeros(len(other))]
    weights = np.r_[np.full(len(same), 1 / len(same)), np.full(len(other), 1 / len(other))]
    false, recall, _ = roc_curve(labels, np.r_[same, other], sample_weight=weights, drop_intermediate=False)
    found = recall_curve(same, other)
    np.testing.assert_allclose(found.recall, recall[1:], atol=1e-9)
    np.testing.assert_allclose(found.false, false[1:], atol=1e-9)
    steps = np.diff(np.r_[0, found.recall])
    expected = average_precision_score(labels, np.r_[same, other], sample_weight=weights)
    assert np.isclose((steps * found.precision).sum(), expected)


def test_weights_count_pairs():
    same, other = np.array([0.9, 0.5]), np.array([0.7, 0.1])
    even = recall_curve(same, other)
    twice = recall_curve(np.r_[same, same[:1]], other)
    weighed = recall_curve(same, other, np.array([2.0, 1.0]))
    np.testing.assert_allclose(weighed.recall, twice.recall)
    assert even.at(0.995).recall == 0.5 and weighed.at(0.995).recall > 0.6


def test_equal_error():
    assert recall_curve(np.array([1.0, 0.9]), np.array([0.1, 0.2])).equal_error() == 0
    assert recall_curve(np.array([0.1, 0.2]), np.array([1.0, 0.9])).equal_error() == 1
