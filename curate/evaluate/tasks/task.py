"""What a task is: its target in the coordinates of a crop, its head, its probe and its score.

A task is one file of this folder. `LandmarkTask`, `ExpressionTask`, `AffectTask`, `ActionUnitTask` and `ShapeTask`
follow the protocol `Task`; recognition, which is asked about pairs instead of pictures, has a protocol of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.evaluate.config import Heads
from curate.evaluate.crops import Matrix
from curate.evaluate.probes import Predictor, ProbeData, ridge
from curate.evaluate.samples import Floats as Floats
from curate.evaluate.samples import Indices as Indices

MapShapes = tuple[tuple[int, int], ...]
"""(channels, side) of each feature map, finest first."""


@dataclass(frozen=True)
class Head:
    """A head, the loss of what it gives, and how that becomes the prediction in the task's own numbers.

    Attributes:
        layers: takes (features [n, D], maps) and gives what `loss` and `read` take.
        loss: of (given, target float [n, width]).
        read: given -> float [n, width].
    """

    layers: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    read: Callable[[Tensor], Tensor] = lambda given: given


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for some samples.

    Attributes:
        values: float64 [n, width]; for classes a score for each.
        rows: int64 [n], the samples.
        matrices: float64 [n, 2, 3], pixels of their pictures -> pixels of their crops.
        size: side of the crops, pixels.
    """

    values: Floats
    rows: Indices
    matrices: Floats
    size: int


class Task(Protocol):
    """One question of a data set.

    Attributes:
        width: how many numbers are predicted of a sample.
        spatial: whether probes read feature maps instead of the pooled feature.
        mirrors: whether training may mirror pictures.
    """

    @property
    def width(self) -> int:
        """See the class."""
        ...

    @property
    def spatial(self) -> bool:
        """See the class."""
        ...

    @property
    def mirrors(self) -> bool:
        """See the class."""
        ...

    def known(self) -> NDArray[np.bool_]:
        """bool [N]: which samples have a target at all."""
        ...

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:
        """What is to be predicted of one sample under a crop, float64; NaN where unknown.

        Args:
            matrix: pixels of the picture -> pixels of the crop of side `size`.
            mirrored: the crop was mirrored after `matrix`.
        """
        ...

    def votes(self, targets: Floats) -> Floats:
        """What neighbours contribute, float64 [n, width], for targets as `target` gives them."""
        ...

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:
        """A fresh head for a feature of length `dim` and these maps."""
        ...

    def probe(self, data: ProbeData) -> Predictor:
        """Fits what predicts from frozen features."""
        ...

    def unmirrored(self, values: Floats) -> Floats:
        """Predictions [n, width] for mirrored crops, as they are for the crops themselves."""
        ...

    def errors(self, predictions: Predictions) -> Floats:
        """How far off each sample's prediction is, float64 [n]: for comparing two backbones in pairs."""
        ...

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Metrics by name."""
        ...

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of metrics of `score` that are not the mean of `errors`, a number a sample, float64 [n], whose mean they are.

        Of those that are no mean over samples see `curate.evaluate.metrics.influence`.
        """
        ...


class OnFeature(nn.Module):
    """A head that takes the feature alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, maps: list[Tensor]) -> Tensor:  # noqa: ARG002  # the signature of all heads
        """See `Head`."""
        given: Tensor = self.layer(features)
        return given


class OnMaps(nn.Module):
    """A head that takes the maps alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, maps: list[Tensor]) -> Tensor:  # noqa: ARG002  # the signature of all heads
        """See `Head`."""
        given: Tensor = self.layer(maps)
        return given


def mean_known(values: Floats) -> Floats:
    """Mean of each row over what is known (not NaN), float64 [n]; NaN where nothing is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))


def over_all(found: Floats, there: NDArray[np.bool_]) -> Floats:
    """Numbers of those samples that have one, as one a sample, float64 [n]: others do not move their mean.

    Args:
        found: [sum of there]; NaN: this sample has none either.
        there: [n].
    """
    known = ~np.isnan(found)
    level = float(found[known].mean()) if known.any() else float("nan")
    spread = np.full(len(there), level)
    spread[np.flatnonzero(there)[known]] += (found[known] - level) * (len(there) / max(1, int(known.sum())))
    return spread


def masked_mse(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the known numbers; [n, K] twice, NaN in the target is left out. 0 where none is known."""
    known = ~target.isnan()
    return ((predicted - target.nan_to_num()).square() * known).sum() / known.sum().clamp_min(1)


def masked_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the known numbers; [n, K] twice, NaN in the target is left out. 0 where none is known."""
    known = ~target.isnan()
    return ((predicted - target.nan_to_num()).abs() * known).sum() / known.sum().clamp_min(1)


def regression(data: ProbeData) -> Predictor:
    """Ridge regression whose predictions stay near the training targets, see `within_reach`."""
    probe, seen = ridge(data), data.targets[data.final]
    return lambda table, rows: within_reach(probe(table, rows), seen)


def within_reach(predicted: Floats, targets: Floats) -> Floats:
    """Regressed numbers [n, K], kept within the range of the training targets [m, K] widened by half of it.

    A linear map has no bounds, and one odd picture in a thousand could otherwise rule a mean error.
    """
    known = ~np.isnan(targets)
    low = np.where(known, targets, np.inf).min(axis=0)
    high = np.where(known, targets, -np.inf).max(axis=0)
    reach = np.where(high >= low, (high - low) / 2, 0.0)
    return np.where(high >= low, np.clip(predicted, low - reach, high + reach), predicted)
