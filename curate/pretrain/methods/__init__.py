"""The ways to pre-train, one file each; `curate.choices.Method` is the catalogue."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from curate.choices import METHODS
from curate.pretrain.backbones import Backbone
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo

if TYPE_CHECKING:
    from curate.pretrain.config import PretrainRecipe

__all__ = ["CATALOGUE", "Method", "Outputs", "Setup", "StepInfo", "build"]


def _load(name: str) -> type[Method]:
    """The method that the file of that name holds."""
    module = importlib.import_module(f"{__name__}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    )
    return found


CATALOGUE: dict[str, type[Method]] = {name: _load(name) for name in METHODS}


def build(backbone: Backbone, recipe: PretrainRecipe, classes: int = 0) -> Method:
    """The recipe's method around `backbone`; fresh heads come from torch's global generator.

    Args:
        backbone: with the weights to begin with.
        recipe: of the run.
        classes: distinct labels, for methods that need them.
    """
    return CATALOGUE[recipe.method](backbone, recipe.settings, recipe.setup(classes))
