"""The fork server of local workers: one process that has loaded Dask, and forks.

It loads while the driver loads its own libraries, so that workers are there at once, and what they share stands in
memory once. It loads nothing that a source needs: that is for the workers' child processes (`curate.run.child`).
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

METHOD = "forkserver"


def start() -> None:
    """Starts it, where it does not run yet; it ends with this process."""
    multiprocessing.get_context(METHOD).set_forkserver_preload(["distributed", "curate.run.supervise"])
    forkserver.ensure_running()
