"""Packages that import what they export when it is asked for: torch alone takes a second, and `--help` needs none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        homes: name -> the module that defines it, `module:name` where it has another name there; a subpackage's name
            stands for the subpackage.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = homes[name].partition(":")
        found = import_module(module)
        value = found if module == f"{package}.{name}" and not hasattr(found, name) else getattr(found, other or name)
        setattr(sys.modules[package], name, value)  # also where a submodule has the same name
        return value

    def names() -> list[str]:
        return sorted({*homes, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return get, names
