"""Weights cut up among the processes: of every parameter, its gradient and the optimiser's numbers each holds a part.

The third stage of Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", as
torch's `fully_shard` has it. A block of a transformer is put together while it computes; what else a method has
(embeddings, heads) from its forward to its backward pass. Weights are put together in full precision and products are
those of the run's `precision`, so losses are those of a run that shards nothing, up to rounding. Checkpoints hold whole
tensors, so a run can go on in another number of processes, or without sharding.

torch loads its part for this when it is used: that takes a second.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from curate.errors import UsageError
from curate.pretrain.backbones import Backbone, Block, VisionTransformer
from curate.pretrain.distributed import World, is_sharded


def refuse_unfit(backbone: Backbone, arch: str, world: World) -> None:
    """Raises UsageError where sharding makes no sense; says what to do instead."""
    if not isinstance(backbone, VisionTransformer):
        raise UsageError(f"shard: not for {arch}, only for our transformers (vit_s, vit_b, vit_l); use micro_batch")
    if world.device.type == "cpu" and not on_cpu():
        raise UsageError(f"shard: torch {torch.__version__} does it on GPUs alone; use a newer torch, or leave it out")
    if world.size == 1:
        raise UsageError("shard: there is one process, so nothing to share; start more by torchrun, or leave it out")


def on_cpu() -> bool:
    """Whether this torch can do it on CPUs (2.6 cannot)."""
    return hasattr(torch.cpu.Stream, "record_event")


def shard(method: nn.Module, world: World) -> None:
    """Cuts up a method's parameters in place; their names stay. Buffers stay whole in every process."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # torch warns of operations in place on what a method gives; nothing does them
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in method.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    fully_shard(method, mesh=mesh, reshard_after_forward=False)


def whole(state: Any, keep: bool) -> Any:
    """A state dict with its tensors put together again, on the CPU. Every process takes part.

    Args:
        state: tensors in a tree of plain containers.
        keep: whether this process gets them; others get None in their place.
    """

    def one(x: Tensor) -> Tensor | None:
        together = x.full_tensor() if is_sharded(x) else x  # type: ignore[attr-defined]
        return together.cpu() if keep else None

    return tree_map_only(Tensor, one, state)


def cut(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state dict of whole tensors, cut up like the parameters that they belong to."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    parameters = [p for group in optimiser.param_groups for p in group["params"]]

    def one(x: Any, like: nn.Parameter) -> Any:
        if isinstance(like, DTensor) and isinstance(x, Tensor) and x.shape == like.shape:
            return distribute_tensor(x.to(like.device), like.device_mesh, like.placements)
        return x

    numbers = {
        index: {name: one(value, parameters[index]) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return state | {"state": numbers}
