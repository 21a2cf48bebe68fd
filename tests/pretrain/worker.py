"""A few steps of one method in one of several processes (or alone), for comparison: run by test_step.

python -m tests.pretrain.worker OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.pretrain import config, distributed, methods, optim, sharding
from curate.pretrain.backbones import BasicBlock, ResNet
from curate.pretrain.step import Stepper

from .tiny import small_vit, teacher

STEPS, BATCH, CLASSES = 4, 8, 5
SCALE = 126
"""Power of two by which losses are multiplied: so large that gradients of the first step overflow."""
VITS = ("mae", "dinov2")
SHARDED = ("dino", "mae", "mocov3", "swav", "byol")
"""Of these: teachers and their heads, decoders, batch norms, prototypes and a queue, AdamW, LARC and LARS."""
AT_ONCE = {"micro_batch": 2, "precision": "bf16", "recompute": True, "optimiser.clip_grad": 0.01}
"""Settings of a run of DINOv2 with sharded weights."""
SMALL = {
    "swav": {
        "prototypes": 12,
        "queue": 16,
        "queue_from_epoch": 0,
        "freeze_prototypes_steps": 1,
        "hidden": 16,
        "dim": 8,
    },
    "simclr": {"hidden": 16, "dim": 8},
    "moco": {"hidden": 16, "dim": 8, "queue": 16, "momentum": 0.9},
    "byol": {"hidden": 16, "dim": 8, "momentum": 0.9},
    "simsiam": {"hidden": 8, "dim": 16},
    "dino": {"hidden": 16, "bottleneck": 8, "prototypes": 12, "freeze_last_epochs": 0, "momentum": 0.9},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "mocov3": {"hidden": 16, "dim": 8, "momentum": 0.9},
    "barlow_twins": {"dim": 16},
    "vicreg": {"dim": 16},
    "dinov2": {"hidden": 16, "bottleneck": 8, "prototypes": 12, "freeze_last_epochs": 0, "mask_ratio": 0.5}
    | {"momentum": 0.9, "drop_path": 0.0},
    "distillation": {"hidden": 16},
    "supervised": {"loss": "cosface", "scale": 8.0, "embedding": 16},
}


def recipe_of(method: str, **overrides: Any) -> config.PretrainRecipe:
    """A recipe small enough for a test."""
    usual: dict[str, Any] = {"method": method, "arch": "vit_s" if method in VITS else "resnet18"}
    usual |= {"steps": STEPS, "batch": BATCH, "crop_size": 32, "optimiser.warmup_epochs": 0, "optimiser.lr_batch": None}
    usual |= {"optimiser.lr": 0.01, "optimiser.weight_decay": 0.01}
    usual |= {f"{method}.{key}": value for key, value in SMALL[method].items()}
    if method in ("mocov3", "dinov2", "distillation"):  # adamw would make steps of rounding
        usual |= {"optimiser.name": "sgd", "optimiser.clip_grad": None, "optimiser.lr": 1e-4}
    usual |= teacher() if method == "distillation" else {}
    return config.load(None, usual | overrides)


def network(recipe: config.PretrainRecipe, norm: bool = True) -> methods.Method:
    """The method around a tiny backbone; without batch norm on demand."""
    torch.manual_seed(0)
    if recipe.arch == "vit_s":
        return methods.build(small_vit(), recipe, CLASSES).train()
    method = methods.build(ResNet(BasicBlock, (1, 1, 1, 1), width=8), recipe, CLASSES).train()
    if not norm:
        without_norm(method)
    return method


def without_norm(module: torch.nn.Module) -> None:
    """Takes the batch norms out of `module`."""
    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            setattr(module, name, torch.nn.Identity())
        else:
            without_norm(child)


def one(stepper: Stepper, step: int) -> float:
    """One step on the pictures of that step; its loss."""
    world = stepper.world
    share = slice(world.rank * BATCH // world.size, (world.rank + 1) * BATCH // world.size)
    rng = np.random.default_rng(step)
    images = torch.from_numpy(rng.integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8))[share]
    labels = torch.from_numpy(rng.integers(0, CLASSES, BATCH))[share]
    return float(stepper(images, labels, stepper.info(step)))


Trained = tuple[dict[str, torch.Tensor], list[float]]
"""State after some steps (in the first process, where weights are sharded), and their losses."""


def stepper_of(
    recipe: config.PretrainRecipe, world: distributed.World, norm: bool = True, begin: dict[str, Any] | None = None
) -> Stepper:
    """What takes the steps, with the state of a checkpoint where there is one."""
    method = network(recipe, norm)
    if begin is not None:
        method.load_state_dict(begin["method"])
    if world.size > 1 and recipe.sync_bn:
        distributed.sync_batch_norm(method, world.device, distributed.neighbours(recipe.sync_bn_group))
    stepper = Stepper(method, recipe, world, STEPS, 2)
    if begin is not None:
        stepper.resume(begin["optimiser"], begin["scaler"])
    return stepper


def train(
    recipe: config.PretrainRecipe, world: distributed.World, norm: bool = True, save: Path | None = None
) -> Trained:
    """All the steps; half-way a checkpoint is written to `save`."""
    stepper = stepper_of(recipe, world, norm)
    losses = []
    for step in range(STEPS):
        if save is not None and step == STEPS // 2:
            state = dict(zip(("method", "optimiser", "scaler"), stepper.state(), strict=True))
            if world.first:
                torch.save(state, save)
        losses.append(one(stepper, step))
    return stepper.state()[0], losses


def resume(recipe: config.PretrainRecipe, world: distributed.World, saved: Path, **then: Any) -> Trained:
    """The second half of the steps, from the checkpoint of the first.

    Args:
        recipe: of the run.
        world: of this process.
        saved: the checkpoint.
        then: keys of the recipe that are others in the second half.
    """
    distributed.barrier()
    begin = torch.load(saved, weights_only=True)
    stepper = stepper_of(recipe.model_copy(update=then), world, begin=begin)
    losses = [one(stepper, step) for step in range(STEPS // 2, STEPS)]
    return stepper.state()[0], losses


def sharded(world: distributed.World, out: Path) -> dict[str, Any]:
    """Transformers in two processes, with their weights in each and cut up."""
    results: dict[str, Any] = {}
    for method in SHARDED:
        results[f"{method}, in each"] = train(recipe_of(method, arch="vit_s"), world)
        results[f"{method}, sharded"] = train(cut_of(method), world, save=out / f"{method}-sharded.pt")
    for method in ("dino", "swav"):
        results[f"{method}, sharded, resumed"] = resume(cut_of(method), world, out / f"{method}-sharded.pt")
    results["dinov2, in each"] = train(recipe_of("dinov2", **AT_ONCE), world)
    results["dinov2, sharded"] = train(recipe_of("dinov2", shard=True, **AT_ONCE), world)
    results["scaled, in each"] = scaled(recipe_of("dino", arch="vit_s"), world)
    results["scaled, sharded"] = scaled(cut_of("dino"), world)
    results["dino, sharded at first"] = resume(cut_of("dino"), world, out / "dino-sharded.pt", shard=False)
    results["parts"] = parts(world)
    return results


def scaled(recipe: config.PretrainRecipe, world: distributed.World) -> Trained:
    """Steps under loss scaling as for fp16, of which the first overflows; the scale stands after the losses."""
    stepper = stepper_of(recipe, world)
    stepper.optimiser = optim.build(stepper.method, recipe.optimiser, stepper.method.constant_rate, fused=True)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**SCALE, backoff_factor=2.0**-30)
    losses = [one(stepper, step) for step in range(STEPS)]
    return stepper.state()[0], [*losses, stepper.scaler.get_scale()]


def parts(world: distributed.World) -> list[int]:
    """How many weights and momenta are in this process, and how many there are."""
    stepper = stepper_of(cut_of("swav"), world)
    one(stepper, STEPS)
    momenta = [values["momentum"] for values in stepper.optimiser.state.values()]
    weights = list(stepper.method.parameters())
    here = [sum(distributed.local(x).numel() for x in tensors) for tensors in (weights, momenta)]
    return [*here, sum(x.numel() for x in weights), sum(x.numel() for x in momenta)]


def cut_of(method: str) -> config.PretrainRecipe:
    """The recipe of a transformer whose weights are sharded."""
    return recipe_of(method, arch="vit_s", shard=True)


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    world = distributed.world("cpu")
    results = {}
    for method in SMALL:
        results[method] = train(recipe_of(method), world, save=out / f"{method}.pt")
        results[f"{method}, resumed"] = resume(recipe_of(method), world, out / f"{method}.pt")
    if sharding.on_cpu():
        results |= sharded(world, out)
    results["moco, norms apart"] = train(recipe_of("moco", sync_bn=False), world)
    results["simclr, norms apart"] = train(recipe_of("simclr", sync_bn=False), world)
    results["simclr, norms by one"] = train(recipe_of("simclr", sync_bn_group=1), world)
    results["swav in pieces"] = train(recipe_of("swav", micro_batch=2), world, norm=False)
    torch.save(results, out / f"rank{world.rank}.pt")


if __name__ == "__main__":
    main()
