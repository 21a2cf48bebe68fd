"""One process or many: started by torchrun, over NCCL on GPUs and gloo on CPUs.

Functions here do nothing surprising in a single process, so that losses are written once.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from curate import hardware
from curate.errors import UsageError

LONGEST_PAUSE_S = 2.0
"""Between two questions whether everyone is done."""


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


def world(wish: str = "auto") -> World:
    """Joins the processes that torchrun started, once for all later calls too, or stands alone.

    They part when they end: a process that met the others again would wait for those that have not parted yet.

    Args:
        wish: `auto`, `cpu` or `cuda`.

    Raises:
        UnavailableError: a GPU is wished for and there is none.
        UsageError: the processes use GPUs already, and the CPU is wished for.
    """
    kind = hardware.device(wish)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    if "WORLD_SIZE" in os.environ and "RANK" in os.environ and not dist.is_initialized():
        if kind == "cuda":
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
        atexit.register(_leave)
    elif dist.is_initialized() and kind == "cpu" and dist.get_backend() == "nccl":
        raise UsageError("--device cpu: the processes have met on their GPUs already; start others for the CPU")
    return World(rank(), size(), local, device)


def _leave() -> None:
    if dist.is_initialized():
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


def neighbours(group: int | None) -> dist.ProcessGroup | None:
    """The processes that share a batch norm with this one; None: all of them.

    Raises:
        UsageError: the processes do not fall into whole groups.
    """
    if group is None or size() <= group:
        return None
    if size() % group:
        raise UsageError(f"sync_bn_group = {group}: does not divide the {size()} processes; use a divisor, or null")
    mine: dist.ProcessGroup
    mine, _ = dist.new_subgroups(group)  # type: ignore[no-untyped-call]
    return mine


def everywhere(text: str) -> list[str]:
    """A short text of every process, in the order of their ranks."""
    if size() == 1:
        return [text]
    texts = [""] * size()
    dist.all_gather_object(texts, text)
    return texts


def barrier() -> None:
    """Waits until every process is here."""
    if size() > 1:
        dist.barrier()


def wait_for(work: Callable[[], None] | None, device: torch.device) -> None:
    """Does `work` where there is some while the others wait, however long it takes.

    A barrier gives up after minutes; here every process says now and then whether it is done.

    Args:
        work: of this process; None where it has none.
        device: of this process.
    """
    if size() == 1:
        if work is not None:
            work()
        return
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(work) if work is not None else None
        pause = 0.01
        while int(total(torch.tensor(int(task is not None and not task.done()), device=device))):
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
    if task is not None:
        task.result()


def settings(device: torch.device, tf32: bool) -> str:
    """Sets what makes a GPU fast, and says what is set; nothing on a CPU."""
    if device.type != "cuda":
        return ""
    torch.backends.cudnn.benchmark = True  # crops have few sizes: the fastest kernel of each is looked for once
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    return f"{torch.cuda.get_device_name(device)}, TF32 {'on' if tf32 else 'off'}, cudnn.benchmark on"


def total(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The sum of `x` over all processes (of a group), without gradients."""
    if size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x, group=group)
    return x


def is_sharded(x: Tensor) -> bool:
    """Whether each process holds a part of it alone (it is a DTensor of torch's)."""
    return hasattr(x, "to_local")


def local(x: Tensor) -> Tensor:
    """What this process holds of a tensor: all of it, or its part of a sharded one, in the same memory."""
    part: Tensor = x.to_local() if is_sharded(x) else x  # type: ignore[attr-defined]
    return part


def norms(tensors: list[Tensor], sharded: bool = False) -> list[Tensor]:
    """The 2-norm of each tensor; of parts of sharded ones, that of the whole, by one sum over the processes."""
    found = list(torch._foreach_norm(tensors))
    return list(total(torch.stack(found).square()).sqrt()) if sharded else found


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
    """Sums over the processes of a group, with gradients."""

    @staticmethod
    def forward(context: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        context.group = group
        return total(x, group)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return total(gradient, context.group), None


_gather: Callable[[Tensor], Tensor] = _Gather.apply
_total: Callable[[Tensor, dist.ProcessGroup | None], Tensor] = _Total.apply


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over processes for CPUs, where torch has none: the definition, by sums over the processes."""

    def __init__(self, of: nn.modules.batchnorm._BatchNorm, group: dist.ProcessGroup | None) -> None:
        super().__init__(of.num_features, of.eps, of.momentum, of.affine)
        self.weight, self.bias = of.weight, of.bias
        self.running_mean, self.running_var = of.running_mean, of.running_var
        self.num_batches_tracked = of.num_batches_tracked
        self.group = group
        self.train(of.training)

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
        count = float(total(torch.tensor(x.numel() / x.shape[1], dtype=torch.float64), self.group))
        mean = _total(x.sum(axes), self.group) / count
        centred = x - mean.view(shape)
        variance = _total(centred.square().sum(axes), self.group) / count
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


def sync_batch_norm(module: nn.Module, device: torch.device, group: dist.ProcessGroup | None = None) -> None:
    """Makes every batch norm within `module` go over all processes (of a group); parameters and their names stay."""
    if device.type == "cuda":
        convert: Callable[..., nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        convert(module, group)
        return
    for name, child in list(module.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, SyncBatchNorm(child, group))
        else:
            sync_batch_norm(child, device, group)
