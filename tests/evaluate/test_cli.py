"""`curate evaluate` as a user types it: measurements, tables, figures, and mistakes in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from curate import cli
from tests.evaluate import layouts

SMALL = ["--set", "crop.size=32", "--set", "extract.batch=8", "--device", "cpu"]
RANDOM = ["--backbone", "random", "--arch", "resnet18", *SMALL]


def curate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `curate evaluate ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["curate", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a small data set in `faces/`."""
    folder = tmp_path_factory.mktemp("user")
    layouts.make_csv(folder / "faces", count=30)
    (folder / "empty.jsonl").write_text("")
    (folder / "torn.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    (folder / "wrong.yaml").write_text("linear: {stength: 1}\n")
    (folder / "noise.pt").write_bytes(b"noise")
    (folder / "noise.onnx").write_bytes(b"noise")
    return folder


def test_cells_are_measured_appended_and_tabled(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    cell = [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "faces"]
    assert curate(monkeypatch, *cell, "--fraction", "1", "--fraction", "0.5", "--seeds", "2") == 0
    said = capsys.readouterr()
    assert "random" in said.out and "50 %" in said.out and "±" in said.out
    assert "features: 30 of 30" in said.err and "results.jsonl" in said.err
    assert curate(monkeypatch, *cell, "--mode", "knn", "--shots", "1", "--shots", "2") == 0
    capsys.readouterr()
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert {(r["mode"], r["fraction"], r["shots"], r["seed"]) for r in rows} == {
        ("linear", 1.0, None, 0), ("linear", 0.5, None, 0), ("linear", 1.0, None, 1), ("linear", 0.5, None, 1),
        ("knn", 1.0, 1, 0), ("knn", 1.0, 2, 0),
    }  # fmt: skip
    for form, sign in (("text", "---"), ("markdown", "|---|"), ("latex", r"\toprule"), ("html", "<table>")):
        assert curate(monkeypatch, "--table", "results.jsonl", "--format", form) == 0
        assert sign in capsys.readouterr().out
    assert curate(monkeypatch, "--table", "results.jsonl", "--figures", "figures") == 0
    capsys.readouterr()
    assert list(Path("figures").glob("few-shot-*.svg"))


CELL = ["--task", "emotion", "--dataset", "csv", "--data", "faces"]


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ("--backbone, --task, --dataset, --data missing", []),
        ("--data missing", [*RANDOM, "--task", "emotion", "--dataset", "csv"]),
        ("--task feelings", [*RANDOM, "--task", "feelings", "--dataset", "csv", "--data", "faces"]),
        ("--dataset cvs", [*RANDOM, "--task", "emotion", "--dataset", "cvs", "--data", "faces"]),
        ("there is no such folder", [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "nowhere"]),
        ("labels.csv", [*RANDOM, "--task", "emotion", "--dataset", "csv", "--data", "."]),
        ("give one of them", [*RANDOM, *CELL, "--fraction", "0.5", "--shots", "2"]),
        ("--fraction 2.0", [*RANDOM, *CELL, "--fraction", "2"]),
        ("--shots 0", [*RANDOM, *CELL, "--shots", "0"]),
        ("--seeds 0", [*RANDOM, *CELL, "--seeds", "0"]),
        ("--mode lineer", [*RANDOM, *CELL, "--mode", "lineer"]),
        ("--device gpu", [*RANDOM, *CELL, "--device", "gpu"]),
        ("--arch resnet7", ["--backbone", "random", "--arch", "resnet7", *SMALL, *CELL]),
        ("nothing.pt", ["--backbone", "nothing.pt", *CELL]),
        ("noise.pt", ["--backbone", "noise.pt", *CELL]),
        ("noise.onnx", ["--backbone", "noise.onnx", *CELL]),
        ("linear.strengths", [*RANDOM, *CELL, "--recipe", "wrong.yaml"]),
        ("linear.strengths", [*RANDOM, *CELL, "--set", "linear.stength=1"]),
        ("needs --table", [*RANDOM, *CELL, "--figures", "f"]),
        ("none.jsonl", ["--table", "none.jsonl"]),
        ("no measurements yet", ["--table", "empty.jsonl"]),
        ("torn.jsonl:1", ["--table", "torn.jsonl"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    told: str, arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert curate(monkeypatch, *arguments, *(() if "--table" in arguments else ("--out", "mistakes.jsonl"))) == 2
    errors = capsys.readouterr().err
    assert told in errors and len(errors.strip().splitlines()) == 1, errors
    assert not Path("mistakes.jsonl").exists()
