"""Scoring numbers of a face: what valence and arousal and intensities of action units share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from curate.evaluate import metrics
from curate.evaluate.samples import ValueTarget
from curate.evaluate.tasks.task import Floats, Predictions, mean_known

Metric = Callable[[Floats, Floats], float]


def value_errors(target: ValueTarget, predictions: Predictions) -> Floats:
    """Mean absolute error of each sample's known numbers, float64 [n]; predictions clipped to the declared range."""
    predicted = np.clip(predictions.values, target.low, target.high)
    return mean_known(np.abs(predicted - target.values[predictions.rows]))


def score_values(target: ValueTarget, predictions: Predictions, wanted: Mapping[str, Metric]) -> dict[str, float]:
    """Each metric of each value, over the samples where it is known, and its mean over values.

    Predictions are clipped to the declared range first. A value whose metric is undefined (a constant against a
    constant) is left out of the mean.
    """
    predicted = np.clip(predictions.values, target.low, target.high)
    targets = target.values[predictions.rows]
    result: dict[str, float] = {}
    for name, metric in wanted.items():
        each = []
        for column in range(len(target.names)):
            there = ~np.isnan(targets[:, column])
            each.append(metric(predicted[there, column], targets[there, column]))
        result[name] = metrics.mean_error(each)
        result |= {f"{name}_{value}": found for value, found in zip(target.names, each, strict=True)}
    return result
