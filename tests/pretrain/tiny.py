"""What tests of methods share: seeded tensors and methods around tiny networks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain import config, methods
from curate.pretrain.backbones import BasicBlock, ResNet, VisionTransformer
from curate.pretrain.methods import StepInfo
from curate.pretrain.weights import save_backbone

START = StepInfo(0, 10, 0.0)


def small_resnet() -> ResNet:
    """A network of a few thousand parameters, for `arch: tests.pretrain.tiny:small_resnet`."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=8)  # of 4, 1 x 1 convolutions of oneDNN corrupt memory (AVX2)


def small_vit() -> VisionTransformer:
    """A transformer of a few thousand parameters."""
    return VisionTransformer(16, 2, 2, grid=2)


def teacher() -> dict[str, str]:
    """Keys of a teacher of the same kind with weights of its own, in a file."""
    path = Path(tempfile.gettempdir()) / f"curate-tests-teacher-{os.getuid()}/backbone.pt"
    if not path.exists():
        with torch.random.fork_rng():
            torch.manual_seed(7)
            save_backbone(small_resnet(), path)
    return {"distillation.teacher": str(path), "distillation.teacher_arch": "tests.pretrain.tiny:small_resnet"}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(random(*shape, seed=seed), dim=-1)


def tiny(method: str, **overrides: Any) -> methods.Method:
    """A method around a network of a few thousand parameters."""
    torch.manual_seed(0)
    usual = {"method": method, "steps": 10, "batch": 4, "crop_size": 32, "arch": "resnet18"}
    if method == "mae":
        usual |= {"arch": "vit_s", "mae.decoder_dim": 16, "mae.decoder_depth": 1, "mae.decoder_heads": 2}
    if method == "dino":
        usual |= {"dino.hidden": 16, "dino.bottleneck": 8, "dino.prototypes": 12}
    if method in ("swav", "simclr", "moco", "byol", "simsiam"):
        usual |= {f"{method}.hidden": 16, f"{method}.dim": 8}
    if method == "swav":
        usual |= {"swav.prototypes": 12, "swav.queue": 0, "swav.freeze_prototypes_steps": 2}
    if method in ("barlow_twins", "vicreg"):
        usual |= {f"{method}.dim": 8}
    if method == "mocov3":
        usual |= {"mocov3.hidden": 16, "mocov3.dim": 8}
    if method == "dinov2":
        usual |= {"arch": "vit_s", "dinov2.hidden": 16, "dinov2.bottleneck": 8, "dinov2.prototypes": 12}
        usual |= {"dinov2.mask_ratio": 0.5}
    if method == "distillation":
        usual |= {"distillation.hidden": 16} | teacher()
    recipe = config.load(None, usual | overrides)
    vit = method in ("mae", "dinov2")
    backbone = small_vit() if vit else small_resnet()
    return methods.build(backbone, recipe, classes=5).train()


def crops(method: methods.Method, n: int = 4) -> list[Tensor]:
    count = 4 if method.most_crops is None else method.most_crops
    return [random(n, 3, 32 if i < 2 else 16, 32 if i < 2 else 16, seed=i) for i in range(count)]


def noise(method: methods.Method, n: int = 4) -> Tensor | None:
    return torch.rand(n, method.noise, generator=torch.Generator().manual_seed(9)) if method.noise else None


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
