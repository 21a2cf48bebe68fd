"""Pages from their templates."""

from __future__ import annotations

from typing import Any

import jinja2


def render(template: str, **told: Any) -> str:
    """The page that a template of this package makes of values; text in them is escaped."""
    loader = jinja2.PackageLoader("curate.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda number: f"{number:,}" if number is not None else ""
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return environment.get_template(template).render(**told)
