"""`curate pretrain`: options reach the run, mistakes are one line, torchrun's processes speak once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from curate import cli
from curate.errors import TrainingError
from curate.pretrain import loop
from curate.pretrain.monitor import read_metrics

SMALL = ["--method", "simclr", "--arch", "resnet18", "--crop-size", "32", "--batch", "8"]
SETTINGS = ["--set", "simclr.hidden=8", "--set", "probe.images=0", "--set", "optimiser.warmup_epochs=0"]


def call(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["curate", "pretrain", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_options_reach_the_run(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = ["--images", "24", "--seed", "5", "--workers", "2", "--device", "cpu", "--set", "log.every=1"]
    assert call(["--manifest", str(manifest), "--out", str(out), *SMALL, *SETTINGS, *options], monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"backbone: {out / 'backbone.pt'}", f"report: {out / 'report.html'}"]
    assert "training: 3 of 3" in said.err
    assert "images/s, loss " in said.err
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["method"], config["crop_size"], config["images"], config["seed"]) == ("simclr", 32, 24, 5)
    assert (config["data"]["workers"], config["device"], config["epochs"]) == (2, "cpu", None)
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == [1, 2, 3]


def test_a_build_that_was_moved_is_named(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(manifest.parents[1], tmp_path / "moved")
    away = tmp_path / "deep" / "m.parquet"
    away.parent.mkdir()
    shutil.copy(manifest, away)
    arguments = ["--manifest", str(away), *SMALL, *SETTINGS, "--steps", "1", "--device", "cpu"]
    assert call([*arguments, "--out", str(tmp_path / "a")], monkeypatch) == 2
    assert "--build says where it is" in capsys.readouterr().err
    assert call([*arguments, "--out", str(tmp_path / "b"), "--build", str(tmp_path / "moved")], monkeypatch) == 0
    assert yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())["data"]["build"] == str(tmp_path / "moved")


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ("no.parquet: there is no such manifest", ["--manifest", "no.parquet"]),
        ("nowhere://a.parquet: cannot be reached", ["--manifest", "nowhere://a.parquet"]),
        ("'--method': 'jigsaw' is not one of 'swav'", ["--method", "jigsaw"]),
        ("give one budget only", ["--steps", "2", "--epochs", "1"]),
        ("did you mean optimiser.lr", ["--set", "optimiser.lrr=1"]),
        ("--set seed: write key=value", ["--set", "seed"]),
        ("use --batch 64 or less", ["--batch", "100", "--steps", "1"]),
        ("needs a transformer", ["--method", "mae", "--arch", "resnet18"]),
        ("none.pt: there is no such file of weights", ["--init", "none.pt", "--batch", "8"]),
        ("'--device': 'tpu' is not one of", ["--device", "tpu"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    told: str,
    arguments: list[str],
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments if "--manifest" in arguments else ["--manifest", str(manifest), *arguments]
    assert call(["--out", "run", *given], monkeypatch) == 2
    lines = capsys.readouterr().err.splitlines()
    assert told in lines[-1]
    assert lines[-1].startswith("curate: ")
    assert not [line for line in lines if "Traceback" in line]


def test_training_that_went_wrong_is_status_1(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> None:
        raise TrainingError("step 3: the loss is nan")

    monkeypatch.setattr(loop, "run", run)
    assert call(["--manifest", str(manifest), "--out", str(tmp_path / "run"), "--steps", "4"], monkeypatch) == 1
    assert capsys.readouterr().err == "curate: step 3: the loss is nan\n"


def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "curate", "pretrain"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_under_torchrun_one_process_speaks(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = torchrun(["--manifest", str(manifest), "--out", str(out), *SMALL, *SETTINGS, "--steps", "2"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("backbone: ") == 1
    assert done.stderr.count("2 process(es) on cpu") == 1
    assert "conv1.weight" in torch.load(out / "backbone.pt", weights_only=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2]
    again = torchrun(["--manifest", str(manifest), "--out", str(out), *SMALL, *SETTINGS, "--steps", "1"])
    assert again.returncode != 0
    assert again.stderr.count("another run lies here: steps was 2, now 1") == 1
