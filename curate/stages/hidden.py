"""Hides installed packages from libraries that would load them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder


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


def without_pandas() -> None:
    """Has pyarrow, which loads pandas for the first array that it makes, do without it; for processes of our own."""
    import pyarrow as pa

    if "pandas" not in sys.modules:
        missing = _Missing()
        sys.meta_path.insert(0, missing)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(missing)


class _Missing(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ModuleNotFoundError(name)
