"""One pool of threads for the work on a collection, with every library inside it held to one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""Maps a function over numbers, in order."""


@contextmanager
def pool(threads: int | None) -> Iterator[Map]:
    """Yields a parallel `map`; inside, every library keeps to one thread, so that the map's are all there are."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    count = threads or before[0]
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")  # the error bound of the prefilter holds for true float32 only
    try:
        with threadpool_limits(1), ThreadPoolExecutor(count) as executor:
            yield executor.map if count > 1 else map
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
