"""Studies from recipe to results: gone on with, extended, shared out, told from failure."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from curate.errors import UsageError
from curate.evaluate import curves
from curate.study import jobs, results
from curate.study.config import StudyRecipe
from curate.study.execute import StudyOutcome, run
from curate.study.grid import plan

TIMED = ("seconds", "train_seconds")


def go(recipe: dict[str, Any], out: Path, **options: Any) -> StudyOutcome:
    return run(StudyRecipe.model_validate(recipe), out, **{"workers": 1} | options)


def told(out: Path) -> list[dict[str, Any]]:
    """Lines without times, in an order of their own."""
    lines = [json.loads(line.line()) for line in results.read(out / "results.jsonl")]
    lines = [{name: value for name, value in line.items() if name not in TIMED} for line in lines]
    return sorted(lines, key=lambda line: (line["cell"], line["split"], line["metric"]))


def test_a_study_is_measured_once_and_extended_by_what_is_new(recipe: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "study"
    first = go(recipe, out)
    assert first.measured == 2 and not first.failures
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("backbone.pt")}
    before = (out / "results.jsonl").read_bytes()
    assert go(recipe, out).measured == 0 and (out / "results.jsonl").read_bytes() == before
    second = go(recipe | {"seeds": [0, 1]}, out)
    assert second.measured == 2 and (out / "results.jsonl").read_bytes().startswith(before)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    task = recipe["tasks"]["points"] | {"fraction": [1.0, 0.5]}
    assert go(recipe | {"tasks": {"points": task}}, out).measured == 2  # and nothing is trained
    assert len(list(out.rglob("backbone.pt"))) == 4


def test_lines_hold_the_contract_and_the_cell(recipe: dict[str, Any], tmp_path: Path) -> None:
    go(recipe, tmp_path / "s")
    lines = told(tmp_path / "s")
    needed = {
        "backbone",
        "method",
        "manifest",
        "task",
        "dataset",
        "split",
        "metric",
        "value",
        "fraction",
        "mode",
        "seed",
    }
    for line in lines:
        assert needed | set(results.COLUMNS) - set(TIMED) | {"n_train", "n_test"} <= set(line)
        assert (tmp_path / "s" / line["backbone"]).is_file() and (tmp_path / "s" / line["manifest"]).is_file()
        assert line["faces"] == 16 and line["method"] == "swav"
        (kept,) = curves.read(tmp_path / "s/answers" / line["cell"])
        assert len(kept.ids) == len(kept.errors) == len(kept.groups) == line["n_test"]
    cover = next(line for line in lines if line["rule"] == "cover")
    assert cover["unique"] == 16 and cover["redundancy_measured"] == 0


def test_two_processes_measure_what_one_does(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("curate.study.execute")  # the package has a function of that name
    monkeypatch.setattr(module, "threads", lambda: 1)  # as many threads a process in both: bits depend on it
    go(recipe, tmp_path / "one")
    go(recipe, tmp_path / "two", workers=2)
    assert told(tmp_path / "one") == told(tmp_path / "two")


def test_a_cluster_that_exists_measures_the_same_cells(
    recipe: dict[str, Any], tmp_path: Path, dask_cluster: str
) -> None:
    recipe = recipe | {"seeds": [0]}
    go(recipe, tmp_path / "here")
    outcome = go(recipe, tmp_path / "there", workers=None, scheduler=dask_cluster)
    assert not outcome.failures
    here, there = (told(tmp_path / name) for name in ("here", "there"))
    what = ("cell", "split", "metric", "n_train", "n_test", "faces", "unique")
    assert [[line[name] for name in what] for line in here] == [[line[name] for name in what] for line in there]
    np.testing.assert_allclose([line["value"] for line in here], [line["value"] for line in there], atol=0.1)


def test_a_killed_study_goes_on_and_ends_the_same(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe | {"seeds": [0, 1, 2], "budgets": [{"updates": 4}]}
    recipe["methods"]["swav"]["set"] = recipe["methods"]["swav"]["set"] | {"checkpoint_steps": 1}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "curate", "study", "r.yaml", "--out", "killed", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}  # where the tiny backbone is
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    out = tmp_path / "killed"
    while process.poll() is None and not list(out.glob("measured/*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and list(out.glob("measured/*.json"))
    with (out / "results.jsonl").open("ab") as file:
        file.write(b'{"backbone": "cut o')
    go(recipe, out)
    go(recipe, tmp_path / "whole")
    assert told(out) == told(tmp_path / "whole")


def test_what_cannot_be_had_is_told_and_stops_nothing_else(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["faces"] = [{"rule": ["cover", "random"], "size": [16, 100_000]}]
    outcome = go(recipe, tmp_path / "s")
    assert outcome.measured == 2 and len(outcome.failures) == 2
    assert all("100000" in failure.what and failure.why for failure in outcome.failures)
    assert json.loads((tmp_path / "s/failures.json").read_text()) == [
        {"what": failure.what, "why": failure.why} for failure in outcome.failures
    ]


def test_given_backbones_are_measured_without_training(recipe: dict[str, Any], tmp_path: Path) -> None:
    only = {name: recipe[name] for name in ("tasks", "device")} | {"seeds": [0, 1]}
    outcome = go(only | {"backbones": {"fresh": {"file": "random", "arch": "resnet18"}}}, tmp_path / "s")
    values = {line.result.seed: line.result.value for line in outcome.lines if line.result.metric == "nme"}
    assert outcome.measured == 2 and values[0] != values[1]
    assert {line.columns["training"] for line in outcome.lines} == {"fresh"}


def test_equal_passes_cost_less_for_fewer_faces(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe |= {"faces": [{"rule": "random", "size": [16, 32]}], "budgets": [{"passes": 1}]}
    outcome = go(recipe, tmp_path / "s")
    assert {line.columns["faces"]: line.columns["train_images"] for line in outcome.lines} == {16: 16, 32: 32}


def test_a_folder_of_something_else_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("x")
    with pytest.raises(UsageError, match="not a study"):
        go(recipe, tmp_path)
    assert not (tmp_path / "lock").exists()


def test_a_new_name_of_a_training_reaches_the_results(recipe: dict[str, Any], tmp_path: Path) -> None:
    go(recipe, tmp_path / "s")
    renamed = go(recipe | {"methods": {"SwAV, small": recipe["methods"]["swav"]}}, tmp_path / "s")
    assert renamed.measured == 0 and {line.columns["training"] for line in renamed.lines} == {"SwAV, small"}


def test_jobs_name_themselves(recipe: dict[str, Any]) -> None:
    cell = plan(StudyRecipe.model_validate(recipe)).cells[0]
    assert "rule cover, size 16" in jobs.StudyJob(cell.backbone.selection).name  # type: ignore[union-attr]
    assert "swav, seed 0" in jobs.StudyJob(trained=cell.backbone, cells=(cell,)).name  # type: ignore[arg-type]
