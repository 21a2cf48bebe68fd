"""Self-supervised and supervised pre-training of face backbones on one manifest.

run             the whole of it: manifest in, RUN/backbone.pt out
load_backbone   a backbone with the weights of a file (ours, the paper's, torchvision's, timm's)
build           a backbone with fresh weights
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from curate.choices import ARCHITECTURES, METHODS
from curate.errors import TrainingError
from curate.pretrain.backbones import Backbone, build
from curate.pretrain.weights import load_backbone

__all__ = ["ARCHITECTURES", "METHODS", "Backbone", "build", "load_backbone", "run"]


def run(
    manifest: str | Path,
    out: str | Path,
    *,
    recipe: Path | None = None,
    overrides: dict[str, Any] | None = None,
    method: str | None = None,
    arch: str | None = None,
    init: Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    images: int | None = None,
    batch: int | None = None,
    crop_size: int | None = None,
    workers: int | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> Path:
    """Pre-trains a backbone, or resumes what lies in `out`, and writes its `report.html`, also when the loss diverged.

    Options that are None are the recipe's. Under torchrun every process calls this; the first one writes.

    Args:
        manifest: path or fsspec URL of a manifest of faces.
        out: folder of the run.
        recipe: YAML file; without one, what is usual for the method.
        overrides: dotted keys of the recipe to values.
        method: one of `METHODS`.
        arch: one of `ARCHITECTURES`.
        init: weights to begin with.
        epochs, steps, images: the budget, one of them: passes over the manifest, updates, or pictures seen.
        batch: pictures an update, all processes together.
        crop_size: side of the largest crop, pixels.
        workers: threads that read and decode.
        seed: of every random choice.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Path of `backbone.pt`.

    Raises:
        UsageError: manifest, recipe and what lies in `out` do not fit together; says what and the mend.
        StorageError: the disk is full; the last good checkpoint stays.
        TrainingError: the loss became not a number; names the step, its faces and the last good checkpoint.
    """
    from curate.pretrain import config, loop, page  # the training machinery loads only when it is used

    options = {
        "method": method,
        "arch": arch,
        "init": None if init is None else str(init),
        "epochs": epochs,
        "steps": steps,
        "images": images,
        "batch": batch,
        "crop_size": crop_size,
        "data.workers": workers,
        "seed": seed,
        "device": device,
    }
    given = {name: value for name, value in options.items() if value is not None}
    chosen = config.load(recipe, (overrides or {}) | given)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    try:
        written = loop.run(manifest, Path(out), chosen)
    except TrainingError:
        if first and (Path(out) / "config.yaml").exists():
            page.write(Path(out))
        raise
    if first:
        page.write(Path(out))
    return written
