"""Loads decord without NVIDIA's libraries, which it opens beside itself where their packages are installed.

With torch for CUDA they are. decord opens all of them for the whole process, libnvblas among them, which from then on
answers for every matrix product of every library: a crash without a GPU, other rounding with one. Frames are decoded on
the CPU here, which needs none of them. Whoever uses decord imports this first.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Makes a package look as if it were not installed."""
    known = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]  # what `importlib.util.find_spec` takes for not there
    try:
        yield
    finally:
        if known is None:
            del sys.modules[package]
        else:
            sys.modules[package] = known


if "decord" not in sys.modules:
    try:
        with _hidden("nvidia"):
            import decord
    except OSError:  # a build of decord that cannot be loaded without them
        import decord  # noqa: F401
