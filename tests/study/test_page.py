"""The page of a study: whole, self-contained, hostile names escaped, the same twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curate.study import page, results
from curate.study.findings import of_study
from tests.run.test_page import Tags
from tests.study.invented import lines, nothing, redundancy_hurts

HOSTILE = '<script>alert("x")</script> $\\frac$ & _'


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A finished study of two tasks, one with a hostile name."""
    measured = lines(redundancy_hurts) + lines(nothing, title=HOSTILE, metric="accuracy", task="recognition")
    results.append(tmp_path / "results.jsonl", measured)
    cells = sorted({line.columns["cell"] for line in measured})
    recipe = {"compare": {}, "note": HOSTILE}
    (tmp_path / "study.json").write_text(json.dumps({"recipe": recipe, "cells": cells}))
    (tmp_path / "failures.json").write_text(json.dumps([{"what": HOSTILE, "why": HOSTILE}]))
    return tmp_path


def test_a_page_holds_verdict_tables_and_figures(study: Path) -> None:
    text = page.write(study, of_study(study)).read_text(encoding="utf-8")
    assert "differ beyond noise" in text and text.count("<svg") == 6
    parser = Tags()
    parser.feed(text)
    assert not [tag for tag, _ in parser.tags if tag in ("script", "iframe", "img", "object")]
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    names = {path.name for path in (study / "figures").iterdir()}
    assert {"points-pts-linear-share.svg", "points-pts-linear-redundancy.png", "points-pts-linear-grid.svg"} <= names
    assert {"points.csv", "points.tex", "scores.csv"} <= {path.name for path in (study / "tables").iterdir()}


def test_a_page_is_the_same_twice(study: Path) -> None:
    first = page.write(study, of_study(study)).read_bytes()
    assert page.write(study, of_study(study)).read_bytes() == first


def test_cells_of_an_earlier_recipe_are_left_out(study: Path) -> None:
    told = json.loads((study / "study.json").read_text())
    told["cells"] = [cell for cell in told["cells"] if cell.startswith("points")]
    (study / "study.json").write_text(json.dumps(told))
    assert {q.title for q in of_study(study).headlines} == {"points"}


def test_a_study_without_results_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"recipe": {"compare": {}}, "cells": ["a"]}))
    (tmp_path / "failures.json").write_text("[]")
    assert "nothing to compare" in page.write(tmp_path, of_study(tmp_path)).read_text()
