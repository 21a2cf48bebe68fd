"""How local workers share the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curate import progress
from curate.hardware import gpu_count
from curate.storage.scratch import scratch


@dataclass(frozen=True)
class Gpus:
    """The GPUs that workers take in turn.

    Attributes:
        count: how many there are; 0: leave it to the environment.
        processes: folder for the sockets of the processes that run networks for all workers of a GPU (see
            `curate.stages.gpu_process`); None: every worker runs its own.
    """

    count: int = 0
    processes: Path | None = None


@contextmanager
def shared_gpus(device: str, workers: int) -> Iterator[Gpus]:
    """The GPUs for `workers` processes of this machine; says so where several take one.

    Args:
        device: on which networks run, `cpu` or `cuda`.
        workers: 0 where those of a cluster work, whose environments name their GPUs.
    """
    count = gpu_count(device) if workers else 0
    if workers <= count or not count:
        yield Gpus(count)
        return
    with scratch("gpu") as folder:
        progress.say(
            f"{workers} workers share {count} GPU{'s'[: count - 1]}: on each, one process runs the networks of all"
        )
        yield Gpus(count, folder)
