"""Runs in several processes that are stopped half-way, the last of them by a signal; or these again, and whole ones.

python -m tests.pretrain.killed MANIFEST OUT [again]
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from curate.pretrain import config, distributed, loop, sharding
from curate.pretrain.methods import Method, StepInfo
from curate.progress import silent

STEPS, STOP = 6, 4
SMALL: dict[str, Any] = {"steps": STEPS, "batch": 16, "crop_size": 32, "log.every": 1, "probe.images": 8}
RUNS: dict[str, dict[str, Any]] = {
    "moco": {"method": "moco", "arch": "tests.pretrain.tiny:small_resnet", "moco.queue": 32, "moco.hidden": 16},
    "dino-sharded": {
        "method": "dino",
        "arch": "tests.pretrain.tiny:small_vit",
        "shard": sharding.on_cpu(),
        "crops": [{"count": 2}],
    }
    | {f"dino.{key}": 16 for key in ("hidden", "bottleneck", "prototypes")},
}


def stop_by(kind: type[Method], how: Callable[[], None]) -> None:
    """Makes the next run stop before one of its updates."""
    before = kind.before_update

    def stopping(self: Method, info: StepInfo) -> None:
        before(self, info)
        if info.step == STOP:
            kind.before_update = before
            how()

    kind.before_update = stopping


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    source, out = loop.Source(sys.argv[1]), Path(sys.argv[2])
    last = list(RUNS)[-1]
    distributed.world("cpu")
    for name, keys in RUNS.items():
        recipe = config.load(None, SMALL | keys | {"checkpoint_steps": 3})
        if sys.argv[3:] != ["again"]:
            stop_by(recipe.kind, kill if name == last else interrupt)
            with suppress(KeyboardInterrupt):
                loop.run(source, out / f"{name}-cut", recipe, silent)
            continue
        for run in ("cut", "whole"):
            loop.run(source, out / f"{name}-{run}", recipe, silent)


if __name__ == "__main__":
    main()
