"""The embedding spaces that a build gets, each with what decides its vectors and its clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate.recipe import Recipe
from curate.stages import embed
from curate.stages.detect import Backend
from curate.storage.files import digest


@dataclass(frozen=True)
class Space:
    """One embedding space.

    Attributes:
        key: digest of everything that decides the vectors, given the faces.
        threshold: cosine from which two faces are near-duplicates here.
        description: how a crop becomes a vector, in words; stands in `build.json`.
    """

    name: str
    dimension: int
    version: str
    description: str
    key: str
    threshold: float

    def summary(self) -> dict[str, Any]:
        """What `build.json` says of the space."""
        return {
            "dimension": self.dimension,
            "version": self.version,
            "threshold": self.threshold,
            "description": self.description,
        }
