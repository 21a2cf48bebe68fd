"""Probes features while they are learned: whose faces lie together, and whether they have collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from curate.pretrain import augment, linear_probe
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import Augment, PretrainRecipe
from curate.pretrain.faces import Faces
from curate.pretrain.pictures import PackedPictures
from curate.progress import say
from curate.records import Pixels

PER_LABEL, PER_CLIP = 10, 3
"""A person and a clip of a person give at most so many faces to a probe, so that a few do not fill it."""
LABELLED = 1000
"""Labelled pictures that are looked at, where `probe.images` does not say."""
AT_ONCE = 32
"""Pictures that go through the network together."""


@dataclass(frozen=True)
class Probe:
    """Some faces whose features are probed again and again.

    Attributes:
        positions: int64 [n], in the manifest.
        label: int64 [n], who it is; 0 everywhere where the build has no identities.
        group: int64 [n], near-duplicates share one: they do not count as neighbours.
        clip: int64 [n], of which video: frames of one clip do not count as neighbours, whose likeness any network sees.
    """

    positions: NDArray[np.int64]
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    clip: NDArray[np.int64]


@dataclass(frozen=True)
class ProbeResult:
    """What a probe says of features.

    Attributes:
        knn: share of faces whose nearest neighbour of another clip, near-duplicates aside, is the same person; nan
            where nobody is in two clips.
        chance: that share for neighbours picked at random; asked: faces that both are shares of.
        effective_rank: dimensions that the features really use, at least 1.
        linear: accuracy of the linear probe on `probe.data`, and `linear_chance` of guessing; None where there is none.
        spread: mean standard deviation of the coordinates of unit features times sqrt(d): 1 when they fill the sphere,
            0 when all are one.
    """

    knn: float
    chance: float
    effective_rank: float
    spread: float
    linear: float | None = None
    linear_chance: float | None = None
    asked: int = 0

    def line(self) -> dict[str, float | None]:
        """As metrics.jsonl has it."""
        values = {"knn_identity": self.knn, "knn_chance": self.chance, "effective_rank": self.effective_rank}
        values |= {"spread": self.spread, "knn_faces": self.asked}
        if self.linear is None:
            return dict(values)
        return values | {"linear_probe": self.linear, "linear_chance": self.linear_chance}

    def text(self) -> str:
        """As it is said."""
        said = [f"effective rank {self.effective_rank:.1f}"]
        if not math.isnan(self.knn):
            of = f"of {self.asked:,} faces, chance {self.chance:.1%}"
            said.insert(0, f"nearest face of another clip: same person {self.knn:.1%} ({of})")
        if self.linear is not None:
            said.insert(0, f"linear probe {self.linear:.1%} (chance {self.linear_chance:.1%})")
        return ", ".join(said)


class Prober:
    """Probes backbones of a run, always on the same pictures.

    Args:
        recipe: of the run.
        faces, pictures: what it learns from.
        usable: int64 [n], positions of those that are learned from.
        labelled: pictures of the linear probe, if there is one.
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        faces: Faces,
        pictures: PackedPictures,
        usable: NDArray[np.int64],
        labelled: linear_probe.LabelledPictures | None,
    ) -> None:
        self.recipe, self.pictures, self.labelled = recipe, pictures, labelled
        self.size = max(view.size for view in recipe.views())
        settings = recipe.probe
        self.chosen = choose(faces, usable, settings.images, recipe.seed) if settings.images else None

    def probe(self, backbone: Backbone) -> ProbeResult | None:
        """What it says of a backbone; None where nothing is asked."""
        result = None
        if self.chosen is not None:
            images = decoded(self.pictures, self.chosen.positions)
            result = score(self._features(backbone, images, len(self.chosen.positions)), self.chosen)
        labelled = self.labelled
        if labelled is None:
            return result
        found = self._features(backbone, lambda rows: labelled.images[rows], len(labelled.label))
        if result is None:
            nan = float("nan")
            result = ProbeResult(nan, nan, effective_rank(found), spread(found))
        accuracy = linear_probe.accuracy(found, labelled)
        return replace(result, linear=accuracy, linear_chance=1 / labelled.classes)

    def _features(self, backbone: Backbone, images: Callable[[slice], Pixels], count: int) -> Tensor:
        return features(backbone, images, count, self.size, self.recipe.augment)


def read_labelled(recipe: PretrainRecipe) -> linear_probe.LabelledPictures | None:
    """The pictures of the linear probe, if the recipe has one.

    Raises:
        UsageError: `probe.data` cannot be used.
    """
    if recipe.probe.data is None:
        return None
    size = max(view.size for view in recipe.views())
    found = linear_probe.read(recipe.probe.data, size, recipe.probe.images or LABELLED, recipe.seed)
    if found.unreadable:
        say(f"probe.data: {found.unreadable} pictures cannot be read and are left out")
    return found


def choose(faces: Faces, usable: NDArray[np.int64], count: int, seed: int) -> Probe:
    """Picks faces of a probe: people of whom there are pictures in several clips come first."""
    known = faces.people()
    label = np.zeros(len(faces), np.int64) if known is None else known
    clip, group = faces.clips(), faces.near_duplicates()
    shuffled = np.random.default_rng((seed, 2)).permutation(usable[label[usable] >= 0])
    seen: dict[int, dict[int, list[int]]] = {}
    for position in shuffled.tolist():
        members = seen.setdefault(int(label[position]), {}).setdefault(int(clip[position]), [])
        if len(members) < PER_CLIP and all(group[position] != group[other] for other in members):
            members.append(position)
    ranked = sorted(seen.values(), key=lambda clips: len(clips) < 2)  # stable: chance decides the rest
    people = [[p for members in clips.values() for p in members][:PER_LABEL] for clips in ranked]
    if len(people) == 1:  # one person, or nobody knows who is who: any face will do
        people = [shuffled.tolist()]
    chosen = np.array([position for members in people for position in members][:count], np.int64)
    return Probe(chosen, label[chosen], group[chosen], clip[chosen])


@torch.no_grad()
def features(backbone: Backbone, images: Callable[[slice], Pixels], count: int, size: int, recipe: Augment) -> Tensor:
    """Features of whole pictures.

    Args:
        backbone: on its device.
        images: gives some of the pictures, uint8 [n, H, W, 3].
        count: how many there are.
        size: side at which the backbone sees them, pixels.
        recipe: interpolation and normalisation.

    Returns:
        float32 [count, d] on the CPU.
    """
    mode, device = backbone.training, next(backbone.parameters()).device
    backbone.eval()
    out = []
    for start in range(0, count, AT_ONCE):
        part = torch.from_numpy(images(slice(start, min(start + AT_ONCE, count)))).to(device)
        out.append(backbone(augment.plain(part, size, recipe)).float().cpu())
    backbone.train(mode)
    return torch.cat(out)


def decoded(pictures: PackedPictures, positions: NDArray[np.int64]) -> Callable[[slice], Pixels]:
    """What `features` takes, of packed pictures at some positions; damaged ones are black."""

    def images(rows: slice) -> Pixels:
        part = positions[rows]
        out = np.zeros((len(part), pictures.height, pictures.width, 3), np.uint8)
        for index, position in enumerate(part):
            pictures.decode(int(position), out[index])
        return out

    return images


def score(found: Tensor, probe: Probe) -> ProbeResult:
    """Scores features float [n, d] of the probe's faces."""
    unit = F.normalize(found.double(), dim=1)
    label, group, clip = (torch.from_numpy(x) for x in (probe.label, probe.group, probe.clip))
    allowed = (group[:, None] != group) & (clip[:, None] != clip)
    same = (label[:, None] == label) & allowed
    asked = same.any(1)
    nearest = (unit @ unit.T).masked_fill(~allowed, -2.0).argmax(1)
    hit = label[nearest] == label
    chance = same.sum(1) / allowed.sum(1).clamp_min(1)
    return ProbeResult(
        knn=float(hit[asked].double().mean()),
        chance=float(chance[asked].double().mean()),
        effective_rank=effective_rank(found),
        spread=spread(found),
        asked=int(asked.sum()),
    )


def spread(found: Tensor) -> float:
    """How far features float [n, d] fill the sphere; see `ProbeResult`."""
    unit = F.normalize(found.double(), dim=1)
    return float(unit.std(0).mean() * unit.shape[1] ** 0.5)


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
