"""Hides an installed package from a library that would load it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Makes a package look as if it were not installed to `importlib.util.find_spec`."""
    known = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]  # what it takes for not there
    try:
        yield
    finally:
        if known is None:
            del sys.modules[package]
        else:
            sys.modules[package] = known
