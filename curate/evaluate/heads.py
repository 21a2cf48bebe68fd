"""Heads and losses of fine-tuning: heatmaps for landmarks, one linear layer for everything else, CosFace for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.evaluate.config import Heads
from curate.pretrain.methods.supervised import cosface

Maps = list[Tensor]
MapShapes = tuple[tuple[int, int], ...]
"""(channels, side) of each feature map, finest first."""


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

    def forward(self, maps: Maps) -> Tensor:
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


def heatmap_loss(logits: Tensor, truth: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between each heatmap's softmax and a Gaussian around the true point; unknown points do not count.

    Args:
        logits: float [n, P, h, w].
        truth: float [n, P, 2], shares of the sides; NaN, or outside the map, is unknown.
        sigma: standard deviation, cells.
    """
    _, _, height, width = logits.shape
    inside = ((truth >= 0) & (truth <= 1)).all(2)  # false for NaN
    centre = torch.nan_to_num(truth)
    row = torch.arange(height, device=logits.device) + 0.5
    column = torch.arange(width, device=logits.device) + 0.5
    along_x = torch.exp(-0.5 * ((column - centre[..., :1] * width) / sigma) ** 2)
    along_y = torch.exp(-0.5 * ((row - centre[..., 1:] * height) / sigma) ** 2)
    target = along_y[..., :, None] * along_x[..., None, :]
    target = target / target.sum((2, 3), keepdim=True).clamp_min(1e-12)
    each = -(target.flatten(2) * logits.flatten(2).log_softmax(2)).sum(2)
    return (each * inside).sum() / inside.sum().clamp_min(1)


def ccc_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - the concordance correlation coefficient, mean over columns; [n, K] twice, NaN in the truth is left out.

    The spread gets 1e-6, so that a batch in which nothing varies has a gradient.
    """
    known = ~torch.isnan(truth)
    count = known.sum(0).clamp_min(1)
    truth = torch.nan_to_num(truth)
    mean_p, mean_t = (predicted * known).sum(0) / count, (truth * known).sum(0) / count
    p, t = (predicted - mean_p) * known, (truth - mean_t) * known
    spread = (p.square().sum(0) + t.square().sum(0)) / count + (mean_p - mean_t).square()
    return (1 - 2 * (p * t).sum(0) / count / (spread + 1e-6)).mean()


def masked_mse(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the known numbers; [n, K] twice, NaN in the truth is left out. 0 where none is known."""
    known = ~torch.isnan(truth)
    return ((predicted - torch.nan_to_num(truth)).square() * known).sum() / known.sum().clamp_min(1)


def masked_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the known numbers; [n, K] twice, NaN in the truth is left out. 0 where none is known."""
    known = ~torch.isnan(truth)
    return ((predicted - torch.nan_to_num(truth)).abs() * known).sum() / known.sum().clamp_min(1)


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


def ordinal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of every question; logits [n, K, L], truth [n, K] in levels, NaN unknown."""
    known = ~torch.isnan(truth)
    above = (truth[..., None] > torch.arange(logits.shape[2], device=logits.device) + 0.5 - 1e-6).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, above, reduction="none").mean(2)
    return (each * known).sum() / known.sum().clamp_min(1)


class CosFace(nn.Module):
    """Cosines to one direction a person, less a margin at the true one (Wang et al. 2018, eq. 4)."""

    def __init__(self, inner: int, people: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(people, inner))
        nn.init.normal_(self.weight, std=0.01)
        self.scale, self.margin = scale, margin

    def forward(self, features: Tensor) -> Tensor:
        """[n, inner] -> cosines [n, people]."""
        return F.linear(F.normalize(features), F.normalize(self.weight))

    def loss(self, cosines: Tensor, people: Tensor) -> Tensor:
        """Cross-entropy of `scale * (cosine - margin at the true person)`."""
        return F.cross_entropy(self.scale * cosface(cosines, people, self.margin), people)


@dataclass(frozen=True)
class Answer:
    """A head, the loss of what it gives, and how that becomes the answer in the task's own numbers.

    Attributes:
        head: takes (features [n, D], maps) and gives what `loss` and `read` take.
        loss: of (given, truth float [n, width]).
        read: given -> float [n, width].
    """

    head: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    read: Callable[[Tensor], Tensor]


class OnFeature(nn.Module):
    """A head that takes the feature alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, maps: Maps) -> Tensor:  # noqa: ARG002  # the signature of all heads
        """See `Answer`."""
        given: Tensor = self.layer(features)
        return given


class OnMaps(nn.Module):
    """A head that takes the maps alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, maps: Maps) -> Tensor:  # noqa: ARG002  # the signature of all heads
        """See `Answer`."""
        given: Tensor = self.layer(maps)
        return given


def landmark_answer(dim: int, shapes: MapShapes, points: int, keys: Heads) -> Answer:
    """Heatmaps; for a backbone without maps, coordinates by a linear layer and L1."""
    if not shapes:
        return Answer(OnFeature(nn.Linear(dim, 2 * points)), masked_l1, lambda given: given)
    decoder = OnMaps(HeatmapDecoder(shapes, points, keys.channels))
    return Answer(
        decoder,
        lambda given, truth: heatmap_loss(given, truth.view(len(truth), points, 2), keys.sigma),
        lambda given: decode_heatmaps(given).flatten(1),
    )


def class_answer(dim: int, classes: int) -> Answer:
    """Softmax cross-entropy."""
    return Answer(
        OnFeature(nn.Linear(dim, classes)), lambda given, truth: F.cross_entropy(given, truth[:, 0].long()), lambda x: x
    )


def affect_answer(dim: int, values: int) -> Answer:
    """CCC loss with a little squared error, which fixes the scale where a batch hardly varies."""
    return Answer(
        OnFeature(nn.Linear(dim, values)),
        lambda given, truth: ccc_loss(given, truth) + 0.1 * masked_mse(given, truth),
        lambda given: given,
    )


def unit_answer(dim: int, values: int, levels: int, keys: Heads) -> Answer:
    """Ordinal questions whose probabilities are summed, or squared error."""
    if keys.action_units == "regression":
        return Answer(OnFeature(nn.Linear(dim, values)), masked_mse, lambda given: given)
    return Answer(OnFeature(Ordinal(dim, values, levels)), ordinal_loss, lambda given: given.sigmoid().sum(2))


def shape_answer(dim: int, width: int) -> Answer:
    """All coordinates by a linear layer and L1."""
    return Answer(OnFeature(nn.Linear(dim, width)), masked_l1, lambda given: given)
