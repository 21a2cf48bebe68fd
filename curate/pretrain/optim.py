"""Optimisers and schedules: SGD with LARC, LARS, AdamW; warm-up, cosine; weight decay and what is left out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from curate.pretrain.config import Optimiser
from curate.pretrain.distributed import is_sharded, local, norms

EPSILON = 1e-8
"""Keeps LARC's ratio finite, as in its authors' code."""


@dataclass(frozen=True)
class Cosine:
    """A value that rises in a line over the warm-up, then falls along half a cosine.

    Attributes:
        begin: at the first step of the warm-up.
        peak: at its last step, and where the cosine begins.
        end: where the cosine would be one step after the run.
        warmup: steps of the warm-up.
        steps: of the whole run.
    """

    begin: float
    peak: float
    end: float
    warmup: int
    steps: int

    def at(self, step: int) -> float:
        """The value at a step, from 0."""
        if step < self.warmup:
            return self.begin + (self.peak - self.begin) * step / max(self.warmup - 1, 1)
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.end + 0.5 * (self.peak - self.end) * (1 + math.cos(math.pi * share))


def learning_rate(recipe: Optimiser, batch: int, steps: int, steps_per_epoch: int) -> Cosine:
    """The learning rate over a run: the recipe's rates scaled by `batch / lr_batch`, or by its square root."""
    scale = batch / recipe.lr_batch if recipe.lr_batch else 1.0
    scale = math.sqrt(scale) if recipe.lr_scaling == "sqrt" else scale
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), steps)
    final = recipe.final_lr * (scale if recipe.scale_final_lr else 1.0)
    return Cosine(recipe.warmup_lr * scale, recipe.lr * scale, final, warmup, steps)


def weight_decay(recipe: Optimiser, steps: int) -> Cosine:
    """The weight decay over a run."""
    final = recipe.weight_decay if recipe.final_weight_decay is None else recipe.final_weight_decay
    return Cosine(recipe.weight_decay, recipe.weight_decay, final, 0, steps)


def build(
    module: nn.Module, recipe: Optimiser, constant: Iterable[str] = (), fused: bool | None = None
) -> torch.optim.Optimizer:
    """An optimiser of all parameters of `module` that learn.

    Args:
        module: whose parameters.
        recipe: kind and settings.
        constant: beginnings of names of parameters whose learning rate stays at its highest.
        fused: torch's kernels that do the whole update at once, which loss scaling needs not to wait; None: as torch
            chooses.
    """
    groups = _groups(module, recipe, tuple(constant))
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, recipe.betas, weight_decay=recipe.weight_decay, fused=fused)
    if recipe.name == "lars":
        return Lars(groups, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.trust)
    if recipe.larc:
        return Larc(groups, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.trust)
    return torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=fused)


def set_rates(optimiser: torch.optim.Optimizer, rate: Cosine, decay: Cosine, step: int) -> None:
    """Sets the learning rate and weight decay of every group for one step."""
    for group in optimiser.param_groups:
        group["lr"] = rate.peak if group["constant"] else rate.at(step)
        group["weight_decay"] = 0.0 if group["excluded"] else decay.at(step)


def clip(parameters: Iterable[nn.Parameter], norm: float, sharded: bool = False) -> None:
    """Scales each parameter's gradient down to `norm` where it is longer, each for itself (as DINO does)."""
    gradients = [local(p.grad) for p in parameters if p.grad is not None]
    scales = [(norm / (n + 1e-6)).clamp(max=1.0) for n in norms(gradients, sharded)]
    torch._foreach_mul_(gradients, scales)


def _groups(module: nn.Module, recipe: Optimiser, constant: tuple[str, ...]) -> list[dict[str, Any]]:
    """Parameters by whether they are left out of decay and whether their rate is constant; empty groups left out."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            excluded = recipe.exclude_1d and (parameter.dim() <= 1 or name.endswith(".bias"))
            key = excluded, bool(constant) and name.startswith(constant)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": p, "excluded": excluded, "constant": still}
        for (excluded, still), p in sorted(groups.items(), key=lambda item: item[0])
    ]


class _Momentum(torch.optim.Optimizer):
    """SGD with momentum of gradients that a subclass rescales layer by layer.

    Under loss scaling, `torch.amp.GradScaler` says on the device whether gradients overflowed, and nothing moves then
    (`_step_supports_amp_scaling`), so that no step waits for the answer.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float, trust: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.sharded = any(is_sharded(p) for group in groups for p in group["params"])

    def rescaled(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
        """What is added to the momentum for layers that are not left out; of sharded ones, of this process's part."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's own overloads
        """One update."""
        loss = closure() if closure else None
        overflow: Tensor | None = getattr(self, "found_inf", None)  # set by torch.amp.GradScaler
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                if "momentum" not in self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [local(self.state[p]["momentum"]) for p in parameters]
            gradients, parameters = [local(p.grad) for p in parameters], [local(p) for p in parameters]
            if not group["excluded"]:
                gradients = self.rescaled(parameters, gradients, group["weight_decay"], group["trust"])
            if overflow is not None:  # where loss scaling overflowed, nothing moves, and nobody waits to learn it
                gradients = [torch.where(overflow > 0, 0.0, g) for g in gradients]
                torch._foreach_mul_(momenta, 1 - (1 - group["momentum"]) * (1 - overflow))
                torch._foreach_add_(momenta, gradients)
                moved = torch._foreach_mul(momenta, 1 - overflow)
                torch._foreach_add_(parameters, moved, alpha=-group["lr"])
                continue
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            torch._foreach_add_(parameters, momenta, alpha=-group["lr"])
        return loss


class Larc(_Momentum):
    """SGD with layer-wise adaptive rates (LARC, without clipping), as SwAV uses it.

    The gradient of a layer with weights w becomes trust * |w| / (|g| + decay * |w|) * (g + decay * w); a layer of
    zeros keeps its gradient. Source: You et al. 2017 (LARS, eq. 6), in the form of NVIDIA's LARC.
    """

    def rescaled(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
        """See the class."""
        scales = []
        for w, g in zip(norms(parameters, self.sharded), norms(gradients, self.sharded), strict=True):
            ratio = trust * w / (g + decay * w + EPSILON)
            scales.append(torch.where(w > 0, torch.where(g > 0, ratio, 0.0), 1.0))
        decayed = torch._foreach_add(gradients, parameters, alpha=decay)
        torch._foreach_mul_(decayed, scales)
        return list(decayed)


class Lars(_Momentum):
    """LARS (You et al. 2017, alg. 1) as SimCLR and BYOL use it.

    The update of a layer with weights w and decayed gradient u = g + decay * w is trust * |w| / |u| * u; where either
    is zero, u itself.
    """

    def rescaled(self, parameters: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
        """See the class."""
        decayed = list(torch._foreach_add(gradients, parameters, alpha=decay))
        scales = [
            torch.where((w > 0) & (u > 0), trust * w / u, 1.0)
            for w, u in zip(norms(parameters, self.sharded), norms(decayed, self.sharded), strict=True)
        ]
        torch._foreach_mul_(decayed, scales)
        return decayed
