"""The recipes that are shipped: each loads, plans and tells its cost where nothing of it is there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest

from curate import cli
from curate.recipe_files import parse_assignment
from curate.study import config, results
from curate.study.config import load
from curate.study.grid import plan
from curate.study.power import power

ROOT = Path(__file__).parents[2]
RECIPES = sorted([*(ROOT / "pipelines/paper").glob("*.yaml"), *(ROOT / "pipelines").glob("*_study.yaml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_planned(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = plan(load(Path(path.stem)), dry=True)
    assert len(found.cells) >= 20 and len({cell.key for cell in found.cells}) == len(found.cells)
    assert len({cell.seed for cell in found.cells}) >= 3
    known = power(found)
    assert known.planned and known.effect < 8  # a study that can show nothing is no recipe


def test_curated_compares_its_arms() -> None:
    """Random faces and covers from the web, each against random faces of the labelled collection."""
    recipe = load(ROOT / "pipelines/paper/curated.yaml")
    assert power(plan(recipe, dry=True)).planned == 2 * 6  # AffectNet by two metrics


def test_the_study_of_a_week_tests_what_its_page_says() -> None:
    page = (ROOT / "docs" / "week.md").read_text(encoding="utf-8").replace("\\\n", " ").replace("size: N", "size: 500")
    (line,) = [line for line in page.splitlines() if line.startswith("curate study")]
    words = shlex.split(line)
    chosen = dict(parse_assignment(words[place + 1]) for place, word in enumerate(words) if word == "--set")
    found = plan(load(Path(words[2]), chosen), dry=True)
    assert power(found).planned == 2 * 3  # two redundancies, three tasks
    assert len({cell.seed for cell in found.cells}) == 5 and "each of five seeds" in page


def test_the_paper_is_covered() -> None:
    assert {path.stem for path in RECIPES} >= {"supervised", "size", "curated", "few_shot", "frames", "small_study"}


@pytest.mark.parametrize("name", ["paper/few_shot", "small_study"])
def test_a_dry_run_tells_what_it_cannot_count_and_writes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "study"
    monkeypatch.setattr(sys, "argv", ["curate", "study", f"pipelines/{name}.yaml", "--out", str(out), "--dry-run"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr().out
    assert stopped.value.code == 0 and not out.exists()
    assert "planned comparisons" in shown and ("of them takes" in shown) == (name == "small_study")
    assert (
        "cells: " in shown
        and " workers (training " in shown
        and "e+" not in shown
        and "GB" in shown
        and "not counted: task" in shown
    )


def test_every_rule_and_column_is_explained() -> None:
    page = (ROOT / "docs/study.md").read_text(encoding="utf-8")
    assert not [rule for rule in get_args(config.Rule) if f"| `{rule}` |" not in page]
    assert not [column for column in results.COLUMNS if f"`{column}`" not in page]
