"""Landmarks: found in the crop, scored in pixels of the picture."""

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
from curate.evaluate.metrics.landmarks import EYES
from curate.evaluate.probes import Predictor, ProbeData
from curate.evaluate.samples import LandmarkTarget
from curate.evaluate.tasks.points import in_crop, in_pictures, unmirror
from curate.evaluate.tasks.task import (
    Floats,
    Head,
    Indices,
    MapShapes,
    OnFeature,
    OnMaps,
    Predictions,
    masked_l1,
    over_all,
    regression,
)

FAILURES, AREAS, BOX_AREA = (0.08, 0.10), (0.05, 0.07, 0.08, 0.10), 0.07
"""Errors (as a share of the normaliser) at which failures and the area under the CED are measured; by the box, one."""
GRID = 1e-4
"""Step of the grid on which published code integrates; see `metrics.auc`."""


@dataclass(frozen=True, eq=False)
class LandmarkTask:
    """See `Task`; x0, y0, x1, y1, ... as `curate.evaluate.tasks.points` has them."""

    landmarks: LandmarkTarget
    spatial: bool = True

    @property
    def mirrors(self) -> bool:
        """Only where each point's partner is known."""
        return self.landmarks.mirror is not None

    @property
    def width(self) -> int:
        """Two numbers a point."""
        return 2 * len(self.landmarks.points[0])

    def known(self) -> NDArray[np.bool_]:
        """See `Task`."""
        size = self._size(self.landmarks.normaliser, np.arange(len(self.landmarks.points)))
        some = np.any(np.all(np.isfinite(self.landmarks.points), axis=2), axis=1)
        return np.asarray(some & np.isfinite(size) & (size > 0), dtype=bool)

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:
        """See `Task`."""
        return in_crop(self.landmarks.points[index], matrix, size, self.landmarks.mirror if mirrored else None)

    def votes(self, targets: Floats) -> Floats:
        """Their own coordinates."""
        return targets

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:
        """Heatmaps; for a backbone without maps, coordinates by a linear layer and L1."""
        if not maps:
            return Head(OnFeature(nn.Linear(dim, self.width)), masked_l1)
        points = self.width // 2
        return Head(
            OnMaps(HeatmapDecoder(maps, points, options.channels)),
            lambda given, target: heatmap_loss(given, target.view(len(target), points, 2), options.sigma),
            lambda given: decode_heatmaps(given).flatten(1),
        )

    def probe(self, data: ProbeData) -> Predictor:
        """Ridge regression of the coordinates."""
        return regression(data)

    def unmirrored(self, values: Floats) -> Floats:
        """See `Task`; where `mirrors`."""
        return unmirror(values, self.landmarks.mirror or (), 2)

    def errors(self, predictions: Predictions) -> Floats:
        """NME of every face by the data set's normaliser, float64 [n]."""
        targets, size = self.landmarks.points[predictions.rows], self._size(self.landmarks.normaliser, predictions.rows)
        return metrics.nme_each(in_pictures(predictions, 2), targets, size)

    def score(self, predictions: Predictions) -> dict[str, float]:
        """NME by the data set's own normaliser and by every other that its points allow; FR and AUC of the first."""
        errors = self.errors(predictions)
        result = {"nme": metrics.mean_error(errors)}
        result |= {f"fr@{at:.2f}": metrics.failure_rate(errors, at) for at in FAILURES}
        for at in AREAS:
            result |= _areas("auc", errors, at)
        for name, (each, _) in self._by_others(predictions).items():
            result[f"nme_{name}"] = metrics.mean_error(each)
            result |= _areas("auc_box", each, BOX_AREA) if name == "box" else {}
        return result

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of NME by other normalisers."""
        return {f"nme_{name}": over_all(*found) for name, found in self._by_others(predictions).items()}

    def _by_others(self, predictions: Predictions) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
        """NME of each face by every normaliser that the points allow, and which faces have it, bool [n]."""
        targets, found = self.landmarks.points[predictions.rows], in_pictures(predictions, 2)
        others = ["box", "diagonal"] + (["inter_ocular", "inter_pupil"] if targets.shape[1] in EYES else [])
        result = {}
        for name in others:
            normaliser = self._size(name, predictions.rows)
            sound = np.isfinite(normaliser) & (normaliser > 0)
            if sound.any():
                result[name] = metrics.nme_each(found[sound], targets[sound], normaliser[sound]), sound
        return result

    def _size(self, name: str, rows: Indices) -> Floats:
        points, boxes = self.landmarks.points[rows], self.landmarks.boxes[rows]
        if name == "inter_ocular":
            return metrics.inter_ocular(points)
        if name == "inter_pupil":
            return metrics.inter_pupil(points)
        return metrics.box_size(boxes) if name == "box" else metrics.diagonal(boxes)


def _areas(name: str, errors: Floats, at: float) -> dict[str, float]:
    """The area under the CED up to an error: exact, and on the grid of published code."""
    grid = metrics.auc(errors, at, GRID, overshoot=True)
    return {f"{name}@{at:.2f}": metrics.auc(errors, at), f"{name}_grid@{at:.2f}": grid}


class HeatmapDecoder(nn.Module):
    """Feature maps to one heatmap a point, four times as fine as the finest of several maps or of the only one.

    Maps are brought to the same channels and added from coarse to fine (Lin et al. 2017, fig. 3; the head of Xiao et
    al. 2018, UPerNet, without its pyramid pooling); a single map is doubled twice instead (Xiao et al. 2018, simple
    baselines).

    Args:
        shapes: (channels, side) of each map, finest first.
        points: number of landmarks.
        channels: of the decoder.
    """

    def __init__(self, shapes: MapShapes, points: int, channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c, _ in shapes)
        self.smooth = _block(channels, channels)
        self.rise = nn.ModuleList() if len(shapes) > 1 else nn.ModuleList(_block(channels, channels) for _ in range(2))
        self.out = nn.Conv2d(channels, points, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """[n, C_i, h_i, w_i] each -> logits [n, points, h, w]."""
        x = self.lateral[-1](maps[-1])
        for lateral, finer in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            x = F.interpolate(x, size=finer.shape[-2:], mode="nearest") + lateral(finer)
        x = self.smooth(x)
        for block in self.rise:
            x = block(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        logits: Tensor = self.out(x)
        return logits


def _block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)
    )


def decode_heatmaps(logits: Tensor, radius: int = 2) -> Tensor:
    """Heatmaps to coordinates finer than a cell: the softmax's mean over the cells within `radius` of its peak.

    Args:
        logits: float [n, P, h, w].

    Returns:
        float [n, P, 2]: x and y as shares of the map's sides, 0 and 1 being its outer edges.
    """
    n, points, height, width = logits.shape
    peak = logits.flatten(2).argmax(2)
    row = torch.arange(height, device=logits.device, dtype=logits.dtype)
    column = torch.arange(width, device=logits.device, dtype=logits.dtype)
    far_row = (row - (peak // width).unsqueeze(-1)).abs() > radius
    far_column = (column - (peak % width).unsqueeze(-1)).abs() > radius
    near = logits.masked_fill(far_row[..., :, None] | far_column[..., None, :], float("-inf"))
    weight = near.flatten(2).softmax(2).view(n, points, height, width)
    x = (weight.sum(2) * (column + 0.5)).sum(2) / width
    y = (weight.sum(3) * (row + 0.5)).sum(2) / height
    return torch.stack((x, y), 2)


def heatmap_loss(logits: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between each heatmap's softmax and a Gaussian around the true point; unknown points do not count.

    Args:
        logits: float [n, P, h, w].
        target: float [n, P, 2], shares of the sides; NaN, or outside the map, is unknown.
        sigma: standard deviation, cells.
    """
    _, _, height, width = logits.shape
    inside = ((target >= 0) & (target <= 1)).all(2)  # false for NaN
    centre = torch.nan_to_num(target)
    row = torch.arange(height, device=logits.device) + 0.5
    column = torch.arange(width, device=logits.device) + 0.5
    along_x = torch.exp(-0.5 * ((column - centre[..., :1] * width) / sigma) ** 2)
    along_y = torch.exp(-0.5 * ((row - centre[..., 1:] * height) / sigma) ** 2)
    wanted = along_y[..., :, None] * along_x[..., None, :]
    wanted = wanted / wanted.sum((2, 3), keepdim=True).clamp_min(1e-12)
    each = -(wanted.flatten(2) * logits.flatten(2).log_softmax(2)).sum(2)
    return (each * inside).sum() / inside.sum().clamp_min(1)
