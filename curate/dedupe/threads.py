"""One pool of threads for the work on a collection, with every library inside it held to one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from curate import hardware
from curate.dedupe import engine

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""Maps a function over numbers, in order."""


@contextmanager
def pool(threads: int | None, vectors: Any = None) -> Iterator[Map]:
    """Yields a parallel `map`; inside, every library keeps to one thread, so that the map's are all there are.

    Args:
        threads: None: as many as torch takes, or would if it were loaded.
        vectors: an array [N, D] that is about to be worked on; torch is loaded where it has many rows.
    """
    engine.torch_for(*getattr(vectors, "shape", ())[:1] or (0,))
    with _torch_held() as free, threadpool_limits(1), ThreadPoolExecutor(count := threads or free) as executor:
        yield executor.map if count > 1 else map


@contextmanager
def _torch_held() -> Iterator[int]:
    """Holds torch, where it is loaded, to one thread and true float32; yields how many it had."""
    torch = engine.torch_here()
    if torch is None:
        yield hardware.threads()
        return
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")  # the error bound of the prefilter holds for true float32 only
    try:
        yield before[0]
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
