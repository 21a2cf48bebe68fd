"""Weights of backbones on disk: ours, the paper's, torchvision's, timm's, and those of other trainers.

Whatever wraps the backbone's parameters in the file (a dictionary of a training run, `module.base_net.`, `backbone.`,
a classifier) is looked through. Files are read with `weights_only`, so that none can run code.
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from curate.choices import ARCHITECTURES
from curate.errors import UsageError, one_line
from curate.pretrain.backbones import PATCH, Backbone, Foreign, Pool, VisionTransformer, build, patch_of
from curate.storage.files import atomic_write

WRAPPERS = ("state_dict", "model", "teacher", "backbone", "method")
"""Keys under which trainers keep the parameters (the last one: our `checkpoints/last.pt`), tried in this order."""
CLASSIFIERS = ("fc.", "head.", "head_dist.", "fc_norm.", "classifier.")
"""Beginnings of names that belong to no backbone (but for `head.norm` of a ConvNeXt), which are left out."""
Channels = tuple[float, float, float]
"""Of red, green and blue."""
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
MARKS = ("conv1.weight", "patch_embed.proj.weight", "stem.0.weight")
"""A parameter that every ResNet, transformer and ConvNeXt has, by which the wrapping is recognised."""


def load_backbone(path: Path, arch: str | None = None, pool: Pool = "token") -> Backbone:
    """A backbone with the weights of a file.

    Args:
        path: what was saved.
        arch: which backbone it is; None: as the file's shapes say.
        pool: see `curate.pretrain.backbones.build`.

    Raises:
        UsageError: the file is missing, is no file of weights, or does not fit `arch`.
    """
    if arch is not None:
        backbone = build(arch, pool=pool)
        load_into(backbone, path, arch)
        return backbone
    state = read_state(path)
    found = architecture(state)
    if found is None:
        raise UsageError(f"{path}: holds no backbone known here ({', '.join(ARCHITECTURES)}); name it with --arch")
    backbone = build(found, pool=pool)
    fill(backbone, state, path, found)
    return backbone


def run_of(path: Path) -> dict[str, Any]:
    """`config.yaml` of the run that made a `backbone.pt`, as it stands beside it; empty where there is none."""
    try:
        values = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # whatever lies beside the weights of others
    return values if isinstance(values, dict) else {}


def normalisation_of(path: Path) -> tuple[Channels, Channels]:
    """What the pictures of a file's backbone are normalised with: `augment` of its run, else ImageNet's.

    Returns:
        Mean and standard deviation of red, green and blue, of pictures in [0, 1].

    Raises:
        UsageError: the run's are not three numbers each, the deviations above 0.
    """
    told = run_of(path).get("augment")
    told = told if isinstance(told, dict) else {}
    found = []
    for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        values = told.get(name, usual)
        try:
            red, green, blue = (float(value) for value in values)
        except (TypeError, ValueError):
            red = green = blue = math.nan
        if not all(math.isfinite(v) and (v > 0 or name == "mean") for v in (red, green, blue)):
            raise UsageError(f"{path.parent / 'config.yaml'}: augment.{name} = {values!r}: three numbers are wanted")
        found.append((red, green, blue))
    return found[0], found[1]


def load_into(backbone: Backbone, path: Path, arch: str) -> None:
    """Fills `backbone`, which is an `arch`, with the weights of a file.

    Raises:
        UsageError: as for `load_backbone`.
    """
    mark = next(iter(backbone.plain().state_dict()), None) if isinstance(backbone, Foreign) else None
    fill(backbone, read_state(path, mark), path, arch)


def save_backbone(backbone: Backbone, path: Path) -> None:
    """Writes a plain state dict in full precision, whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    state = {
        name: (value.float() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in backbone.plain().state_dict().items()
    }
    write(state, path)


def write(value: Any, path: Path) -> None:
    """`torch.save`, whole or not at all, with the disk's own error where it fails.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch hides what the file said
            raise (error.__cause__ if isinstance(error.__cause__, OSError) else OSError(0, str(error))) from error


def read_state(path: Path, mark: str | None = None) -> dict[str, Tensor]:
    """The backbone's parameters in a file, by their plain names.

    Args:
        path: of the file.
        mark: a parameter that the backbone has; None: one of `MARKS`.

    Raises:
        UsageError: the file is missing, is no file of weights, or holds no backbone.
    """
    content = _read(path)
    for key in WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            content = inner
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    marks = MARKS if mark is None else (mark,)
    prefixes = [name.removesuffix(mark) for mark in marks for name in tensors if _ends(name, mark)]
    if not prefixes:
        known = "so no ResNet, vision transformer or ConvNeXt" if mark is None else "which this network has"
        raise UsageError(f"{path}: holds no {', '.join(marks)}, {known}")
    # of a student and a teacher, the teacher is what DINO learns
    prefix = min(prefixes, key=lambda p: ("base_net" not in p, "teacher" not in p, len(p)))
    plain = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if mark is not None:
        return plain
    return {n: value for n, value in plain.items() if n.startswith("head.norm.") or not n.startswith(CLASSIFIERS)}


def architecture(state: Mapping[str, Tensor]) -> str | None:
    """Which of our backbones a state dict belongs to, by its names and shapes; None if to none."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    patch = shapes.get("patch_embed.proj.weight", (PATCH,))[-1]
    for arch in (arch if patch_of(arch) in (None, patch) else f"{arch}/{patch}" for arch in ARCHITECTURES):
        with torch.device("meta"):
            ours = {
                name: tuple(value.shape)
                for name, value in build(arch).state_dict().items()
                if name != "pos_embed" and not name.endswith("num_batches_tracked")
            }
        if all(shapes.get(name) == shape for name, shape in ours.items()):
            return arch
    return None


def fill(backbone: Backbone, state: Mapping[str, Tensor], path: Path, arch: str) -> None:
    """Copies `state` into `backbone`; position embeddings of another grid are interpolated.

    Raises:
        UsageError: it does not fit; says what and, if known, which backbone it belongs to.
    """
    ours = backbone.plain().state_dict()
    state = dict(state)
    if isinstance(backbone, VisionTransformer) and "pos_embed" in state:
        state["pos_embed"] = _regrid(state["pos_embed"], ours["pos_embed"])
    for name in ours:
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros((), dtype=torch.int64))
    missing = sorted(ours.keys() - state.keys())
    extra = sorted(state.keys() - ours.keys())
    shaped = [name for name in ours if name in state and state[name].shape != ours[name].shape]
    if missing or extra or shaped:
        found = architecture(state)
        if shaped:
            name = shaped[0]
            what = f"{name} is {_shape(state[name])}, not {_shape(ours[name])} (and {len(shaped) - 1} more)"
        else:
            what = f"no {missing[0]} ({len(missing)} missing)" if missing else f"unknown {extra[0]} ({len(extra)} such)"
        mend = f"use --arch {found}" if found and found != arch else "is it another network?"
        raise UsageError(f"{path}: does not fit {arch}: {what}; {mend}")
    backbone.plain().load_state_dict(state)


def refuse_folder(path: Path) -> None:
    """Sees that weights are not asked of a folder.

    Raises:
        UsageError: it is one; a run's `backbone.pt` is named.
    """
    if path.is_dir():
        inside = path / "backbone.pt"
        mend = f"name {inside}" if inside.is_file() else "name a file of weights"
        raise UsageError(f"{path}: is a folder; {mend}")


def _read(path: Path) -> Mapping[Any, Any]:
    refuse_folder(path)
    try:
        # Others save their settings beside the weights; of odd pickles torch warns, then reads them or refuses.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file of weights") from None
    except pickle.UnpicklingError as error:  # torch's own text advises to read the file without a check
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            name = one_line(asked[1], 80)
            raise UsageError(
                f"{path}: cannot be read as a file of weights: it asks for code to be run ({name}); "
                "save model.state_dict() instead"
            ) from None
        raise UsageError(f"{path}: cannot be read as a file of weights ({type(error).__name__})") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        what = type(error).__name__ if isinstance(error, KeyError) or not str(error).strip() else one_line(error, 160)
        raise UsageError(f"{path}: cannot be read as a file of weights ({what})") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _ends(name: str, mark: str) -> bool:
    return name == mark or (name.endswith("." + mark) and "layer" not in name)


def _regrid(theirs: Tensor, ours: Tensor) -> Tensor:
    """Position embeddings [1, 1 + g * g, d] for the grid of `ours`."""
    if theirs.shape == ours.shape or theirs.dim() != 3 or theirs.shape[2] != ours.shape[2]:
        return theirs
    old, new = round((theirs.shape[1] - 1) ** 0.5), round((ours.shape[1] - 1) ** 0.5)
    if old * old + 1 != theirs.shape[1]:
        return theirs
    table = theirs[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table.float(), (new, new), mode="bicubic", align_corners=False)
    return torch.cat((theirs[:, :1].float(), table.flatten(2).transpose(1, 2)), 1)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"
