"""One class of several: expressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.evaluate.crops import Matrix
from curate.evaluate.samples import ClassTarget
from curate.evaluate.tasks.goal import Floats, Indices, Kind


@dataclass(frozen=True, eq=False)
class ClassGoal:
    """See `Goal`; the truth is one number, the class, and an answer is a score for each class."""

    labels: ClassTarget
    kind: Kind = "classes"
    spatial: bool = False
    mirrors: bool = True

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self.labels.names)

    def known(self) -> NDArray[np.bool_]:
        """See `Goal`."""
        return self.labels.index >= 0

    def truth(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:  # noqa: ARG002  # of Goal
        """See `Goal`."""
        return np.array([self.labels.index[index]], dtype=np.float64)

    def score(self, answers: Floats, rows: Indices, matrices: Floats, size: int) -> dict[str, float]:  # noqa: ARG002
        """Accuracy, mean of the classes' accuracies, macro F1."""
        predicted, truth = answers.argmax(axis=1), self.labels.index[rows]
        return {
            "accuracy": metrics.accuracy(predicted, truth),
            "balanced_accuracy": metrics.balanced_accuracy(predicted, truth),
            "macro_f1": metrics.macro_f1(predicted, truth),
        }
