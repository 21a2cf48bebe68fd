"""Emotion: one expression of several, or valence and arousal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.evaluate import metrics
from curate.evaluate.config import Heads
from curate.evaluate.crops import Matrix
from curate.evaluate.probes import Predictor, ProbeData, logistic
from curate.evaluate.samples import ClassTarget, Indices, ValueTarget
from curate.evaluate.tasks.task import Floats, Head, MapShapes, OnFeature, Predictions, masked_mse, regression
from curate.evaluate.tasks.values import Metric, each_clipped, score_values, value_errors

OF_AFFECT: dict[str, Metric] = {"ccc": metrics.ccc, "pcc": metrics.pcc, "rmse": metrics.rmse, "sagr": metrics.sagr}


@dataclass(frozen=True, eq=False)
class ExpressionTask:
    """See `Task`; the target is one number, the class, and a prediction is a score for each class.

    Attributes:
        weights: float64 [classes], how much a sample of each class counts in training; None: all alike.
    """

    labels: ClassTarget
    weights: Floats | None = None
    spatial: bool = False
    mirrors: bool = True

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self.labels.names)

    def balanced(self, rows: Indices) -> ExpressionTask:
        """The same task, each class of these training rows counting alike in sum, and 1 a sample on average."""
        counts = np.bincount(self.labels.index[rows], minlength=self.width).astype(np.float64)
        there = max(int((counts > 0).sum()), 1)
        weights = np.divide(len(rows) / there, counts, out=np.zeros(self.width), where=counts > 0)
        return replace(self, weights=weights)

    def known(self) -> NDArray[np.bool_]:
        """See `Task`."""
        return self.labels.index >= 0

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:  # noqa: ARG002  # of Task
        """See `Task`."""
        return np.array([self.labels.index[index]], dtype=np.float64)

    def votes(self, targets: Floats) -> Floats:
        """1 for a neighbour's own class, 0 for others."""
        every = np.eye(self.width) if self.weights is None else np.diag(self.weights)
        return np.asarray(every[targets[:, 0].astype(np.int64)])

    def unmirrored(self, values: Floats) -> Floats:
        """See `Task`."""
        return values

    def errors(self, predictions: Predictions) -> Floats:
        """1 for a wrong class, 0 for the right one, float64 [n]."""
        wrong = predictions.values.argmax(axis=1) != self.labels.index[predictions.rows]
        return np.asarray(wrong, dtype=np.float64)

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """A linear layer and softmax cross-entropy."""
        weights = None if self.weights is None else torch.from_numpy(self.weights).float()

        def loss(given: Tensor, target: Tensor) -> Tensor:
            own = None if weights is None else weights.to(given.device)
            return F.cross_entropy(given, target[:, 0].long(), own)

        return Head(OnFeature(nn.Linear(dim, self.width)), loss)

    def probe(self, data: ProbeData) -> Predictor:
        """Multinomial logistic regression."""
        return logistic(data, self.width, self.weights)

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Accuracy, mean of the classes' accuracies, macro F1."""
        predicted, targets = predictions.values.argmax(axis=1), self.labels.index[predictions.rows]
        return {
            "accuracy": metrics.accuracy(predicted, targets),
            "balanced_accuracy": metrics.balanced_accuracy(predicted, targets),
            "macro_f1": metrics.macro_f1(predicted, targets),
        }

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of macro F1."""
        predicted = predictions.values.argmax(axis=1)
        return {"macro_f1": metrics.macro_f1_each(predicted, self.labels.index[predictions.rows])}


@dataclass(frozen=True, eq=False)
class AffectTask:
    """See `Task`; valence and arousal."""

    affect: ValueTarget
    spatial: bool = False
    mirrors: bool = True

    @property
    def width(self) -> int:
        """Number of values."""
        return len(self.affect.names)

    def known(self) -> NDArray[np.bool_]:
        """See `Task`."""
        return np.asarray(~np.isnan(self.affect.values).all(axis=1))

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:  # noqa: ARG002  # of Task
        """See `Task`."""
        return np.asarray(self.affect.values[index])

    def votes(self, targets: Floats) -> Floats:
        """Their own values."""
        return targets

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """A linear layer; CCC loss with a little squared error, which fixes the scale where a batch hardly varies."""
        layers = OnFeature(nn.Linear(dim, self.width))
        return Head(layers, lambda given, target: ccc_loss(given, target) + 0.1 * masked_mse(given, target))

    def probe(self, data: ProbeData) -> Predictor:
        """Ridge regression."""
        return regression(data)

    def unmirrored(self, values: Floats) -> Floats:
        """See `Task`."""
        return values

    def errors(self, predictions: Predictions) -> Floats:
        """See `value_errors`."""
        return value_errors(self.affect, predictions)

    def score(self, predictions: Predictions) -> dict[str, float]:
        """See `score_values`."""
        return score_values(self.affect, predictions, OF_AFFECT)

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of CCC."""
        return each_clipped("ccc", metrics.ccc_each, self.affect, predictions)


def ccc_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - the concordance correlation coefficient, mean over columns; [n, K] twice, NaN in the target is left out.

    The spread gets 1e-6, so that a batch in which nothing varies has a gradient.
    """
    known = ~torch.isnan(target)
    count = known.sum(0).clamp_min(1)
    target = torch.nan_to_num(target)
    mean_p, mean_t = (predicted * known).sum(0) / count, (target * known).sum(0) / count
    p, t = (predicted - mean_p) * known, (target - mean_t) * known
    spread = (p.square().sum(0) + t.square().sum(0)) / count + (mean_p - mean_t).square()
    return (1 - 2 * (p * t).sum(0) / count / (spread + 1e-6)).mean()
