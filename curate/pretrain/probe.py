"""Probes features while they are learned: whose faces lie together, and whether they have collapsed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from curate.errors import UsageError
from curate.pretrain import augment
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Augment
from curate.pretrain.labels import labels_of
from curate.pretrain.pictures import PackedPictures
from curate.storage.manifest import Manifest

PER_LABEL = 10
"""A person gives at most so many faces to a probe, so that a few do not fill it."""
AT_ONCE = 32
"""Pictures that go through the network together."""


@dataclass(frozen=True)
class Probe:
    """Some faces whose features are probed again and again.

    Attributes:
        positions: int64 [n], in the manifest.
        label: int64 [n], who it is (or of which video, see `kind`).
        group: int64 [n], near-duplicates share one: they do not count as neighbours.
        kind: `identity` or `video_id`.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    kind: str


@dataclass(frozen=True)
class ProbeResult:
    """What a probe says of features.

    Attributes:
        knn: share of faces whose nearest neighbour, near-duplicates aside, is the same person; nan without any pair.
        chance: that share for neighbours picked at random.
        effective_rank: dimensions that the features really use, at least 1.
        spread: mean standard deviation of the coordinates of unit features times sqrt(d): 1 when they fill the sphere,
            0 when all are one.
    """

    knn: float
    chance: float
    effective_rank: float
    spread: float


def choose(manifest: Manifest, usable: NDArray[np.int64], count: int, seed: int) -> Probe:
    """Picks faces of a probe: people of whom there are several pictures that are no near-duplicates come first."""
    kind = "identity"
    try:
        label, _ = labels_of(manifest, kind)
    except UsageError:
        kind = "video_id"
        label, _ = labels_of(manifest, kind)
    group = np.asarray(manifest.column("cluster").to_numpy()).astype(np.int64)
    shuffled = np.random.default_rng((seed, 2)).permutation(usable[label[usable] >= 0])
    seen: dict[int, list[int]] = {}
    for position in shuffled.tolist():
        members = seen.setdefault(int(label[position]), [])
        if len(members) < PER_LABEL and all(group[position] != group[other] for other in members):
            members.append(position)
    ranked = sorted(seen.values(), key=lambda members: len(members) < 2)  # stable: chance decides the rest
    chosen = np.array([position for members in ranked for position in members][:count], np.int64)
    return Probe(chosen, label[chosen], group[chosen], kind)


@torch.no_grad()
def features(
    backbone: Backbone,
    pictures: PackedPictures,
    positions: NDArray[np.int64],
    size: int,
    recipe: Augment,
    device: torch.device,
) -> Tensor:
    """Features of whole pictures: float32 [n, d] on the CPU; damaged pictures are black."""
    mode = backbone.training
    backbone.eval()
    out = []
    for start in range(0, len(positions), AT_ONCE):
        part = positions[start : start + AT_ONCE]
        images = np.zeros((len(part), pictures.height, pictures.width, 3), np.uint8)
        for index, position in enumerate(part):
            pictures.decode(int(position), images[index])
        out.append(backbone(augment.plain(torch.from_numpy(images).to(device), size, recipe)).float().cpu())
    backbone.train(mode)
    return torch.cat(out)


def score(found: Tensor, probe: Probe) -> ProbeResult:
    """Scores features float [n, d] of the probe's faces."""
    unit = F.normalize(found.double(), dim=1)
    label, group = torch.from_numpy(probe.label), torch.from_numpy(probe.group)
    allowed = group[:, None] != group
    same = (label[:, None] == label) & allowed
    asked = same.any(1)
    nearest = (unit @ unit.T).masked_fill(~allowed, -2.0).argmax(1)
    hit = label[nearest] == label
    chance = same.sum(1) / allowed.sum(1).clamp_min(1)
    return ProbeResult(
        knn=float(hit[asked].double().mean()),
        chance=float(chance[asked].double().mean()),
        effective_rank=effective_rank(found),
        spread=float(unit.std(0).mean()) * unit.shape[1] ** 0.5,
    )


def effective_rank(found: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values of centred features float [n, d].

    Source: Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    x = found.double()
    values = torch.linalg.svdvals(x - x.mean(0))
    if not torch.isfinite(values).all() or float(values.sum()) <= 1e-12:
        return 1.0
    share = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))
