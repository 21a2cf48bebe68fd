"""What this machine has, installed packages too, and keeping every library to its share of it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from curate.choices import DEVICES
from curate.errors import UnavailableError, UsageError, one_line

Result = TypeVar("Result")

NO_MEMORY = re.compile(
    r"out of memory|insufficient memory|failed to allocate|cannot allocate memory|bad.alloc|failed to map segment|"
    r"_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""What torch, onnxruntime, OpenCV, the loader of libraries, cuDNN and cuBLAS say when there is no room."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_ASKED = os.environ.get("OMP_NUM_THREADS", "")  # before `limit_threads` changes it

GPU_MASK = "CUDA_VISIBLE_DEVICES"
"""Variable that names the GPUs that a process may see, by number or UUID."""

GPU_PROCESS = "CURATE_GPU_PROCESS"
"""Variable that names the socket of the process that runs the networks of all who share a GPU; see
`curate.stages.gpu_process`."""


def cores() -> int:
    """Cores that this process may use (affinity is respected where Python reports it)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def threads() -> int:
    """Threads that computing may take: the cores, or fewer where OMP_NUM_THREADS said so when this process began.

    On a machine that others use too, threads that wait for each other wait for those of the others as well.
    """
    return max(1, min(cores(), int(_ASKED))) if _ASKED.isdecimal() else cores()


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


def gpu_count(device: str) -> int:
    """GPUs that this process may see, where networks may run on them: none where the device is `cpu`."""
    if device == "cpu":
        return 0
    import torch

    return torch.cuda.device_count()


def take_gpu(worker: int, count: int, shared: Path | None = None) -> None:
    """Keeps a worker process to one of the GPUs that the user lets it see; to be called before CUDA is used.

    Args:
        worker: its number; workers take GPUs in turn.
        count: GPUs that are visible.
        shared: folder for the sockets of the GPUs' processes, where workers share GPUs.
    """
    if shared is not None and count:
        os.environ[GPU_PROCESS] = str(shared / f"gpu-{worker % count}")
    mask = os.environ.get(GPU_MASK, "")
    visible = [name.strip() for name in mask.split(",") if name.strip()] or [str(number) for number in range(count)]
    if visible:
        os.environ[GPU_MASK] = visible[worker % len(visible)]


ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Packages that install one module, `onnxruntime`: of two, the later overwrites the other in part."""


def check_onnxruntime() -> None:
    """Refuses an environment in which networks cannot run.

    Raises:
        UnavailableError: onnxruntime is missing, or both its packages are installed.
    """
    there = [name for name in ONNXRUNTIMES if version_of(name)]
    if len(there) > 1:
        raise UnavailableError(
            f"{' and '.join(there)} overwrite each other: pip uninstall -y {' '.join(there)}, then pip install the one "
            "that is wanted"
        )
    if not importlib.util.find_spec("onnxruntime"):
        raise UnavailableError("onnxruntime is missing: pip install onnxruntime (on an NVIDIA GPU onnxruntime-gpu)")


def check_used(wish: str, chosen: str, used: str) -> str | None:
    """What to say where networks do not run on the device that was chosen for them; None where they do.

    Args:
        wish: the recipe's `auto`, `cpu` or `cuda`; chosen: what `device` made of it; used: where the networks run.

    Raises:
        UnavailableError: `cuda` is wished for.
    """
    if chosen == used:
        return None
    why = "onnxruntime has no CUDA here: pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    if version_of("onnxruntime-gpu"):
        why = "onnxruntime-gpu cannot load its CUDA: 1.27 and newer need CUDA 13; of CUDA 12, pip install "
        why += "'onnxruntime-gpu<1.27'"
    if wish == "cuda":
        raise UnavailableError(f"device = cuda: faces cannot be found on the GPU; {why} (or --set embed.device=auto)")
    return f"a GPU is here, but faces are found on the {used.upper()}: {why}"


def device(wish: str = "auto") -> str:
    """`cuda` or `cpu`, by the recipe's `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: it is none of these.
        UnavailableError: `cuda` is wished for and torch sees none.
    """
    if wish not in DEVICES:
        raise UsageError(f"device = {wish}: none of {', '.join(DEVICES)}")
    if wish == "cpu" or (wish == "auto" and not gpu_driver()):
        return "cpu"
    import torch

    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise UnavailableError("device = cuda: torch sees no GPU here; use auto or cpu (curate doctor says more)")
    return "cuda" if there else "cpu"


def decoder(wish: str, networks: str) -> str:
    """Where frames are decoded, `cuda` or `cpu`, by the recipe's `auto`, `cpu` or `cuda`.

    Args:
        networks: where networks run; with `auto`, frames are decoded on a GPU only where these run there, too.

    Raises:
        UnavailableError: `cuda` is wished for and cannot be.
    """
    if wish == "cpu" or (wish == "auto" and networks == "cpu"):
        return "cpu"
    if device() == "cuda":
        try:
            importlib.import_module("torchcodec.decoders")  # it needs FFmpeg's libraries, and a torch of its age
            return "cuda"
        except (ImportError, OSError, RuntimeError) as error:
            why = one_line(error, 100)
    else:
        why = "torch sees no GPU here"
    if wish == "cuda":
        raise UnavailableError(
            f"decode = cuda: frames cannot be decoded on the GPU ({why}): pip install torchcodec, and FFmpeg's "
            "libraries (apt install ffmpeg), or --set decode=cpu"
        )
    return "cpu"


def gpu_driver() -> bool:
    """Whether a driver that torch could use is here; torch itself takes seconds to say so."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()  # AMD's
    return True


class BatchSize:
    """How many items go through a network at once: halved, and kept so, where a device has no room for more."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, count: int, call: Callable[[int, int], Result], most: int | None = None) -> list[Result]:
        """What `call(start, end)` returns for each batch of `count` items, in order.

        Args:
            most: items of a batch, where these may not be as many as others.

        Raises:
            Exception: whatever `call` raises, a want of memory only where a single item does not fit.
        """
        results: list[Result] = []
        start = 0
        while start < count:
            size = self.size if most is None else min(self.size, most)
            end = min(start + size, count)
            try:
                results.append(call(start, end))
            except (MemoryError, RuntimeError) as error:
                if self.size == 1 or not out_of_memory(error):
                    raise
                self.size //= 2
                warnings.warn(f"out of memory: batches of {self.size} from here on ({error})"[:200], stacklevel=2)
                continue
            start = end
        return results


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no memory left."""
    return isinstance(error, MemoryError) or NO_MEMORY.search(str(error)) is not None
