"""One process or many: started by torchrun, over NCCL on GPUs and gloo on CPUs.

Functions here do nothing surprising in a single process, so that losses are written once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from curate import hardware


@dataclass(frozen=True)
class World:
    """Where this process stands among the others.

    Attributes:
        rank: from 0; 0 writes the files.
        size: number of processes.
        local_rank: from 0 on this machine.
        device: the network's.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


@contextmanager
def world(wish: str = "auto") -> Iterator[World]:
    """Joins the processes that torchrun started, or stands alone.

    Args:
        wish: `auto`, `cpu` or `cuda`.

    Raises:
        UnavailableError: a GPU is wished for and there is none.
    """
    kind = hardware.device(wish)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    ours = "WORLD_SIZE" in os.environ and "RANK" in os.environ and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield World(rank(), size(), local, device)
    finally:
        if ours:
            dist.destroy_process_group()


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def cores_each() -> int:
    """Cores of this machine for each of its processes, of which torchrun tells the number; at least 1."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size())) if dist.is_initialized() else 1
    return max(1, hardware.cores() // here)


def barrier() -> None:
    """Waits until every process is here."""
    if size() > 1:
        dist.barrier()


def total(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, without gradients."""
    if size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


def gather(x: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks: [n, ...] -> [size * n, ...]; gradients flow to all."""
    if size() == 1:
        return x
    return _gather(x)


class _Gather(torch.autograd.Function):
    """Gathers rows; backward sums what every process's loss says of this process's rows."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = total(gradient.contiguous())
        return gradient.chunk(size())[rank()]


class _Total(torch.autograd.Function):
    """Sums over processes, with gradients."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return total(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


_gather: Callable[[Tensor], Tensor] = _Gather.apply
_total: Callable[[Tensor], Tensor] = _Total.apply


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over all processes for CPUs, where torch has none: the definition, by sums over the processes."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {x.dim()}")

    def forward(self, inputs: Tensor) -> Tensor:
        """float [n, channels, ...] -> the same shape."""
        if not self.training:
            normal: Tensor = super().forward(inputs)
            return normal
        x = inputs.float()
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = float(total(torch.tensor(x.numel() / x.shape[1], dtype=torch.float64)))
        mean = _total(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _total(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach(), count)
        x = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            x = x * self.weight.view(shape) + self.bias.view(shape)
        return x.to(inputs.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None or not self.momentum:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def sync_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Makes every batch norm within `module` go over all processes; parameters and their names stay."""
    if device.type == "cuda":
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        convert(module)
        return
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            synced = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            synced.weight, synced.bias = child.weight, child.bias
            synced.running_mean, synced.running_var = child.running_mean, child.running_var
            synced.num_batches_tracked = child.num_batches_tracked
            setattr(module, name, synced)
        else:
            sync_batch_norm(child, device)
