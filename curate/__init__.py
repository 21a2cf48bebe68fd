"""curate: from a list of web videos to face manifests of chosen sizes and redundancies, and what they are worth.

curate.build(...)                                 a list of videos -> BUILD, as `curate build` leaves it
curate.embed(...)                                 one more embedding space of a build
curate.open_build("BUILD")                        a finished build as Arrow tables
curate.cover(vectors, threshold, priority=None)   who stands for whom, exactly
curate.FaceDataset("F.parquet")                   a manifest as a torch Dataset
curate.pretrain.run, evaluate.run, study.run      a manifest -> a backbone -> its scores; a grid of both
curate.manifests, curate.storage, curate.dedupe   cutting, exporting and proving manifests; reading builds; covers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate import dedupe, evaluate, manifests, pretrain, storage, study
    from curate.dedupe.covers import cover
    from curate.errors import CurateError, UsageError
    from curate.manifests.dataset import FaceDataset
    from curate.run.build import build, embed
    from curate.storage.build import Build, open_build

__version__ = "0.1.0"
__all__ = [
    "Build",
    "CurateError",
    "FaceDataset",
    "UsageError",
    "__version__",
    "build",
    "cover",
    "dedupe",
    "embed",
    "evaluate",
    "manifests",
    "open_build",
    "pretrain",
    "storage",
    "study",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Build": "curate.storage.build",
        "CurateError": "curate.errors",
        "FaceDataset": "curate.manifests.dataset",
        "UsageError": "curate.errors",
        "build": "curate.run.build",
        "cover": "curate.dedupe.covers",
        "embed": "curate.run.build",
        "open_build": "curate.storage.build",
    }
    | {name: f"curate.{name}" for name in ("dedupe", "evaluate", "manifests", "pretrain", "storage", "study")},
)
