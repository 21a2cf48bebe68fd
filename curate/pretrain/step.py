"""One update of the weights: crops, forward, loss, backward, optimiser; in pieces where a batch is too large.

A batch that does not fit is taken through the network in micro-batches, and the loss still sees all of it: first
without gradients to know every output, then the loss and its gradient with respect to these outputs, then once more
piece by piece with gradients (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"). So Sinkhorn's marginals, negatives and centres are those of the stated batch; only batch norm, which sees a
micro-batch, tells the difference. It costs one forward pass more.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from curate.errors import UsageError
from curate.pretrain import augment, distributed, optim, sharding
from curate.pretrain.backbones import Backbone
from curate.pretrain.config import PretrainRecipe
from curate.pretrain.distributed import World
from curate.pretrain.methods import Method, Outputs, StepInfo

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Piece:
    """What goes through the network at once.

    Attributes:
        rows: of this process's share.
        crops: float32 [n, 3, s, s] each.
        labels: int64 [n], where there are any.
        noise: float32 [n, noise] in [0, 1), where the method wants some.
    """

    rows: slice
    crops: list[Tensor]
    labels: Tensor | None
    noise: Tensor | None


class Stepper:
    """Holds what a step needs: networks, optimiser, schedules, loss scaling.

    Args:
        method: on the device already, with its batch norms synchronised where they should be.
        recipe: of the run.
        world: this process among the others.
        steps, steps_per_epoch: of the run.

    Raises:
        UsageError: the batch cannot be shared among the processes or cut into micro-batches.
    """

    def __init__(self, method: Method, recipe: PretrainRecipe, world: World, steps: int, steps_per_epoch: int) -> None:
        self.method, self.recipe, self.world = method, recipe, world
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.share, self.micro = shares(recipe, world)
        self.network: nn.Module = method
        self.saved: Backbone | None = None
        if recipe.shard:
            self.saved = copy.deepcopy(method.exported()) if world.first else None
            sharding.shard(method, world)
        elif world.size > 1:
            places = [world.device] if world.device.type == "cuda" else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the newer name is not in the oldest torch
                self.network = DistributedDataParallel(method, device_ids=places, broadcast_buffers=False)
        self.views = [view for view in recipe.views() for _ in range(view.count)]
        self.optimiser = optim.build(
            method, recipe.optimiser, method.constant_rate, fused=recipe.precision == "fp16" or None
        )
        self.rate = optim.learning_rate(recipe.optimiser, recipe.batch, steps, steps_per_epoch)
        self.decay = optim.weight_decay(recipe.optimiser, steps)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "fp16")

    def state(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """State dicts of method, optimiser and loss scaling, for a checkpoint of the first process.

        Every process calls this where weights are sharded.
        """
        found = self.method.state_dict(), self.optimiser.state_dict(), self.scaler.state_dict()
        return sharding.whole(found, self.world.first) if self.recipe.shard else found

    def resume(self, optimiser: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Goes on with what a checkpoint says; the method had its weights before."""
        self.optimiser.load_state_dict(sharding.cut(optimiser, self.optimiser) if self.recipe.shard else optimiser)
        self.scaler.load_state_dict(scaler)

    def exported(self) -> Backbone | None:
        """The backbone that is saved, whole; None in processes that do not hold it.

        Every process calls this where weights are sharded.
        """
        if not self.recipe.shard:
            return self.method.exported()
        state = sharding.whole(self.method.exported().state_dict(), self.world.first)
        if self.saved is not None:
            self.saved.load_state_dict(state)
        return self.saved

    def info(self, step: int) -> StepInfo:
        """When step number `step` happens."""
        return StepInfo(step, self.steps, step / self.steps_per_epoch, self.steps_per_epoch)

    def __call__(self, images: Tensor, labels: Tensor | None, info: StepInfo) -> Tensor:
        """One update.

        Args:
            images: uint8 [b, H, W, 3] on the device, this process's share of the batch.
            labels: int64 [b] on the CPU, for methods that need them.
            info: when.

        Returns:
            The loss, averaged over processes: float32 [], on the device.
        """
        optim.set_rates(self.optimiser, self.rate, self.decay, info.step)
        given = self.render(images, labels, info)
        if len(given) == 1:
            outputs = self._forward(self.network, given[0], info)
            loss = self.method.loss(outputs, info)
            torch.autograd.backward([self.scaler.scale(loss)])
        else:
            outputs, loss = self._in_pieces(given, info)
        self.method.update_memory(outputs, info)
        self._update(info)
        return distributed.total(loss.detach()) / self.world.size

    def _update(self, info: StepInfo) -> None:
        """Applies the gradients that backward left."""
        self.scaler.unscale_(self.optimiser)
        self.method.before_update(info)
        if self.recipe.optimiser.clip_grad is not None:
            optim.clip(self.method.parameters(), self.recipe.optimiser.clip_grad, self.recipe.shard)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.method.after_update(info)

    def _in_pieces(self, given: list[Piece], info: StepInfo) -> tuple[Outputs, Tensor]:
        """Loss of the whole share and its gradients, with one micro-batch's activations in memory at a time."""
        with torch.no_grad(), still_statistics(self.method):
            parts = [self._forward(self.method, piece, info) for piece in given]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        leaves = {name: x.requires_grad_() if x.is_floating_point() else x for name, x in joined.items()}
        loss = self.method.loss(leaves, info)
        torch.autograd.backward([self.scaler.scale(loss)])
        for piece in given:
            with self._quiet() if piece is not given[-1] else nullcontext():
                outputs = self._forward(self.network, piece, info)
                learned = [
                    (outputs[name], leaf.grad[piece.rows])
                    for name, leaf in leaves.items()
                    if leaf.grad is not None and outputs[name].requires_grad
                ]
                torch.autograd.backward([x for x, _ in learned], [gradient for _, gradient in learned])
        return {name: leaf.detach() for name, leaf in leaves.items()}, loss

    def _quiet(self) -> Any:
        """Processes do not exchange gradients before the last piece; sharded ones are exchanged, as none has room."""
        return self.network.no_sync() if isinstance(self.network, DistributedDataParallel) else nullcontext()

    def render(self, images: Tensor, labels: Tensor | None, info: StepInfo) -> list[Piece]:
        """The crops of this process's pictures, micro-batch by micro-batch, and what else the network is given.

        All that chance decides, and the labels, travel to the device as one table.
        """
        table = self._table(images.shape[1], images.shape[2], labels, info.step)
        if self.world.device.type == "cuda":
            table = table.pin_memory()
        table = table.to(self.world.device, non_blocking=True)
        counts = [len(self.views) * augment.WIDTH, self.method.noise, 0 if labels is None else 1]
        drawn, noise, label = torch.split(table, counts, 1)
        draws = [augment.Draws.unpack(part) for part in torch.split(drawn, augment.WIDTH, 1)]
        pieces = []
        for start in range(0, self.share, self.micro):
            rows = slice(start, start + self.micro)
            pieces.append(
                Piece(
                    rows,
                    self.crops(images[rows], [draw[rows] for draw in draws]),
                    label[rows, 0].long() if labels is not None else None,
                    noise[rows] if self.method.noise else None,
                )
            )
        return pieces

    def _table(self, height: int, width: int, labels: Tensor | None, step: int) -> Tensor:
        """float32 [share, ...] on the CPU: of each picture the draws of all views, the method's noise, the label.

        They depend on the picture's place in the whole batch, so not on how it is shared among processes.
        """
        rows = range(self.world.rank * self.share, (self.world.rank + 1) * self.share)
        counts = [augment.NUMBERS] * len(self.views) + [self.method.noise]
        uniforms = torch.from_numpy(augment.numbers(self.recipe.seed, step, rows, sum(counts)))
        *crops, noise = torch.split(uniforms, counts, 1)
        parts = [
            augment.draw(part, height, width, view, self.recipe.augment).pack()
            for part, view in zip(crops, self.views, strict=True)
        ]
        known = [] if labels is None else [labels[:, None].float()]  # exact up to 2^24 classes
        return torch.cat([*parts, noise, *known], 1)

    def crops(self, images: Tensor, draws: list[augment.Draws]) -> list[Tensor]:
        """The augmented crops of some pictures: float32 [n, 3, s, s] each."""
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        made = augment.crops(images, draws, [view.size for view in self.views], self.recipe.augment)
        return [crop.contiguous(memory_format=layout) for crop in made]

    def _forward(self, network: nn.Module, piece: Piece, info: StepInfo) -> Outputs:
        place = (self.recipe.seed, 3, info.step, self.world.rank, piece.rows.start)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))  # stochastic depth
        dtype = PRECISIONS[self.recipe.precision]
        half = torch.autocast(self.world.device.type, dtype) if dtype != torch.float32 else nullcontext()
        with half:
            outputs: Outputs = network(piece.crops, piece.labels, piece.noise)
        return outputs


def shares(recipe: PretrainRecipe, world: World) -> tuple[int, int]:
    """Pictures of a batch that a process takes, and those it takes at once.

    Raises:
        UsageError: they do not come out even, or the precision is not to be had.
    """
    if recipe.batch % world.size:
        raise UsageError(f"--batch {recipe.batch}: cannot be shared equally by {world.size} processes")
    share = recipe.batch // world.size
    micro = min(recipe.micro_batch or share, share)
    if share % micro:
        raise UsageError(
            f"micro_batch = {micro}: does not divide the {share} pictures of a process; use {_divisor(share, micro)}"
        )
    if micro < 2:
        raise UsageError("batch: a process needs at least 2 pictures at once, or batch norm has nothing to compare")
    if recipe.precision == "fp16" and world.device.type == "cpu":
        raise UsageError("precision = fp16: needs a GPU; use bf16 or fp32 on a CPU")
    return share, micro


def _divisor(share: int, wish: int) -> int:
    return next(size for size in range(wish, 0, -1) if share % size == 0)


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms go on normalising by the batch but do not remember it."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
