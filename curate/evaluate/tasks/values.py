"""Scoring numbers of a face: what valence and arousal and intensities of action units share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.evaluate.samples import ValueTarget
from curate.evaluate.tasks.task import Floats, Predictions, mean_known, over_all

Metric = Callable[[Floats, Floats], float]
Each = Callable[[NDArray[np.generic], Floats], Floats]


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


def each_clipped(name: str, metric: Each, target: ValueTarget, predictions: Predictions) -> dict[str, Floats]:
    """As `each_value`, of predictions clipped to the declared range."""
    predicted = np.clip(predictions.values, target.low, target.high)
    return each_value(name, metric, target.names, predicted, target.values[predictions.rows])


def each_value(
    name: str, metric: Each, names: Sequence[str], predicted: NDArray[np.generic], targets: Floats
) -> dict[str, Floats]:
    """Of a metric of each value and of its mean over values, a number a sample, see `Task.each`.

    Args:
        metric: of `curate.evaluate.metrics.influence`.
        predicted, targets: [n, values]; NaN in `targets`: unknown.
    """
    known = ~np.isnan(targets)
    columns = {}
    for column, value in enumerate(names):
        there = known[:, column]
        columns[f"{name}_{value}"] = over_all(metric(predicted[there, column], targets[there, column]), there)
    defined = [found for found in columns.values() if not np.isnan(found).any()]
    return columns | ({name: np.mean(defined, axis=0)} if defined else {})
