"""The fork server of local workers: one process that has loaded Dask, and forks.

It loads while the driver loads its own libraries, so that workers are there at once, and what they share stands in
memory once. It loads nothing that a source needs: that is for the workers' child processes (`curate.run.child`).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, spawn
from typing import Any

METHOD = "forkserver"
DASKS = "Dask"
"""What the names of Dask's processes begin with."""


def start() -> None:
    """Starts it, where it does not run yet; it ends with this process."""
    multiprocessing.get_context(METHOD).set_forkserver_preload(["distributed", "curate.run.supervise"])
    forkserver.ensure_running()


@contextmanager
def without_main() -> Iterator[None]:
    """Dask's processes that start in the block do not run the program's main module again.

    They need nothing of it, it may take seconds to load, and a script without `if __name__ == "__main__"` would begin
    the same build in each of them.
    """
    prepared = spawn.get_preparation_data

    def without(name: str) -> dict[str, Any]:
        return {
            key: value
            for key, value in prepared(name).items()
            if not (name.startswith(DASKS) and key.startswith("init_main"))
        }

    spawn.get_preparation_data = without
    try:
        yield
    finally:
        spawn.get_preparation_data = prepared
