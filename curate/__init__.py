"""curate: from a list of web videos to face manifests of chosen sizes and redundancies, and what they are worth.

curate.cover(vectors, threshold, priority=None)   who stands for whom, exactly
curate.open_build("BUILD")                        a finished build as Arrow tables
curate.FaceDataset("F.parquet")                   a manifest as a torch Dataset
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.dedupe.covers import cover
    from curate.manifests.dataset import FaceDataset
    from curate.storage.build import open_build

__version__ = "0.1.0"
__all__ = ["FaceDataset", "__version__", "cover", "open_build"]

_HOMES = {
    "cover": "curate.dedupe.covers",
    "open_build": "curate.storage.build",
    "FaceDataset": "curate.manifests.dataset",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: torch alone takes a second, and `--help` needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
