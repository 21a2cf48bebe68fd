"""A few steps of one method in one of several processes (or alone), for comparison: run by test_step.

python -m tests.pretrain.worker OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.pretrain import config, distributed, methods
from curate.pretrain.backbones import BasicBlock, ResNet, VisionTransformer
from curate.pretrain.step import Stepper

from .tiny import teacher

STEPS, BATCH, CLASSES = 4, 8, 5
VITS = ("mae", "dinov2")
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
    if method in (
        "dinov2",
        "distillation",
    ):  # adamw would make steps of rounding
        usual |= {"optimiser.name": "sgd", "optimiser.clip_grad": None, "optimiser.lr": 1e-4}
    usual |= teacher() if method == "distillation" else {}
    return config.load(None, usual | overrides)


def network(recipe: config.PretrainRecipe, norm: bool = True) -> methods.Method:
    """The method around a tiny backbone; without batch norm on demand."""
    torch.manual_seed(0)
    if recipe.arch == "vit_s":
        return methods.build(VisionTransformer(16, 2, 2, grid=2), recipe, CLASSES).train()
    method = methods.build(ResNet(BasicBlock, (1, 1, 1, 1), width=4), recipe, CLASSES).train()
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


def train(
    recipe: config.PretrainRecipe, world: distributed.World, norm: bool = True
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """State after the steps, and their losses."""
    method = network(recipe, norm)
    if world.size > 1 and recipe.sync_bn:
        distributed.sync_batch_norm(method, world.device, distributed.neighbours(recipe.sync_bn_group))
    stepper = Stepper(method, recipe, world, STEPS, 2)
    losses = [one(stepper, step) for step in range(STEPS)]
    return method.state_dict(), losses


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with distributed.world("cpu") as world:
        results = {}
        for method in SMALL:
            results[method] = train(recipe_of(method), world)
        results["moco, norms apart"] = train(recipe_of("moco", sync_bn=False), world)
        results["simclr, norms apart"] = train(recipe_of("simclr", sync_bn=False), world)
        results["simclr, norms by one"] = train(recipe_of("simclr", sync_bn_group=1), world)
        results["swav in pieces"] = train(recipe_of("swav", micro_batch=2), world, norm=False)
        torch.save(results, out / f"rank{world.rank}.pt")


if __name__ == "__main__":
    main()
