"""Self-supervised and supervised pre-training of face backbones on one manifest.

run             the whole of it: manifest in, RUN/backbone.pt and its report.html out
load_backbone   a backbone with the weights of a file (ours, the paper's, torchvision's, timm's)
build           a backbone with fresh weights
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict, Unpack

from curate.choices import ARCHITECTURES, METHODS
from curate.errors import TrainingError
from curate.pretrain.backbones import Backbone, build
from curate.pretrain.weights import load_backbone

__all__ = ["ARCHITECTURES", "METHODS", "Backbone", "Options", "build", "load_backbone", "run"]


class Options(TypedDict, total=False):
    """Keys of a recipe that have a name of their own; what is None or not given is the recipe's.

    Attributes:
        method: one of `METHODS`.
        arch: one of `ARCHITECTURES`.
        init: weights to begin with.
        epochs, steps, images: the budget, one of them: passes over the manifest, updates, or pictures seen.
        batch: pictures an update, all processes together.
        crop_size: side of the largest crop, pixels.
        workers: threads that read and decode.
        seed: of every random choice.
        device: `auto`, `cpu` or `cuda`.
    """

    method: str | None
    arch: str | None
    init: str | Path | None
    epochs: float | None
    steps: int | None
    images: int | None
    batch: int | None
    crop_size: int | None
    workers: int | None
    seed: int | None
    device: str | None


def run(
    manifest: str | Path | None,
    out: str | Path,
    *,
    data: str | Path | None = None,
    recipe: Path | None = None,
    overrides: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> Path:
    """Pre-trains a backbone, or resumes what lies in `out`, and writes its `report.html`, also when the loss diverged.

    Under torchrun every process calls this; the first one writes.

    Args:
        manifest: path or fsspec URL of a manifest of faces; None: `data` is given.
        out: folder of the run.
        data: folder or URL of other pictures: a folder of them, WebDataset shards, a Hugging Face data set on disk.
        recipe: YAML file; without one, what is usual for the method.
        overrides: dotted keys of the recipe to values.
        options: keys that have a name of their own (see `Options`); they go before `overrides`.

    Returns:
        Path of `backbone.pt`.

    Raises:
        UsageError: manifest, recipe and what lies in `out` do not fit together; says what, and what to do.
        StorageError: the disk is full; the last good checkpoint stays.
        TrainingError: the loss became not a number; names the step, its faces and the last good checkpoint.
    """
    from curate.pretrain import config, loop, page  # the training machinery loads only when it is used

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "workers" in given:
        given["data.workers"] = given.pop("workers")
    if "init" in given:
        given["init"] = str(given["init"])
    chosen = config.load(recipe, (overrides or {}) | given)
    source = loop.Source(None if manifest is None else str(manifest), None if data is None else str(data))
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    try:
        written = loop.run(source, Path(out), chosen)
    except TrainingError:
        if first and (Path(out) / "config.yaml").exists():
            page.write(Path(out))
        raise
    if first:
        page.write(Path(out))
    return written
