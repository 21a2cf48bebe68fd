"""Numbers of a face: valence and arousal, intensities of action units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.evaluate.crops import Matrix
from curate.evaluate.samples import TaskName, ValueTarget
from curate.evaluate.tasks.goal import Floats, Indices, Kind

Metric = Callable[[Floats, Floats], float]
OF_UNITS: dict[str, Metric] = {"icc": metrics.icc, "mae": metrics.mae, "rmse": metrics.rmse}
OF_AFFECT: dict[str, Metric] = {"ccc": metrics.ccc, "pcc": metrics.pcc, "rmse": metrics.rmse, "sagr": metrics.sagr}


@dataclass(frozen=True, eq=False)
class ValueGoal:
    """See `Goal`."""

    values: ValueTarget
    task: TaskName
    kind: Kind = "values"
    spatial: bool = False
    mirrors: bool = True

    @property
    def width(self) -> int:
        """Number of values."""
        return len(self.values.names)

    def known(self) -> NDArray[np.bool_]:
        """See `Goal`."""
        return np.asarray(~np.isnan(self.values.values).all(axis=1))

    def truth(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:  # noqa: ARG002  # of Goal
        """See `Goal`."""
        return np.asarray(self.values.values[index])

    def score(self, answers: Floats, rows: Indices, matrices: Floats, size: int) -> dict[str, float]:  # noqa: ARG002
        """Each metric of each value, over the samples where it is known, and its mean over values.

        Answers are clipped to the range of the labels first. A value whose metric is undefined (a constant against a
        constant) is left out of the mean.
        """
        answers = np.clip(answers, self.values.low, self.values.high)
        truth = self.values.values[rows]
        result: dict[str, float] = {}
        for name, metric in (OF_UNITS if self.task == "action_units" else OF_AFFECT).items():
            each = []
            for column in range(self.width):
                there = ~np.isnan(truth[:, column])
                each.append(metric(answers[there, column], truth[there, column]))
            result[name] = metrics.mean_error(each)
            result |= {f"{name}_{value}": found for value, found in zip(self.values.names, each, strict=True)}
        return result
