"""What a run needs, reported before it starts: memory of a process, found without running anything.

The networks are taken through one forward pass on torch's `meta` device, which has shapes and no numbers, and what
autograd would keep for the backward pass is counted. That is what a batch's memory consists of, whatever the backbone
and the method; kernels' work space comes on top.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from curate.pretrain.backbones import Backbone, Block, parameter_count
from curate.pretrain.config import PretrainRecipe
from curate.pretrain.methods import Method

GIB = 2**30
OVERHEAD = 1.1
"""Work space of kernels and holes of the allocator, as a share of what is counted."""
CONTEXT_BYTES = 600 << 20
"""What CUDA takes for itself."""
STATES = {"sgd": 1, "lars": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each one that it learns."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a process needs.

    Attributes:
        state: weights, gradients and the optimiser's numbers.
        picture: kept for the backward pass, for each picture of a micro-batch.
        crops: the crops of a picture; all of the process's share are held.
    """

    state: int
    picture: int
    crops: int

    def total(self, share: int, micro: int) -> int:
        """With `share` pictures a process and `micro` at once."""
        return int(OVERHEAD * (self.state + micro * self.picture + share * self.crops))


def memory(method: Method, recipe: PretrainRecipe, processes: int = 1) -> Memory | None:
    """What the networks need; None where they cannot run without numbers (a user's backbone may look at some)."""
    sizes = [view.size for view in recipe.views() for _ in range(view.count)]
    plain = copy.deepcopy(method)  # what recomputing saves is not counted
    for module in plain.modules():
        if isinstance(module, Backbone):
            module.recompute = False
    try:
        two, four = (_saved(plain, recipe, sizes, count) for count in (2, 4))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None
    crops = sum(3 * 4 * size * size for size in sizes)
    return Memory(state(method, recipe, processes), max(0, four - two) // 2, crops)


def state(method: Method, recipe: PretrainRecipe, processes: int) -> int:
    """Bytes of weights, gradients and the optimiser's numbers in the first process, which has the most."""
    learning = parameter_count(method, lambda p: p.requires_grad)
    held, buffers = parameter_count(method), sum(b.numel() for b in method.buffers())
    numbers = held + learning * (1 + STATES[recipe.optimiser.name])
    if not recipe.shard:
        return 4 * (numbers + buffers)
    blocks = [parameter_count(module) for module in method.modules() if isinstance(module, Block)]
    rest = held - sum(blocks)
    together = 2 * rest + 3 * max(blocks, default=0)  # weights and gradients; the next block is there early
    return 4 * (numbers // processes + buffers + together + parameter_count(method.exported()))


def _saved(method: Method, recipe: PretrainRecipe, sizes: list[int], count: int) -> int:
    """Bytes that autograd keeps of `count` pictures."""
    dtype = torch.float32 if recipe.precision == "fp32" else torch.bfloat16
    shapes = copy.deepcopy(method).to("meta").to(dtype)
    crops = [torch.empty(count, 3, size, size, device="meta", dtype=dtype) for size in sizes]
    labels = torch.zeros(count, dtype=torch.int64, device="meta") if method.needs_labels else None
    noise = torch.empty(count, method.noise, device="meta") if method.noise else None
    own = {t.untyped_storage()._cdata for t in (*shapes.parameters(), *shapes.buffers())}
    kept: dict[int, Any] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        shapes(crops, labels, noise)
    return sum(storage.nbytes() for storage in kept.values())


def lines(need: Memory | None, share: int, micro: int, device: torch.device) -> list[str]:
    """As it is reported."""
    if need is None:
        return ["memory: not known before this backbone runs"]
    wanted = need.total(share, micro)
    text = (
        f"memory: about {wanted / GIB:.1f} GiB a process ({OVERHEAD * need.state / GIB:.1f} for weights and optimiser, "
        f"{OVERHEAD * need.picture / 2**20:.0f} MiB for each of {micro} pictures at once)"
    )
    if device.type != "cuda":
        return [text]
    there = torch.cuda.get_device_properties(device).total_memory
    if wanted + CONTEXT_BYTES <= there:
        return [text]
    return [text, f"warning: the GPU has {there / GIB:.1f} GiB; {smaller(share, micro, fitting(need, share, there))}"]


def fitting(need: Memory, share: int, there: int) -> int:
    """Pictures at once for which so many bytes are enough; at least 2."""
    room = (there - CONTEXT_BYTES) / OVERHEAD - need.state - share * need.crops
    return max(2, int(room / max(need.picture, 1)))


def smaller(share: int, micro: int, most: int) -> str:
    """The setting that takes at most `most` pictures through the network at once, and fewer than `micro`."""
    size = next((n for n in range(min(most, micro - 1), 1, -1) if share % n == 0), None)
    if size is None:
        return "set a smaller --batch, a smaller --arch or --crop-size"
    return f"--set micro_batch={size} takes fewer pictures at once, with the same loss (precision=bf16 halves it)"
