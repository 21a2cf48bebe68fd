"""Stored crops to vectors: `appearance` (what a picture looks like) and `identity` (whose face it is)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.recipe import CropSettings
from curate.records import Pixels
from curate.stages.appearance import APPEARANCE, Space, describe, mirrored
from curate.stages.backend import Backend

__all__ = ["APPEARANCE", "Space", "appearance", "identity", "mirrored"]


def appearance(crops: Pixels, margin: float = CropSettings().margin) -> NDArray[np.float32]:
    """float32 [n, APPEARANCE.dimension], unit rows, for crops uint8 [n, side, side, 3].

    The vector of a crop is the same, bit for bit, whichever crops are given with it.
    """
    return describe(crops, margin)


def identity(backend: Backend, crops: Pixels) -> NDArray[np.float32] | None:
    """float32 [n, D], unit rows, for crops uint8 [n, side, side, 3]; None where the backend has no identity network."""
    return backend.identity(crops)
