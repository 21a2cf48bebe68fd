"""Whole runs on a tiny build: files, budgets, killing and going on, refusing, diverging, full disks."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
import yaml

from curate import pretrain
from curate.errors import StorageError, TrainingError, UnavailableError, UsageError
from curate.pretrain import config, loop, page
from curate.pretrain.methods.simclr import Simclr
from curate.pretrain.monitor import read_metrics
from curate.pretrain.provenance import registered
from curate.storage.files import sha256_file
from curate.storage.manifest import open_manifest

from . import killed, processes
from .conftest import picture
from .short import SMALL, go, same, state
from .tiny import small_resnet


class TestFiles:
    def test_what_a_run_leaves(self, manifest: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        assert go(manifest, out) == out / "backbone.pt"
        assert sorted(path.name for path in out.iterdir()) == [
            "backbone.pt",
            "checkpoints",
            "config.yaml",
            "metrics.jsonl",
            "report.html",
        ]
        plain = torch.load(out / "backbone.pt", weights_only=True)
        assert not [name for name in plain if name.startswith("fc")]
        assert plain.keys() == small_resnet().state_dict().keys()
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = [line for line in lines if "loss" in line]
        assert [line["step"] for line in losses] == [2, 4, 6]
        assert {"step", "epoch", "images", "loss", "lr", "weight_decay", "images_per_s", "damaged"} <= losses[0].keys()
        assert losses[-1]["epoch"] == 1.5
        assert losses[-1]["images"] == 96
        probes = [line for line in lines if "knn_identity" in line]
        assert [line["step"] for line in probes] == [0, 4, 6]
        assert all(0 <= line["knn_identity"] <= 1 and line["effective_rank"] >= 1 for line in probes)

    def test_config_can_be_used_again_and_names_the_manifest(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "a")
        content = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
        assert content["provenance"]["manifest_sha256"] == sha256_file(manifest)
        assert content["provenance"]["build"] == "b" * 64
        pretrain.run(manifest, tmp_path / "b", recipe=tmp_path / "a/config.yaml")
        assert same(state(tmp_path / "a"), state(tmp_path / "b"))
        assert [run["run"] for run in registered(manifest.parent.parent)] == [str(tmp_path / "a"), str(tmp_path / "b")]

    @pytest.mark.parametrize(
        ("budget", "steps"), [({"epochs": 1.5}, 6), ({"steps": 3}, 3), ({"images": 40}, 3), ({"epochs": 0.01}, 1)]
    )
    def test_budgets(self, manifest: Path, tmp_path: Path, budget: dict[str, Any], steps: int) -> None:
        go(manifest, tmp_path / "run", **budget)
        assert int(state(tmp_path / "run")["step"]) == steps

    def test_checkpoints_are_kept(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "run", keep_epochs=0.5)
        kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
        assert kept == ["last.pt", "step-2.pt", "step-4.pt", "step-6.pt"]
        saved = torch.load(tmp_path / "run/checkpoints/step-4.pt", weights_only=True)
        assert saved["step"] == 4

    def test_what_cannot_be_recomputed_is_refused_by_name(self, manifest: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"recompute: not for tests\.pretrain\.tiny:small_resnet, only for"):
            go(manifest, tmp_path / "run", recompute=True)

    def test_workers_change_nothing(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "a", **{"data.workers": 1})
        go(manifest, tmp_path / "b", **{"data.workers": 5, "data.prefetch": 1})
        assert same(state(tmp_path / "a"), state(tmp_path / "b"))

    def test_seed_changes_everything(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "a")
        go(manifest, tmp_path / "b", seed=1)
        assert not same(state(tmp_path / "a"), state(tmp_path / "b"))

    def test_supervised_takes_faces_with_labels_alone(self, make_build: Callable[..., Path], tmp_path: Path) -> None:
        path = make_build(damage=(1,))
        over = {"method": "supervised", "data.labels": "identity", "probe.images": 0, "swav.queue": 0}
        go(path, tmp_path / "run", **over)
        saved = state(tmp_path / "run")
        assert saved["classifier.weight"].shape == (8, 512)
        assert saved["embedding.0.weight"].shape == (512, 64)
        lines = read_metrics(tmp_path / "run/metrics.jsonl")
        assert lines[-1]["damaged"] == 1

    def test_a_linear_probe_on_pictures_of_the_users(self, manifest: Path, tmp_path: Path) -> None:
        for number in range(8):
            path = tmp_path / "mine" / str(number % 2) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(simplejpeg.encode_jpeg(picture(number % 2, number)))
        go(manifest, tmp_path / "run", **{"probe.data": str(tmp_path / "mine")})
        lines = [line for line in read_metrics(tmp_path / "run/metrics.jsonl") if "linear_probe" in line]
        assert [line["step"] for line in lines] == [0, 4, 6]
        assert all(0 <= line["linear_probe"] <= 1 and line["linear_chance"] == 0.5 for line in lines)
        assert "Linear probe" in (tmp_path / "run/report.html").read_text()

    def test_begins_with_given_weights(self, manifest: Path, tmp_path: Path) -> None:
        first = go(manifest, tmp_path / "a", **{"optimiser.lr": 0.3})
        second = go(manifest, tmp_path / "b", init=str(first), steps=1, **{"optimiser.lr": 1e-9})
        a, b = (torch.load(path, weights_only=True) for path in (first, second))
        torch.testing.assert_close(a["conv1.weight"], b["conv1.weight"])


class TestTrouble:
    def test_not_a_number_stops_with_the_faces(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Simclr.loss
        monkeypatch.setattr(
            Simclr,
            "loss",
            lambda self, outputs, info: real(self, outputs, info) * (float("nan") if info.step == 4 else 1),
        )
        out = tmp_path / "run"
        with pytest.raises(TrainingError, match=r"step 5: the loss is nan; .*last good checkpoint is .*last\.pt"):
            go(manifest, out, method="simclr", checkpoint_steps=2, **{"swav.queue": 0, "simclr.hidden": 8})
        assert int(state(out)["step"]) == 4
        assert all(torch.isfinite(value.double()).all() for value in state(out).values())
        failed = json.loads((out / "failed-step-5.json").read_text())
        read = open_manifest(str(manifest))
        order = loop.EpochOrder(loop.np.arange(64), 16, 0)
        assert failed["faces"] == read.face_ids(order.at(4))

    def test_out_of_memory_is_one_line_with_the_setting(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        monkeypatch.setattr(loop.Stepper, "__call__", full)
        message = r"step 1: out of GPU memory with 16 pictures at once; --set micro_batch=8"
        with pytest.raises(TrainingError, match=message):
            go(manifest, tmp_path / "run")

    def test_what_cannot_be_had_is_reported_before_packing(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bad.pt").write_bytes(b"no weights")
        with pytest.raises(UsageError, match=r"bad\.pt: cannot be read as a file of weights"):
            go(manifest, tmp_path / "run", init=str(tmp_path / "bad.pt"))
        with pytest.raises(UsageError, match=r"probe\.data = .*none: no such folder"):
            go(manifest, tmp_path / "run", **{"probe.data": str(tmp_path / "none")})
        monkeypatch.setitem(sys.modules, "wandb", None)
        with pytest.raises(UnavailableError, match=r"log\.wandb: wandb is not installed"):
            go(manifest, tmp_path / "run", **{"log.wandb": "faces"})
        assert not (tmp_path / "run").exists()

    def test_too_few_faces(self, manifest: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"--batch 80: .* has only 64 faces to learn from; use --batch 64 or less"):
            go(manifest, tmp_path / "run", batch=80)
        assert not (tmp_path / "run").exists()  # nothing is packed for nothing

    def test_too_few_classes(self, manifest: Path, tmp_path: Path) -> None:
        table = pq.read_table(manifest).append_column("one", [["x"] * 64])
        pq.write_table(table, manifest)
        with pytest.raises(UsageError, match=r"data\.labels = one: 1 distinct labels"):
            go(manifest, tmp_path / "run", method="supervised", **{"data.labels": "one"})

    def test_a_full_disk_keeps_the_last_good_checkpoint(self, manifest: Path, tmp_path: Path) -> None:
        """The limit on file sizes stands in for a full disk: a write fails half-way through a larger checkpoint."""
        out = tmp_path / "run"
        go(manifest, out, steps=2)
        good = (out / "checkpoints/last.pt").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"last\.pt: cannot be written \(File too large\)"):
                go(manifest, out, steps=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert (out / "checkpoints/last.pt").read_bytes() == good
        assert list((out / "checkpoints").iterdir()) == [out / "checkpoints/last.pt"]


SCRIPT = """
import sys, json
from pathlib import Path
import torch
torch.set_num_threads(1)
from curate import pretrain
pretrain.run(sys.argv[1], sys.argv[2], overrides=json.loads(sys.argv[3]))
"""


def test_kill_9_at_any_moment(manifest: Path, tmp_path: Path) -> None:
    """A run that is killed again and again, wherever it happens to be, ends in the weights of one that was not."""
    over = SMALL | {"steps": 60, "checkpoint_steps": 1, "log.every": 1, "probe.images": 0}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SCRIPT, str(manifest), str(out), json.dumps(over)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    kills = 0
    for pause in (0.0, 0.13):
        process = start(tmp_path / "cut")
        seen = len(read_metrics(tmp_path / "cut/metrics.jsonl"))
        for _ in _patiently():
            if process.poll() is not None or len(read_metrics(tmp_path / "cut/metrics.jsonl")) > seen + 3:
                break
        time.sleep(pause)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 1
    last = start(tmp_path / "cut")
    errors = last.communicate(timeout=120)[1]
    assert last.returncode == 0, errors
    pretrain.run(manifest, tmp_path / "whole", overrides=over)
    assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))
    assert [line["loss"] for line in read_metrics(tmp_path / "cut/metrics.jsonl")] == [
        line["loss"] for line in read_metrics(tmp_path / "whole/metrics.jsonl")
    ]
    assert not (tmp_path / "cut/cache").exists()


def test_two_processes_are_killed_and_go_on(manifest: Path, tmp_path: Path) -> None:
    """Both in the bits of a run that was not stopped: with the weights in each process, and cut up between them."""
    first, second = processes.two("tests.pretrain.killed", str(manifest), str(tmp_path))
    _, errors = second.communicate(timeout=900)
    first.kill()
    first.communicate()
    assert second.returncode == -signal.SIGKILL, errors
    said, _ = processes.finish(processes.two("tests.pretrain.killed", str(manifest), str(tmp_path), "again"))
    assert said.count("resumed after step 3 of 6") == len(killed.RUNS)
    for name in killed.RUNS:
        whole, cut = (tmp_path / f"{name}-{run}" for run in ("whole", "cut"))
        assert same(state(whole), state(cut)), name
        losses = [
            [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line] for run in (whole, cut)
        ]
        assert losses[0] == losses[1]
        assert len(losses[0]) == killed.STEPS
        assert same(*(torch.load(run / "backbone.pt", weights_only=True) for run in (whole, cut)))


def _patiently(seconds: float = 60.0) -> Iterator[None]:
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        yield
        time.sleep(0.02)


def test_options_are_laid_over_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[config.PretrainRecipe] = []
    monkeypatch.setattr(loop, "run", lambda source, out, recipe: seen.append(recipe) or out)
    monkeypatch.setattr(page, "write", lambda run: run)
    (tmp_path / "r.yaml").write_text("method: moco\narch: resnet18\nepochs: 3\noptimiser: {lr: 0.5}\n")
    pretrain.run(
        "m.parquet", tmp_path, recipe=tmp_path / "r.yaml", steps=7, batch=32, crop_size=64, overrides={"seed": 3}
    )
    recipe = seen[0]
    assert (recipe.method, recipe.steps, recipe.epochs, recipe.batch, recipe.seed) == ("moco", 7, None, 32, 3)
    assert recipe.optimiser.lr == 0.5
    assert recipe.optimiser.weight_decay == 1e-4
    assert [view.size for view in recipe.views()] == [64]
