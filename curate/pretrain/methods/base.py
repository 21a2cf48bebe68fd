"""What the training loop asks of a method, and what methods share.

A method is whole in its file: its section of the recipe, the settings that are usual for it, the crops it takes, the
loss of guessing, what to do when it is stuck, its cost, and its networks and loss. `curate.choices.Method` is the
catalogue; CONTRIBUTING.md shows how one is added.

A method owns the networks and says what they make of a batch (`forward`) and how wrong that is (`loss`). The two are
apart so that a batch too large for memory can be taken through the network in pieces while the loss still sees all of
it: rows of every output belong to pictures, in order.
"""

from __future__ import annotations

import copy
import itertools
import math
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from curate.pretrain import distributed
from curate.pretrain.backbones import Backbone, Block
from curate.recipe_files import Section

Network = TypeVar("Network", bound=nn.Module)

Outputs = dict[str, Tensor]
"""What `Method.forward` gives; every tensor has a row a picture."""


@dataclass(frozen=True)
class Setup:
    """What a method must know of its run beside its own settings.

    Attributes:
        batch: pictures an update, all processes together.
        crop_size: side of the first crop, pixels.
        crops: crops of a picture.
        classes: distinct labels; 0 where there are none.
        fresh: the backbone has fresh weights, not those of --init.
        sync_bn: batch norm goes over all processes.
        normalisation: mean and deviation of red, green and blue by which crops are normalised.
    """

    batch: int
    crop_size: int
    crops: int = 2
    classes: int = 0
    fresh: bool = True
    sync_bn: bool = True
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class StepInfo:
    """When a step happens.

    Attributes:
        step: from 0.
        steps: of the whole run.
        epoch: passes done, with fractions.
        steps_per_epoch: steps of a pass.
    """

    step: int
    steps: int
    epoch: float
    steps_per_epoch: int = 1


class Method(nn.Module):
    """A way to pre-train a backbone: built from a backbone, its settings (of its `section`) and a `Setup`."""

    section: ClassVar[type[Section]]
    """The method's own section of the recipe."""
    defaults: ClassVar[dict[str, Any]]
    """What is usual for the method where a recipe says nothing: the settings of its paper or its authors' code."""
    least_crops: ClassVar[int] = 2
    most_crops: ClassVar[int | None] = 2
    """Crops of a picture that it takes; None: any number."""
    needs_transformer: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    cost: ClassVar[float] = 1.0
    """Time of an update beside one forward and backward pass of all crops: second networks, decoders."""
    remedy: ClassVar[str] = "lower optimiser.lr or lengthen optimiser.warmup_epochs"
    """What to do when the loss stays at that of guessing."""
    constant_rate: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names of parameters whose learning rate does not fall."""

    backbone: Backbone
    noise: int = 0
    """Random numbers that `forward` wants of each picture, the same ones on every device."""

    def __init__(self, backbone: Backbone, settings: Any, setup: Setup) -> None:
        super().__init__()
        self.backbone, self.settings, self.setup = backbone, settings, setup

    @abstractmethod
    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """The networks' part. Nothing in it may wait for the device (no `.item()`, no index by a mask).

        Args:
            crops: float [n, 3, s, s] for each crop of the n pictures, in the recipe's order; sizes s may differ.
            labels: int64 [n], for methods that need them.
            noise: float32 [n, noise], uniform in [0, 1), for methods that want some.
        """

    @abstractmethod
    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """The loss of this process's share of a batch: float32 []. The mean over processes is what is minimised."""

    def update_memory(self, outputs: Outputs, info: StepInfo) -> None:
        """Keeps what later steps compare with (a queue, a centre); called once a step, after `loss`."""

    def before_update(self, info: StepInfo) -> None:
        """Called between backward and the update; takes gradients away from what stays frozen."""

    def after_update(self, info: StepInfo) -> None:
        """Called after the update; moves averaged networks."""

    def exported(self) -> Backbone:
        """The backbone that is saved in the end."""
        return self.backbone

    @classmethod
    def mistake(cls, settings: Any, crops: int) -> str | None:
        """What of the settings does not fit `crops` crops of a picture, in words; None where all does."""

    @classmethod
    def chance_loss(cls, settings: Any, setup: Setup) -> float | None:
        """The loss of a network that finds all its choices equally likely; None where there is no such number."""

    @classmethod
    def files(cls, settings: Any) -> list[Path]:
        """Files beside --init whose contents decide the weights."""
        del settings
        return []

    @classmethod
    def frozen_steps(cls, settings: Any, steps_per_epoch: int) -> tuple[int, str]:
        """First steps in which part of the head stays as it is, and the key that says so; 0 where none does."""
        del settings, steps_per_epoch
        return 0, ""

    @classmethod
    def drop_path(cls, settings: Any) -> float:
        """Rate of stochastic depth of a transformer."""
        del settings
        return 0.0

    @classmethod
    def hidden_share(cls, settings: Any) -> float:
        """Share of the patches of a picture that the network does not see, for pictures on pages."""
        del settings
        return 0.0


def features(backbone: nn.Module, crops: list[Tensor]) -> Tensor:
    """Features of all crops: [n, crops, d]. Neighbours of one size go through the backbone together."""
    out: list[Tensor] = []
    start = 0
    for index in range(1, len(crops) + 1):
        if index == len(crops) or crops[index].shape != crops[start].shape:
            group = crops[start:index]
            out.extend(backbone(torch.cat(group) if len(group) > 1 else group[0]).chunk(len(group)))
            start = index
    return torch.stack(out, 1)


def per_crop(head: nn.Module, x: Tensor) -> Tensor:
    """A head on all crops at once (batch norm sees them together): [n, crops, d] -> float32 [n, crops, outputs]."""
    out: Tensor = head(x.flatten(0, 1))
    return out.float().reshape(*x.shape[:2], -1)


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Where products stay in float32, whatever the precision of the run."""
    return torch.autocast(x.device.type, enabled=False) if x.device.type != "meta" else nullcontext()


def mlp(
    *sizes: int, norm: bool = True, last_norm: bool = False, last_affine: bool = True, bias: bool = True
) -> nn.Sequential:
    """Linear layers of these sizes, with batch norm and ReLU between them.

    Args:
        sizes: input, hidden layers, output.
        norm: batch norm before each ReLU.
        last_norm: batch norm on the output.
        last_affine: whether this last norm has a scale and a shift.
        bias: whether linear layers that no norm follows at the end, and those before a ReLU, have one.
    """
    layers: list[nn.Module] = []
    for index, (inner, outer) in enumerate(itertools.pairwise(sizes)):
        last = index == len(sizes) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(inner, outer, bias=bias and not (normed and last)))
        if normed:
            layers.append(nn.BatchNorm1d(outer, affine=last_affine or not last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def freeze(module: nn.Module) -> None:
    """Takes a network out of learning."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def follower(network: Network) -> Network:
    """A copy that does not learn and leaves no block out: `ema_update` alone moves it, after the network."""
    copied = copy.deepcopy(network)
    freeze(copied)
    for block in copied.modules():
        if isinstance(block, Block):
            block.drop_path = 0.0
    return copied


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Moves each parameter of `target` to momentum * itself + (1 - momentum) * that of `online`."""
    moved, towards = ([distributed.local(p) for p in network.parameters()] for network in (target, online))
    torch._foreach_lerp_(moved, towards, 1 - momentum)


def momentum_schedule(start: float, step: int, steps: int) -> float:
    """From `start` at the first step to 1 at the end of the run along half a cosine (Grill et al. 2020, sec. 3.3)."""
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2
