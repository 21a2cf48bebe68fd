"""Faces of a build that match evaluation pictures, so that a score says what was learned and not what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.decontamination.run import decontaminate

__all__ = ["decontaminate"]

__getattr__, __dir__ = exports(__name__, dict.fromkeys(__all__, "curate.decontamination.run"))
