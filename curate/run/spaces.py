"""The embedding spaces that a build gets, each with what decides its vectors and its clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.calibration import meaning
from curate.recipe import Recipe
from curate.records import Pixels
from curate.stages import embed
from curate.stages.detect import Backend
from curate.storage.files import digest

APPEARANCE = "appearance"
"""What a face picture looks like; near-duplicates are judged here."""
IDENTITY = "identity"
"""Whose face it is; where a backend can tell."""
IDENTITY_VERSION = "1"
"""Raised when the same networks come to other vectors."""


@dataclass(frozen=True)
class Space:
    """One embedding space.

    Attributes:
        key: digest of everything that decides the vectors, given the faces.
        threshold: cosine from which two faces are near-duplicates here.
        description: how a crop becomes a vector, in words; stands in `build.json`.
        more: what else `build.json` says of it: of a trained backbone its file, and how the threshold was found.
    """

    name: str
    dimension: int
    version: str
    description: str
    key: str
    threshold: float
    more: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """What `build.json` says of the space."""
        return {
            "dimension": self.dimension,
            "version": self.version,
            "threshold": self.threshold,
            "description": self.description,
            "key": self.key,
            **self.more,
        }

    @classmethod
    def told(cls, name: str, summary: dict[str, Any]) -> Space:
        """The space that `build.json` says this of."""
        known = ("dimension", "version", "threshold", "description")
        more = {key: value for key, value in summary.items() if key not in (*known, "key")}
        return cls(name, key=summary.get("key", ""), more=more, **{key: summary[key] for key in known})


def spaces_of(backend: Backend, recipe: Recipe) -> list[Space]:
    """The spaces of a build: `appearance` always, `identity` where the backend has one and the recipe wants it."""
    spaces = [
        Space(
            APPEARANCE,
            embed.APPEARANCE.dimension,
            str(embed.APPEARANCE.version),
            embed.APPEARANCE.preprocessing,
            digest([APPEARANCE, embed.APPEARANCE.version, recipe.crop.margin]),
            recipe.dedupe.threshold,
            meaning.summary(recipe.dedupe.threshold),
        )
    ]
    if recipe.embed.identity and backend.identity_threshold is not None:
        spaces.append(_identity(backend, recipe))
    return spaces


def vectors(space: str, crops: Pixels, backend: Backend, margin: float) -> NDArray[np.float32]:
    """float32 [n, D], unit rows, of crops uint8 [n, side, side, 3] cut with `margin`, in a space of a build."""
    found = embed.appearance(crops, margin) if space == APPEARANCE else embed.identity(backend, crops)
    if found is None:
        raise ValueError(f"{backend.name} has no space {space}")
    return found


def _identity(backend: Backend, recipe: Recipe) -> Space:
    grey = np.full((1, recipe.crop.size, recipe.crop.size, 3), 128, np.uint8)
    models = [model for model in backend.models if model.task == IDENTITY]
    name = ", ".join(model.file for model in models)
    threshold = recipe.dedupe.identity_threshold or backend.identity_threshold
    assert threshold is not None
    return Space(
        IDENTITY,
        vectors(IDENTITY, grey, backend, recipe.crop.margin).shape[1],
        IDENTITY_VERSION,
        f"{backend.name}: {name} on the stored crop",
        digest([IDENTITY, IDENTITY_VERSION, backend.name, sorted(model.sha256 for model in backend.models)]),
        threshold,
    )
