"""Dry runs: costs follow the cells that are left, and are told through the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate import cli
from curate.study.config import StudyRecipe
from curate.study.estimate import estimate
from curate.study.execute import run
from curate.study.grid import plan
from tests.evaluate.tiny import tiny


def test_a_cost_counts_what_is_left(recipe: dict[str, Any], tmp_path: Path) -> None:
    chosen, more = StudyRecipe.model_validate(recipe), StudyRecipe.model_validate(recipe | {"seeds": [0, 1, 2]})
    before = estimate(plan(more), tmp_path / "s", 1)
    assert (before.cells, before.runs, before.manifests) == ((6, 0), (6, 0), (6, 0)) and not before.unknown
    assert before.training_seconds > 0 and before.measuring_seconds > 0
    weights = 4 * sum(p.numel() for p in tiny().parameters())
    assert 6 * weights < before.bytes < before.peak_bytes < 8 * 6 * weights  # float32, momenta, heads, buffers
    run(chosen, tmp_path / "s", workers=1)
    after = estimate(plan(more), tmp_path / "s", 1)
    assert (after.cells, after.runs, after.manifests) == ((6, 2), (6, 2), (6, 2)) and after.bytes < before.bytes
    done = estimate(plan(chosen), tmp_path / "s", 1)
    assert done.training_seconds == done.measuring_seconds == done.bytes == 0


def test_the_command_runs_prints_the_verdict_and_fails_where_cells_do(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"builds": {}}))
    arguments = ["curate", "study", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "s"), "--workers", "1"]

    def go(*more: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", [*arguments, *more])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        return stopped.value.code, shown.out, shown.err

    status, _, errors = go()
    assert status == 2 and "give --build BUILD" in errors and not (tmp_path / "s").exists()
    build = recipe["builds"]["main"]
    status, shown, errors = go("--build", build, "--seeds", "2")
    assert status == 0 and "No difference" in shown and (tmp_path / "s/report.html").is_file()
    assert f"report: {tmp_path / 's/report.html'}" in shown
    grid = "faces=[{rule: random, size: 100000}, {rule: cover, size: 100000, redundancy: 0.5}]"
    status, shown, errors = go("--build", build, "--set", grid, "--dry-run")
    assert (
        status == 2 and "sizes from 1 to" in errors and "(1 more like it)" in errors and "planned comparison" in shown
    )
    status, _, errors = go("--build", build, "--set", "faces=[{rule: random, size: 100000}]")
    assert status == 1 and "sizes from 1 to" in errors and "Traceback" not in errors


def test_a_dry_run_counts_the_workers_that_the_study_gets(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("curate.study.execute")  # the package has a function of that name
    monkeypatch.setattr(module, "gpu_count", lambda device: 3)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    for options, count in (([], 3), (["--workers", "5"], 5)):
        arguments = ["curate", "study", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "s"), "--dry-run", *options]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0 and f" on {count} workers" in capsys.readouterr().out
