"""The spaces that every build gets, `appearance` and `identity`: what decides their vectors and their clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.calibration import meaning
from curate.recipe import BuildRecipe
from curate.records import Pixels
from curate.stages import appearance as looks
from curate.stages.detect import Backend
from curate.storage.files import digest
from curate.storage.info import SpaceInfo

APPEARANCE = "appearance"
"""What a face picture looks like; near-duplicates are judged here."""
IDENTITY = "identity"
"""Whose face it is; where a backend can tell."""
BATCH = 64
"""Crops that a trained backbone takes at once."""
IDENTITY_VERSION = "2"
"""Raised when the same networks come to other vectors."""


@dataclass(frozen=True)
class NetworkSettings:
    """Where a backbone runs (`auto`, `cpu` or `cuda`), and how many crops it takes at once."""

    device: str = "auto"
    batch: int = BATCH


def spaces_of(backend: Backend, recipe: BuildRecipe) -> list[SpaceInfo]:
    """The spaces of a build: `appearance` always, `identity` where the backend has one and the recipe wants it."""
    looked = looks.chosen(recipe.embed)
    spaces = [
        SpaceInfo(
            APPEARANCE,
            looked.dimension,
            looked.version,
            recipe.dedupe.threshold,
            looked.preprocessing,
            digest([APPEARANCE, looked.version, recipe.crop.margin]),
            meaning.summary(looked.version, recipe.dedupe.threshold),
        )
    ]
    if recipe.embed.identity and backend.identity_threshold is not None:
        spaces.append(_identity(backend, recipe))
    return spaces


def vectors(space: str, crops: Pixels, backend: Backend, recipe: BuildRecipe) -> NDArray[np.float32]:
    """float32 [n, D], unit rows, of crops uint8 [n, side, side, 3] cut by a recipe, in a space of its build."""
    if space == APPEARANCE:
        return looks.describe(crops, recipe.crop.margin, looks.chosen(recipe.embed))
    found = backend.identity(crops)
    if found is None:
        raise ValueError(f"{backend.name} has no space {space}")
    return found


def _identity(backend: Backend, recipe: BuildRecipe) -> SpaceInfo:
    grey = np.full((1, recipe.crop.size, recipe.crop.size, 3), 128, np.uint8)
    models = [model for model in backend.models if model.task == IDENTITY]
    name = ", ".join(model.file for model in models)
    threshold = recipe.dedupe.identity_threshold or backend.identity_threshold
    assert threshold is not None
    return SpaceInfo(
        IDENTITY,
        vectors(IDENTITY, grey, backend, recipe).shape[1],
        IDENTITY_VERSION,
        threshold,
        f"{backend.name}: {name} on the stored crop",
        digest([IDENTITY, IDENTITY_VERSION, backend.name, sorted(model.sha256 for model in backend.models)]),
    )
