"""Action units: how strongly each muscle of a face is drawn, in levels 0 to 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.evaluate import metrics
from curate.evaluate.config import Heads
from curate.evaluate.crops import Matrix
from curate.evaluate.probes import Predictor, ProbeData
from curate.evaluate.samples import ValueTarget
from curate.evaluate.tasks.task import Floats, Head, MapShapes, OnFeature, Predictions, masked_mse, regression
from curate.evaluate.tasks.values import Metric, score_values

OF_INTENSITY: dict[str, Metric] = {"icc": metrics.icc, "mae": metrics.mae, "rmse": metrics.rmse}


@dataclass(frozen=True, eq=False)
class ActionUnitTask:
    """See `Task`; one intensity a unit."""

    units: ValueTarget
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
        """Their own intensities."""
        return targets

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """Ordinal questions whose probabilities are summed, or squared error."""
        if options.action_units == "regression":
            return Head(OnFeature(nn.Linear(dim, self.width)), masked_mse)
        layers = OnFeature(Ordinal(dim, self.width, max(round(self.units.high), 1)))
        return Head(layers, ordinal_loss, lambda given: given.sigmoid().sum(2))

    def probe(self, data: ProbeData) -> Predictor:
        """Ridge regression."""
        return regression(data)

    def score(self, predictions: Predictions) -> dict[str, float]:
        """See `score_values`."""
        return score_values(self.units, predictions, OF_INTENSITY)


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
