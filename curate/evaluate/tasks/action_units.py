"""Action units: how strongly each muscle of a face is drawn, in levels 0 to 5; or whether it is at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import scipy.special
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.evaluate import metrics
from curate.evaluate.config import Heads
from curate.evaluate.crops import Matrix
from curate.evaluate.features import FeatureTable
from curate.evaluate.probes import Predictor, ProbeData, logistic
from curate.evaluate.samples import Indices, OccurrenceTarget, ValueTarget
from curate.evaluate.tasks.task import (
    Floats,
    Head,
    MapShapes,
    OnFeature,
    Predictions,
    masked_mse,
    mean_known,
    regression,
)
from curate.evaluate.tasks.values import Metric, each_clipped, each_value, score_values, value_errors

OF_INTENSITY: dict[str, Metric] = {"icc": metrics.icc, "mae": metrics.mae, "mse": metrics.mse, "rmse": metrics.rmse}


Target = TypeVar("Target", ValueTarget, OccurrenceTarget)


@dataclass(frozen=True, eq=False)
class _UnitTask(Generic[Target]):
    """See `Task`; a number a unit, which a mirrored picture does not change."""

    units: Target
    spatial: bool = False
    mirrors: bool = True

    @property
    def width(self) -> int:
        """Number of action units."""
        return len(self.units.names)

    def known(self) -> NDArray[np.bool_]:
        """See `Task`."""
        return np.asarray(~np.isnan(self.units.values).all(axis=1))

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:  # noqa: ARG002  # of Task
        """See `Task`."""
        return np.asarray(self.units.values[index])

    def votes(self, targets: Floats) -> Floats:
        """The numbers themselves: intensities, or 1 for a unit that is there and 0 for one that is not."""
        return targets

    def unmirrored(self, values: Floats) -> Floats:
        """See `Task`."""
        return values


@dataclass(frozen=True, eq=False)
class ActionUnitTask(_UnitTask[ValueTarget]):
    """See `Task`; one intensity a unit."""

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """Ordinal questions whose probabilities are summed, or squared error."""
        if options.action_units == "regression":
            return Head(OnFeature(nn.Linear(dim, self.width)), masked_mse)
        layers = OnFeature(Ordinal(dim, self.width, max(round(self.units.high), 1)))
        return Head(layers, ordinal_loss, lambda given: given.sigmoid().sum(2))

    def probe(self, data: ProbeData) -> Predictor:
        """Ridge regression."""
        return regression(data)

    def errors(self, predictions: Predictions) -> Floats:
        """See `value_errors`."""
        return value_errors(self.units, predictions)

    def score(self, predictions: Predictions) -> dict[str, float]:
        """See `score_values`."""
        return score_values(self.units, predictions, OF_INTENSITY)

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of ICC."""
        return each_clipped("icc", metrics.icc_each, self.units, predictions)


@dataclass(frozen=True, eq=False)
class OccurrenceTask(_UnitTask[OccurrenceTarget]):
    """See `Task`; whether each unit is there: a prediction is a probability, and 0.5 decides."""

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """A linear layer and binary cross-entropy."""
        return Head(OnFeature(nn.Linear(dim, self.width)), masked_cross_entropy, lambda given: given.sigmoid())

    def probe(self, data: ProbeData) -> Predictor:
        """Logistic regression of each unit, over the samples where it is known."""
        fitted = [_unit_probe(data, column) for column in range(self.width)]
        return lambda table, rows: np.stack([probe(table, rows) for probe in fitted], axis=1)

    def errors(self, predictions: Predictions) -> Floats:
        """Share of the known units that are wrong, of each sample, float64 [n]."""
        targets = self.units.values[predictions.rows]
        return mean_known(np.where(np.isnan(targets), np.nan, (predictions.values >= HALF) != (targets >= HALF)))

    def score(self, predictions: Predictions) -> dict[str, float]:
        """F1 and accuracy of each unit over the samples where it is known, and their means over units."""
        there, targets = predictions.values >= HALF, self.units.values[predictions.rows]
        result: dict[str, float] = {}
        for name, metric in (("f1", metrics.f1), ("accuracy", metrics.accuracy)):
            each = []
            for column in range(self.width):
                known = ~np.isnan(targets[:, column])
                each.append(metric(there[known, column], targets[known, column] >= HALF))
            result[name] = metrics.mean_error(each)
            result |= {f"{name}_{unit}": found for unit, found in zip(self.units.names, each, strict=True)}
        return result

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of F1."""
        there, targets = predictions.values >= HALF, self.units.values[predictions.rows]
        return each_value("f1", lambda p, t: metrics.f1_each(p, t >= HALF), self.units.names, there, targets)


HALF = 0.5


def _unit_probe(data: ProbeData, column: int) -> Predictor:
    """Probability that one unit is there, float64 [n]; the share of the training samples where all are alike."""
    values = data.targets[:, column]
    known = np.flatnonzero(~np.isnan(values))
    place = np.full(len(values), -1)
    place[known] = np.arange(known.size)
    final = place[data.final][place[data.final] >= 0]
    seen = values[known[final]]
    if not seen.size or np.ptp(seen) == 0:
        share = float(seen.mean()) if seen.size else 0.0
        return lambda _, rows: np.full(len(rows), share)
    parts = [(place[fit][place[fit] >= 0], place[check][place[check] >= 0]) for fit, check in data.parts]
    parts = [(fit, check) for fit, check in parts if fit.size and check.size]
    own = replace(data, rows=data.rows[known], targets=values[known, None], parts=parts, final=final)
    probe = logistic(own, 2)

    def probability(table: FeatureTable, rows: Indices) -> Floats:
        logits = probe(table, rows)
        return np.asarray(scipy.special.expit(logits[:, 1] - logits[:, 0]))

    return probability


def masked_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of the known units; [n, K] twice, NaN in the target is left out. 0 where none is known."""
    known = ~target.isnan()
    each = F.binary_cross_entropy_with_logits(logits, target.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)


class Ordinal(nn.Module):
    """Levels 0 ... L as L ordered questions "is it more than l?" that share one score (CORAL, Cao et al. 2020).

    Args:
        inner: length of the feature.
        values: how many intensities.
        levels: L.
    """

    def __init__(self, inner: int, values: int, levels: int) -> None:
        super().__init__()
        self.score = nn.Linear(inner, values, bias=False)
        self.first = nn.Parameter(torch.zeros(values))
        self.steps = nn.Parameter(torch.zeros(values, max(levels - 1, 0)))

    def forward(self, features: Tensor) -> Tensor:
        """[n, inner] -> logits [n, values, L]; later questions never have the higher logit."""
        falls = F.softplus(self.steps).cumsum(1)
        bias = torch.cat((self.first[:, None], self.first[:, None] - falls), 1)
        logits: Tensor = self.score(features)[..., None] + bias
        return logits


def ordinal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of every question; logits [n, K, L], target [n, K] in levels, NaN unknown."""
    known = ~torch.isnan(target)
    above = (target[..., None] > torch.arange(logits.shape[2], device=logits.device) + 0.5 - 1e-6).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, above, reduction="none").mean(2)
    return (each * known).sum() / known.sum().clamp_min(1)
