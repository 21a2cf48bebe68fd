"""Weights from anywhere into curate's backbones: ours, the paper's checkpoints, torchvision's, timm's.

Only plain tensors are read (`weights_only=True`), so a file cannot run code.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import UsageError, one_line
from curate.pretrain.backbones import ARCHITECTURES, Backbone, build

CONTAINERS = ("state_dict", "model", "teacher", "student", "backbone")
"""Keys below which files keep their state dict."""
PREFIXES = ("module.", "base_net.", "backbone.", "encoder.", "model.", "_orig_mod.")
DROPPED = re.compile(r"(fc|head|head_drop|projection_net|prototypes|fc_norm)(\.|$)")
"""Classifiers and projection heads, which a backbone has not."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, with prefixes and heads taken off.

    Raises:
        UsageError: the file is missing, no torch file, holds more than tensors, or no backbone.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file (a backbone.pt, a checkpoint, or `random`)") from None
    except pickle.UnpicklingError:
        raise UsageError(f"{path}: holds more than tensors, or is no torch file; save its state dict alone") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: no torch file ({one_line(error, 100)})") from None
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    state = {str(key): value for key, value in _items(content) if isinstance(value, Tensor)}
    if not state:
        raise UsageError(f"{path}: holds no state dict")
    base = [key for key in state if ".base_net." in f".{key}"]
    if base:  # the paper's: heads stand beside the network
        state = {key: state[key] for key in base}
    state = {_bare(key): value for key, value in state.items()}
    return {key: value for key, value in state.items() if not DROPPED.match(key)}


def guess_arch(state: Mapping[str, Tensor]) -> str | None:
    """Which of curate's architectures a state dict is of, by its keys and shapes."""
    if "pos_embed" in state:
        return {384: "vit_s", 768: "vit_b"}.get(state["pos_embed"].shape[-1])
    if "layer1.0.conv3.weight" in state:
        return "resnet50" if "layer3.5.conv3.weight" in state and "layer3.6.conv3.weight" not in state else None
    if "layer1.0.conv1.weight" in state:
        return "resnet34" if "layer3.5.conv1.weight" in state else "resnet18"
    return None


def load(path: Path, arch: str | None = None) -> tuple[Backbone, str]:
    """A backbone with the weights of a file, in evaluation mode, and its architecture.

    Args:
        arch: what the user says it is; None to tell by the keys.

    Raises:
        UsageError: see `read_state`; or the architecture is not known, or is another one than `arch`.
    """
    state = read_state(path)
    found = guess_arch(state)
    if found is None:
        raise UsageError(
            f"{path}: none of {', '.join(ARCHITECTURES)} (first key {next(iter(state))}); give TorchScript or ONNX"
        )
    if arch is not None and arch != found:
        raise UsageError(f"--arch {arch}: {path} holds a {found}")
    network = build(found)
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        key = (missing or wrong)[0]
        raise UsageError(f"{path}: {'lacks' if missing else 'has another shape of'} {key}, so it is no whole {found}")
    network.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    return network.eval(), found


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _items(content: Any) -> list[tuple[Any, Any]]:
    return list(content.items()) if isinstance(content, Mapping) else []


def _bare(key: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if key.startswith(prefix):
                key, stripped = key[len(prefix) :], True
    return key
