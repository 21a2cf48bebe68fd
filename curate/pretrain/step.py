"""One update of the weights: crops, forward, loss, backward, optimiser; in pieces where a batch is too large.

A batch that does not fit is taken through the network in micro-batches, and the loss still sees all of it: first
without gradients to know every output, then the loss and its gradient with respect to these outputs, then once more
piece by piece with gradients (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"). So Sinkhorn's marginals, negatives and centres are those of the stated batch; only batch norm, which sees a
micro-batch, tells the difference. It costs one forward pass more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from curate.errors import UsageError
from curate.pretrain import augment, distributed, optim
from curate.pretrain.config import PretrainRecipe
from curate.pretrain.distributed import World
from curate.pretrain.methods import Method, Outputs, StepInfo

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        if world.size > 1:
            places = [world.device] if world.device.type == "cuda" else None
            self.network = DistributedDataParallel(method, device_ids=places, broadcast_buffers=False)
        self.optimiser = optim.build(method, recipe.optimiser, method.constant_rate)
        self.rate = optim.learning_rate(recipe.optimiser, recipe.batch, steps, steps_per_epoch)
        self.decay = optim.weight_decay(recipe.optimiser, steps)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.precision == "fp16")

    def info(self, step: int) -> StepInfo:
        """When step number `step` happens."""
        return StepInfo(step, self.steps, step / self.steps_per_epoch)

    def __call__(self, images: Tensor, labels: Tensor | None, info: StepInfo) -> Tensor:
        """One update.

        Args:
            images: uint8 [b, H, W, 3] on the device, this process's share of the batch.
            labels: int64 [b] on the device, for methods that need them.
            info: when.

        Returns:
            The loss, averaged over processes: float32 [], on the device.
        """
        optim.set_rates(self.optimiser, self.rate, self.decay, info.step)
        pieces = [slice(at, at + self.micro) for at in range(0, self.share, self.micro)]
        draws = self._draw(images, info)
        if len(pieces) == 1:
            outputs = self._forward(self.network, images, labels, draws, pieces[0], info)
            loss = self.method.loss(outputs, info)
            torch.autograd.backward([self.scaler.scale(loss)])
        else:
            outputs, loss = self._in_pieces(images, labels, draws, pieces, info)
        self.method.update_memory(outputs, info)
        self._update(info)
        return distributed.total(loss.detach()) / self.world.size

    def _update(self, info: StepInfo) -> None:
        """Applies the gradients that backward left."""
        self.scaler.unscale_(self.optimiser)
        self.method.before_update(info)
        if self.recipe.optimiser.clip_grad is not None:
            optim.clip(self.method.parameters(), self.recipe.optimiser.clip_grad)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.method.after_update(info)

    def _in_pieces(
        self,
        images: Tensor,
        labels: Tensor | None,
        draws: list[augment.Draws],
        pieces: list[slice],
        info: StepInfo,
    ) -> tuple[Outputs, Tensor]:
        """Loss of the whole share and its gradients, with one micro-batch in memory at a time."""
        with torch.no_grad(), still_statistics(self.method):
            parts = [self._forward(self.method, images, labels, draws, piece, info) for piece in pieces]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        leaves = {name: x.requires_grad_() if x.is_floating_point() else x for name, x in joined.items()}
        loss = self.method.loss(leaves, info)
        torch.autograd.backward([self.scaler.scale(loss)])
        for piece in pieces:
            with self._quiet() if piece is not pieces[-1] else nullcontext():
                outputs = self._forward(self.network, images, labels, draws, piece, info)
                learned = [
                    (outputs[name], leaf.grad[piece])
                    for name, leaf in leaves.items()
                    if leaf.grad is not None and outputs[name].requires_grad
                ]
                torch.autograd.backward([x for x, _ in learned], [gradient for _, gradient in learned])
        return {name: leaf.detach() for name, leaf in leaves.items()}, loss

    def _quiet(self) -> Any:
        """Processes do not exchange gradients before the last piece."""
        return self.network.no_sync() if isinstance(self.network, DistributedDataParallel) else nullcontext()

    def _draw(self, images: Tensor, info: StepInfo) -> list[augment.Draws]:
        """The random choices of every crop of this process's pictures.

        They are drawn for the whole batch, so that they do not depend on how it is shared among processes.
        """
        seed = np.random.SeedSequence((self.recipe.seed, 1, info.step)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        mine = slice(self.world.rank * self.share, (self.world.rank + 1) * self.share)
        height, width = images.shape[1:3]
        return [
            augment.draw(self.recipe.batch, height, width, view, self.recipe.augment, generator)[mine]
            for view in self.recipe.views()
            for _ in range(view.count)
        ]

    def crops(self, images: Tensor, draws: list[augment.Draws], piece: slice) -> list[Tensor]:
        """The augmented crops of some pictures: float32 [n, 3, s, s] each."""
        sizes = [view.size for view in self.recipe.views() for _ in range(view.count)]
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        made = augment.crops(images[piece], [draw[piece] for draw in draws], sizes, self.recipe.augment)
        return [crop.contiguous(memory_format=layout) for crop in made]

    def _forward(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor | None,
        draws: list[augment.Draws],
        piece: slice,
        info: StepInfo,
    ) -> Outputs:
        crops = self.crops(images, draws, piece)
        place = (self.recipe.seed, 3, info.step, self.world.rank, piece.start)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))  # masks and stochastic depth
        dtype = PRECISIONS[self.recipe.precision]
        with torch.autocast(self.world.device.type, dtype, enabled=dtype != torch.float32):
            outputs: Outputs = network(crops, None if labels is None else labels[piece])
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
