"""Pages from their templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

SHELL = Path(__file__).parent
"""Folder of `shell.html`, which every page extends."""


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of values; text in them is escaped."""
    loader = jinja2.FileSystemLoader([template.parent, SHELL])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda number: f"{number:,}" if number is not None else ""
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return environment.get_template(template.name).render(**values)
