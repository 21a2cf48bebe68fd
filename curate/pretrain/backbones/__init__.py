"""The networks that are pre-trained.

ResNets and ConvNeXts (`resnet.py`, `convnext.py`) and vision transformers (`vit.py`) are written out here, so that
torchvision and timm are not needed, and named alike, so that `backbone.pt` loads in them and theirs load here.
Anybody's network comes by `MODULE:FUNCTION` or a name of timm (`foreign.py`). A backbone has no classifier: it maps
pictures to one vector each, or to feature maps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from curate.choices import ARCHITECTURES
from curate.errors import UsageError
from curate.pretrain.backbones.base import Backbone, Pool, parameter_count
from curate.pretrain.backbones.convnext import ConvNeXt
from curate.pretrain.backbones.foreign import Foreign, from_function, from_timm
from curate.pretrain.backbones.resnet import BasicBlock, Bottleneck, ResNet
from curate.pretrain.backbones.vit import Block, VisionTransformer, init_linear, init_xavier, sincos_positions

__all__ = [
    "PATCH",
    "Backbone",
    "BasicBlock",
    "Block",
    "Bottleneck",
    "ConvNeXt",
    "Foreign",
    "Pool",
    "ResNet",
    "VisionTransformer",
    "build",
    "init_linear",
    "init_xavier",
    "parameter_count",
    "patch_of",
    "sincos_positions",
]

PLAIN: dict[str, Callable[[], Backbone]] = {
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    "resnet18_half": partial(ResNet, BasicBlock, (2, 2, 2, 2), 32),
    "resnet34": partial(ResNet, BasicBlock, (3, 4, 6, 3)),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3)),
    "convnext_t": partial(ConvNeXt, (3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_s": partial(ConvNeXt, (3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_b": partial(ConvNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
}
TRANSFORMERS: dict[str, tuple[int, int, int]] = {
    "vit_s": (384, 12, 6),
    "vit_b": (768, 12, 12),
    "vit_l": (1024, 24, 16),
}
"""Width, depth and heads."""
PATCH, SIDE = 16, 224
"""Of a patch, where the name says nothing, and of the pictures whose grid has learned positions; pixels."""
_TRANSFORMER = re.compile(rf"({'|'.join(TRANSFORMERS)})(?:/(\d+))?")


def patch_of(arch: str) -> int | None:
    """Side of a patch of our transformers, pixels; None for any other network: `vit_s` has 16, `vit_s/8` has 8."""
    found = _TRANSFORMER.fullmatch(arch)
    return int(found[2] or PATCH) if found else None


def build(arch: str, *, pool: Pool = "token", drop_path: float = 0.0) -> Backbone:
    """A backbone with fresh weights drawn from torch's global generator.

    Args:
        arch: one of `ARCHITECTURES`; a transformer with another patch, as `vit_b/14`; `MODULE:FUNCTION`, a function
            without arguments that gives a `torch.nn.Module`; or a name that timm knows, where timm is installed.
        pool: for our transformers, the class token or the mean of the patch tokens as feature.
        drop_path: for our transformers, the rate of stochastic depth in the last block (linear from 0 in the first).

    Raises:
        UsageError: `arch` is none of these, or what it names cannot be used.
    """
    if arch in PLAIN:
        return PLAIN[arch]()
    patch = patch_of(arch)
    if patch is not None:
        if not 4 <= patch <= SIDE // 2:
            raise UsageError(
                f"arch = {arch}: patches of 4 to {SIDE // 2} pixels are possible, for example {arch[:5]}/14"
            )
        width, depth, heads = TRANSFORMERS[arch.partition("/")[0]]
        shape = {"patch": patch, "grid": SIDE // patch}
        return VisionTransformer(width, depth, heads, pool=pool, drop_path=drop_path, **shape)
    if ":" in arch:
        return from_function(arch)
    found = from_timm(arch)
    if found is None:
        raise UsageError(
            f"arch = {arch}: none of {', '.join(ARCHITECTURES)}, vit_s/PATCH, MODULE:FUNCTION or (where timm is "
            "installed) a name of timm"
        )
    return found
