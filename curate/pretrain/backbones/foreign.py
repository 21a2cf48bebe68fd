"""Networks of others as backbones: any `torch.nn.Module` that maps pictures to vectors, tokens or maps."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curate.choices import ARCHITECTURES
from curate.errors import UsageError, one_line
from curate.pretrain.backbones.base import Backbone

TRIED = (224, 112, 64, 32)
"""Sides at which a network is asked for the length of its feature, until one fits."""


class Foreign(Backbone):
    """A network of somebody's; its parameters keep their names (`plain` is what is saved and filled).

    The feature is what the network gives: vectors [n, d] as they are, maps [n, d, h, w] and tokens [n, t, d] averaged.

    Args:
        network: without a classifier.
        name: as the user gave it, for messages.

    Raises:
        UsageError: it cannot be run on pictures, or gives something else.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        first = self._first(name)
        self.feature_dim = _pooled(first, name).shape[1]
        self.map_channels = (first.shape[1],) if first.dim() == 4 else ()
        self.map_strides = ()

    def _first(self, name: str) -> Tensor:
        """What it gives of two grey pictures."""
        training, errors = self.network.training, []
        self.network.eval()
        try:
            for side in TRIED:
                try:
                    with torch.no_grad():
                        found = self.network(torch.zeros(2, 3, side, side))
                except (RuntimeError, ValueError, TypeError, AssertionError) as error:
                    errors.append(one_line(error, 160))
                    continue
                if not isinstance(found, Tensor):
                    raise UsageError(f"arch = {name}: gives a {type(found).__name__} of pictures; a tensor is wanted")
                return found
        finally:
            self.network.train(training)
        raise UsageError(f"arch = {name}: cannot be run on pictures of 3 x {TRIED[0]} x {TRIED[0]} ({errors[0]})")

    def plain(self) -> nn.Module:
        """The network itself."""
        return self.network

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The feature, and the map that it gives, if it gives maps."""
        found: Tensor = self.network(images)
        return _pooled(found, "network"), [found] if found.dim() == 4 else []


def from_function(arch: str) -> Backbone:
    """The network that `MODULE:FUNCTION` gives, whose module lies in the working folder or is installed.

    Raises:
        UsageError: it cannot be found or called, or gives no network.
    """
    module_name, _, function_name = arch.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's may fail in any way
        raise UsageError(
            f"arch = {arch}: cannot import {module_name} ({type(error).__name__}: {one_line(error, 160)})"
        ) from None
    finally:
        sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"arch = {arch}: {module_name} has no function {function_name}")
    try:
        network = function()
    except Exception as error:
        raise UsageError(
            f"arch = {arch}: {function_name}() failed ({type(error).__name__}: {one_line(error, 160)})"
        ) from None
    return _backbone(network, arch)


def from_timm(arch: str) -> Backbone | None:
    """The network of that name in timm, without its classifier; None where timm is not there or does not know it.

    Raises:
        UsageError: timm is there and cannot be imported, which its own dependencies may do.
    """
    if importlib.util.find_spec("timm") is None:
        return None
    try:
        timm: Any = importlib.import_module("timm")
    except Exception as error:
        raise UsageError(
            f"arch = {arch}: none of {', '.join(ARCHITECTURES)}, vit_s/PATCH or MODULE:FUNCTION; and timm, which may "
            f"know it, cannot be imported ({_what(error)})"
        ) from None
    if not timm.is_model(arch):
        return None
    return Foreign(timm.create_model(arch, pretrained=False, num_classes=0), arch)


def _backbone(network: object, arch: str) -> Backbone:
    if isinstance(network, Backbone):
        return network
    if not isinstance(network, nn.Module):
        raise UsageError(f"arch = {arch}: gives a {type(network).__name__}; a torch.nn.Module is wanted")
    return Foreign(network, arch)


def _pooled(found: Tensor, name: str) -> Tensor:
    """float [n, d], [n, d, h, w] or [n, t, d] -> float [n, d]."""
    if found.dim() == 4:
        return found.mean((2, 3))
    if found.dim() == 3:
        return found.mean(1)
    if found.dim() != 2:
        raise UsageError(f"arch = {name}: gives a tensor of {found.dim()} dimensions; 2, 3 or 4 are wanted")
    return found


def _what(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 160)}"
