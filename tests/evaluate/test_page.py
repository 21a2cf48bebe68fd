"""docs/evaluate.md names every data set, metric and field of a result."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from curate.evaluate import CATALOGUE, TASKS, Result
from curate.evaluate.tables import HEADLINES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evaluate.md").read_text(encoding="utf-8")


def test_every_data_set_is_explained() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]
    assert not [name for name in CATALOGUE if not any(f"`{name}`" in row for row in rows)]
    assert not [task for task in TASKS if f"*{task.replace('_', ' ')}*" not in PAGE]


def test_every_field_and_shown_metric_is_explained() -> None:
    assert not [field.name for field in fields(Result) if f"`{field.name}`" not in PAGE]
    stems = {metric.split("@")[0].split("_valence")[0].split("_arousal")[0] for m in HEADLINES.values() for metric in m}
    assert not [stem for stem in stems if f"`{stem}" not in PAGE and stem.removesuffix("_balanced") not in PAGE]


def test_crops_are_shown() -> None:
    assert "](crops.png)" in PAGE and (DOCS / "crops.png").is_file()
