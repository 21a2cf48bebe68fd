"""Whole runs that decode JPEGs as on a GPU: to the bit those of the CPU, resumed where they began, processes alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from curate.errors import UnavailableError, UsageError
from curate.pretrain import gpu_jpeg
from curate.pretrain.monitor import read_metrics
from curate.pretrain.step import Stepper

from . import nvimgcodec_like, processes
from .short import go, same, state
from .test_gpu_jpeg import put


@pytest.fixture
def either(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package where it is installed, else the module like it: runs of both would show no more."""
    if find_spec("nvidia") is None or find_spec("nvidia.nvimgcodec") is None:
        put(monkeypatch, nvimgcodec_like)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs on the CPU decode as on a GPU."""
    monkeypatch.setattr(gpu_jpeg, "obstacle", lambda device: None)


def go_until(step: int, manifest: Path, out: Path, **overrides: Any) -> None:
    """A run that is stopped as by Ctrl-C."""
    real = Stepper.__call__

    def call(self: Stepper, images: Any, labels: Any, info: Any) -> Any:
        if info.step == step:
            raise KeyboardInterrupt
        return real(self, images, labels, info)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stepper, "__call__", call)
        go(manifest, out, **overrides)


@pytest.mark.usefixtures("either", "allowed")
class TestRuns:
    def test_a_run_is_that_of_the_cpu_and_says_where_it_decodes(
        self, make_build: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        manifest = make_build(damage=(1, 40))
        go(manifest, tmp_path / "cpu")
        assert "JPEGs are decoded" not in capfd.readouterr().err
        go(manifest, tmp_path / "gpu", **{"data.decode": "gpu"})
        assert re.search(
            r"JPEGs are decoded on the GPU \(nvImageCodec .*\): 62 of 64 there, 2 damaged", capfd.readouterr().err
        )
        assert same(state(tmp_path / "cpu"), state(tmp_path / "gpu"))
        for run in ("cpu", "gpu"):
            lines = [line for line in read_metrics(tmp_path / run / "metrics.jsonl") if "loss" in line]
            assert lines[-1]["damaged"] == 2
        recipe = yaml.safe_load((tmp_path / "gpu/config.yaml").read_text())
        assert (recipe["data"]["decode"], recipe["provenance"]["decode"]) == ("gpu", "gpu")
        assert not (tmp_path / "gpu/cache").exists()

    def test_a_resumed_run_stays_where_it_began(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out, auto = tmp_path / "run", {"data.decode": "auto", "checkpoint_steps": 2}
        go(manifest, tmp_path / "whole", **auto)
        go_until(3, manifest, out, **auto)
        with pytest.raises(UsageError, match=r'another run lies here: data\.decode was "gpu", now "cpu"'):
            go(manifest, out, **auto | {"data.decode": "cpu"})
        with monkeypatch.context() as patch:
            patch.setattr(gpu_jpeg, "obstacle", lambda device: "nvImageCodec is missing: pip install it")
            with pytest.raises(UnavailableError) as refused:
                go(manifest, out, **auto)
        assert str(refused.value) == (
            "data.decode: this run decodes JPEGs on the GPU; nvImageCodec is missing: pip install it; "
            "or use another --out"
        )
        capfd.readouterr()
        go(manifest, out, **auto)
        said = capfd.readouterr().err
        assert "JPEGs are decoded on the GPU" in said and "resumed after step 2 of 6" in said
        assert same(state(out), state(tmp_path / "whole"))

    def test_a_run_that_began_on_the_cpu_stays_there(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out, auto = tmp_path / "run", {"data.decode": "auto", "checkpoint_steps": 2}
        with monkeypatch.context() as patch:
            patch.setattr(gpu_jpeg, "obstacle", lambda device: "nvImageCodec is missing: pip install it")
            go_until(3, manifest, out, **auto)
        assert "JPEGs are decoded on the CPU: nvImageCodec is missing: pip install it" in capfd.readouterr().err
        with pytest.raises(UsageError, match=r'data\.decode was "cpu", now "gpu"'):
            go(manifest, out, **auto | {"data.decode": "gpu"})
        go(manifest, out, **auto)
        assert "JPEGs are decoded on the CPU: this run began so" in capfd.readouterr().err
        assert yaml.safe_load((out / "config.yaml").read_text())["provenance"]["decode"] == "cpu"

    def test_a_run_from_before_there_was_a_choice_goes_on(self, manifest: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        go_until(3, manifest, out, checkpoint_steps=2)
        saved = torch.load(out / "checkpoints/last.pt", weights_only=True)
        assert '"decode": "cpu"' in saved["identity"]
        saved["identity"] = saved["identity"].replace(', "decode": "cpu"', "")
        torch.save(saved, out / "checkpoints/last.pt")
        go(manifest, out, checkpoint_steps=2)
        assert int(state(out)["step"]) == 6

    def test_what_is_refused_on_the_way_is_said(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        real = gpu_jpeg.Codec.decode
        monkeypatch.setattr(gpu_jpeg.Codec, "decode", lambda self, jpegs: [None, *real(self, jpegs)[1:]])
        go(manifest, tmp_path / "run", **{"data.decode": "gpu"})
        said = capfd.readouterr().err
        assert re.search(r"warning, step 2: the GPU refuses \d sound JPEGs so far; the CPU decodes them", said)
        warnings = [
            line for line in read_metrics(tmp_path / "run/metrics.jsonl") if "refuses" in line.get("warning", "")
        ]
        assert warnings
        go(manifest, tmp_path / "cpu")
        assert same(state(tmp_path / "cpu"), state(tmp_path / "run"))


def test_two_processes_decode_alike(manifest: Path, tmp_path: Path) -> None:
    """Where the second one has no package, neither decodes on the GPU, and nobody waits for the other."""
    said, _ = processes.finish(processes.two("tests.pretrain.decoding", str(manifest), str(tmp_path)))
    assert "JPEGs are decoded on the CPU: it is missing here (process 1)" in said
    assert "JPEGs are decoded on the GPU" in said
    assert same(state(tmp_path / "alone"), state(tmp_path / "both"))
