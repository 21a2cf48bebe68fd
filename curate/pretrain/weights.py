"""Weights of backbones on disk: ours, the paper's, torchvision's, timm's, and those of other trainers.

Dictionaries of any depth and prefixes of any kind (`state_dict`, `module.base_net.`, `_feature_blocks.`) are looked
through. What a file holds beside the backbone (heads, prototypes, decoders, other networks, an optimiser) is left
aside, and said. Files are read with `weights_only`, so that none can run code.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import takewhile
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from curate.choices import ARCHITECTURES
from curate.errors import UsageError, one_line
from curate.pretrain.backbones import PATCH, Backbone, Foreign, Pool, VisionTransformer, build, patch_of
from curate.pretrain.normalisation import run_of
from curate.progress import say
from curate.storage.files import atomic_write

MARKS = ("conv1.weight", "patch_embed.proj.weight", "stem.0.weight")
"""A parameter that every ResNet, transformer and ConvNeXt has, by which the wrapping is recognised."""
SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Names in a ResNet that was made a plain sequence of its parts, as lightly's examples do."""
OWN: tuple[str, ...] = (
    *("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.", "patch_embed.", "blocks.", "norm.", "cls_token"),
    *("pos_embed", "register_tokens", "reg_token", "dist_token", "norm_pre.", "pre_norm."),
    *("stem.", "stages.", "head.norm."),
)
"""Beginnings of names that belong to a backbone: one that is not ours makes it another network. All else beside is a
head or the like, which a backbone does without."""
PREFERRED = (r"base_net", r"teacher", r"(^|[._])(ema|swa)([._]|$)", r"", r"student", r"momentum|encoder_k|target")
"""Of several networks in a file the first that is one of these: the paper's, DINO's teacher, averaged weights; the slow
copy of MoCo and BYOL last."""


def load_backbone(path: Path, arch: str | None = None, pool: Pool = "token") -> Backbone:
    """A backbone with the weights of a file.

    Args:
        path: what was saved.
        arch: which backbone it is; None: as the file's shapes say.
        pool: see `curate.pretrain.backbones.build`.

    Raises:
        UsageError: the file is missing, is no file of weights, or does not fit `arch`.
    """
    backbone, note = backbone_and_note(path, arch, pool)
    if note:
        say(note)
    return backbone


def backbone_and_note(path: Path, arch: str | None = None, pool: Pool = "token") -> tuple[Backbone, str]:
    """See `load_backbone`; and the line on what was left aside ("" for nothing), which is not said.

    Raises:
        UsageError: as for `load_backbone`.
    """
    if arch := arch or _others(path):
        backbone = build(arch, pool=pool)
        found = read_weights(path, _mark_of(backbone))
        fill(backbone, found.state, path, arch)
        return backbone, found.note
    found = read_weights(path)
    arch = architecture(found.state)
    if arch is None:
        stem = next(f"{mark} is {_shape(found.state[mark])}" for mark in MARKS if mark in found.state)
        blocks = {tuple(n.split(".")[:2]) for n in found.state if n.startswith(("layer", "blocks", "stages"))}
        raise UsageError(
            f"{path}: holds no backbone known here ({', '.join(ARCHITECTURES)}): its {stem}, with {len(blocks)} "
            "blocks; name it with --arch"
        )
    backbone = build(arch, pool=pool)
    fill(backbone, found.state, path, arch)
    return backbone, found.note


def _others(path: Path) -> str | None:
    """The network of others that the run beside a `backbone.pt` trained; None: it is one of ours, or there is no run.

    Raises:
        UsageError: it is made by code, which no file beside weights may choose.
    """
    run = run_of(path)
    said = run.get("arch")
    if "provenance" not in run or not isinstance(said, str) or said.partition("/")[0] in ARCHITECTURES:
        return None  # other trainers have configurations, too
    if ":" in said:
        raise UsageError(
            f"{path}: is of a network that code makes, and its run names {said}; if you trust that code, "
            f"curate evaluate takes it with --arch {said}"
        )
    return said


def load_into(backbone: Backbone, path: Path, arch: str) -> None:
    """Fills `backbone`, which is an `arch`, with the weights of a file.

    Raises:
        UsageError: as for `load_backbone`.
    """
    found = read_weights(path, _mark_of(backbone))
    if found.note:
        say(found.note)
    fill(backbone, found.state, path, arch)


def _mark_of(backbone: Backbone) -> str | None:
    """A parameter by which a network that is none of ours is found in a file; None for ours, which have `MARKS`."""
    return next(iter(backbone.plain().state_dict()), None) if isinstance(backbone, Foreign) else None


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


@dataclass(frozen=True, eq=False)
class FileWeights:
    """A backbone's parameters in a file, by their plain names, and one line on what was left aside ("" for nothing)."""

    state: dict[str, Tensor]
    note: str


def read_weights(path: Path, mark: str | None = None) -> FileWeights:
    """The backbone's parameters in a file.

    Args:
        path: of the file.
        mark: a parameter that the backbone has; None: one of `MARKS`.

    Raises:
        UsageError: the file is missing, is no file of weights, or holds no backbone; says what it holds.
    """
    tensors = dict(_tensors(_read(path)))
    networks = {prefix: _plain(tensors, prefix, mark) for prefix in _prefixes(tensors, mark)}
    if not networks:
        known = "which this network has" if mark else "so no ResNet, vision transformer or ConvNeXt"
        held = _grouped(tensors, tensors) or "no tensors"
        raise UsageError(f"{path}: holds no {', '.join(MARKS if mark is None else (mark,))}, {known}, but {held}")

    def rank(prefix: str) -> tuple[bool, int, int]:
        kind = next(i for i in (0, 1, 2, 4, 5, 3) if re.search(PREFERRED[i], prefix))
        return architecture(networks[prefix]) is None, kind, len(prefix)

    chosen = min(networks, key=rank)
    used = {id(value) for value in networks[chosen].values()}
    aside = [name for name, value in tensors.items() if not (name.startswith(chosen) and id(value) in used)]
    averaged = f" (averaged weights, {chosen.rstrip('.')}, are preferred)" if re.search(PREFERRED[2], chosen) else ""
    note = f"{path}: left aside{averaged}: {_grouped(aside, tensors, chosen)}" if aside else ""
    return FileWeights(networks[chosen], note)


def _tensors(content: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, or array of numbers as one, in nested dictionaries, by the keys that lead to it."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            yield f"{prefix}{key}", torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _tensors(value, f"{prefix}{key}.", depth + 1)


_DEEPEST = 20
"""Dictionaries in dictionaries that are looked into."""


def _prefixes(tensors: Mapping[str, Tensor], mark: str | None) -> list[str]:
    """What stands before the names of each network's parameters."""
    if mark is not None:
        return [name.removesuffix(mark) for name in tensors if _ends(name, mark)]
    found = [name.removesuffix(mark) for mark in MARKS for name in tensors if _ends(name, mark)]
    starts = [name.removesuffix("0.weight") for name in tensors if _ends(name, "0.weight")]
    return found + [start for start in starts if f"{start}4.0.conv1.weight" in tensors]


def _plain(tensors: Mapping[str, Tensor], prefix: str, mark: str | None) -> dict[str, Tensor]:
    """One network's parameters by their plain names; of our networks without their heads."""
    if mark is not None:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    names = {name: _renamed(name, prefix) for name in tensors if name.startswith(prefix)}
    return {plain: tensors[name] for name, plain in names.items() if plain.startswith(OWN)}


def _renamed(name: str, prefix: str) -> str:
    plain = name.removeprefix(prefix)
    first, dot, rest = plain.partition(".")
    return f"{SEQUENTIAL[first]}.{rest}" if dot and first in SEQUENTIAL else plain


def _grouped(names: Iterable[str], every: Iterable[str], chosen: str = "") -> str:
    """Names of tensors by what distinguishes them, with how many there are: `projection_head (9), prototypes (1)`.

    Args:
        every: all names of the file; what they begin with alike is not repeated.
        chosen: what the chosen network's names begin with; it is not repeated either.
    """
    parts = zip(*(name.split(".")[:-1] for name in every), strict=False)
    alike = len(list(takewhile(lambda words: len(set(words)) == 1, parts)))

    def label(name: str) -> str:
        if chosen and name.startswith(chosen):
            return name.removeprefix(chosen).split(".")[0]
        return name.split(".")[min(alike, name.count("."))]

    counts = Counter(map(label, names))
    shown = [one_line(f"{name} ({count})", 60) for name, count in counts.most_common(6)]
    return ", ".join(shown) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


def architecture(state: Mapping[str, Tensor]) -> str | None:
    """Which of our backbones a state dict belongs to, by its names and shapes; None if to none."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    patch = shapes.get("patch_embed.proj.weight", (PATCH,))[-1]
    for arch in (arch if patch_of(arch) in (None, patch) else f"{arch}/{patch}" for arch in ARCHITECTURES):
        if all(shapes.get(name) == shape for name, shape in _shapes_of(arch).items()):
            return arch
    return None


@cache
def _shapes_of(arch: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a backbone's parameters, but for those that are interpolated or made up."""
    with torch.device("meta"):
        state = build(arch).state_dict()
    left_out = ("pos_embed", "num_batches_tracked")
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(left_out)}


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
        fix = f"use --arch {found}" if found and found != arch else "is it another network?"
        raise UsageError(f"{path}: does not fit {arch}: {what}; {fix}")
    backbone.plain().load_state_dict(state)


def refuse_folder(path: Path) -> None:
    """Sees that weights are not asked of a folder.

    Raises:
        UsageError: it is one; a run's `backbone.pt` is named.
    """
    if path.is_dir():
        inside = path / "backbone.pt"
        fix = f"name {inside}" if inside.is_file() else "name a file of weights"
        raise UsageError(f"{path}: is a folder; {fix}")


def _read(path: Path) -> Mapping[Any, Any]:
    refuse_folder(path)
    try:
        # Others save their settings beside the weights; of odd pickles torch warns, then reads them or refuses.
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
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
        raise UsageError(f"{path}: cannot be read as a file of weights (it is none that torch.save writes)") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        bare = isinstance(error, KeyError | EOFError) or not str(error).strip()
        what = "it is none that torch.save writes" if bare else one_line(error, 160)
        raise UsageError(f"{path}: cannot be read as a file of weights ({what})") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


_HARMLESS: list[Any] = [
    argparse.Namespace,
    SimpleNamespace,
    PosixPath,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    *(
        (getattr(import_module(f"numpy._core.{module}"), name), f"numpy.{core}.{module}.{name}")
        for core in ("core", "_core")
        for module, name in (("multiarray", "scalar"), ("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    ),
    np.ndarray,
]
"""What trainers keep beside weights, settings and scores; making one runs no code of the file's choice."""


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
