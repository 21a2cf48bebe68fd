"""Runs of a few steps of a small network, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from curate import pretrain

SMALL = {
    "method": "swav",
    "arch": "tests.pretrain.tiny:small_resnet",
    "batch": 16,
    "crop_size": 32,
    "optimiser.warmup_epochs": 0,
    "swav.prototypes": 16,
    "swav.hidden": 16,
    "swav.dim": 8,
    "swav.queue": 32,
    "swav.queue_from_epoch": 1,
    "swav.freeze_prototypes_steps": 2,
    "log.every": 2,
    "probe.images": 20,
}


def go(manifest: Path, out: Path, **overrides: Any) -> Path:
    budget = {} if {"epochs", "steps", "images"} & overrides.keys() else {"steps": 6}
    return pretrain.run(manifest, out, overrides=SMALL | budget | overrides)


def state(out: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(out / "checkpoints/last.pt", weights_only=True)
    return {"step": torch.tensor(saved["step"])} | saved["method"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
