"""What this machine has, installed packages too, and keeping every library to its share of it."""

from __future__ import annotations

import importlib.metadata
import os
import sys

from curate.choices import DEVICES
from curate.errors import UnavailableError, UsageError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use (affinity is respected where Python reports it)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def version_of(distribution: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def limit_threads(count: int) -> None:
    """Holds torch, OpenCV, FAISS and the BLAS libraries of this process to `count` threads.

    onnxruntime takes its count when a session is made, dlib uses the calling thread, decord takes a context: their
    stages pass `count` themselves. Libraries that are not loaded yet (torch takes seconds, and a worker that only
    reads videos has no use for it) are limited by environment variables.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(count)
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(count)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    threadpool_limits(count)


def device(wish: str = "auto") -> str:
    """`cuda` or `cpu`, by the recipe's `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: it is none of these.
        UnavailableError: `cuda` is wished for and torch sees none.
    """
    import torch

    if wish not in DEVICES:
        raise UsageError(f"device = {wish}: none of {', '.join(DEVICES)}")
    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise UnavailableError("device = cuda: torch sees no GPU here; use auto or cpu (curate doctor says more)")
    return "cuda" if there and wish != "cpu" else "cpu"
