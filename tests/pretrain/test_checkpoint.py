"""Runs that go on from a checkpoint, and those that must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate.errors import UsageError
from curate.pretrain import loop, methods
from curate.pretrain.monitor import read_metrics

from .short import go, same, state


class TestGoingOn:
    @pytest.fixture
    def stops(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Makes the run fail right before the update of a step."""

        def at(step: int) -> None:
            before = methods.CATALOGUE["swav"].before_update

            def stop(self: Any, info: methods.StepInfo) -> None:
                if info.step == step:
                    raise KeyboardInterrupt
                before(self, info)

            monkeypatch.setattr(methods.CATALOGUE["swav"], "before_update", stop)

        return at

    @pytest.mark.parametrize("step", [0, 1, 4, 5])
    def test_equals_the_run_that_was_not_stopped(
        self, manifest: Path, tmp_path: Path, step: int, stops: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go(manifest, tmp_path / "whole", checkpoint_steps=3)
        with monkeypatch.context():
            stops(step)
            with pytest.raises(KeyboardInterrupt):
                go(manifest, tmp_path / "cut", checkpoint_steps=3)
        monkeypatch.undo()
        go(manifest, tmp_path / "cut", checkpoint_steps=3)
        assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))
        whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
        timeless = [
            [(line["step"], line.get("loss"), line.get("knn_identity")) for line in lines] for lines in (whole, cut)
        ]
        assert timeless[0] == timeless[1]

    def test_a_finished_run_is_left_alone(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "run")
        before = (tmp_path / "run/metrics.jsonl").read_bytes()
        (tmp_path / "run/backbone.pt").unlink()
        assert go(manifest, tmp_path / "run").exists()
        assert (tmp_path / "run/metrics.jsonl").read_bytes() == before

    def test_refuses_another_recipe_and_says_what_differs(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "run")
        with pytest.raises(UsageError, match=r"optimiser\.lr was 0\.6, now 0\.1; seed was 0, now 4|seed was 0, now 4"):
            go(manifest, tmp_path / "run", seed=4, **{"optimiser.lr": 0.1})
        go(manifest, tmp_path / "run", **{"data.workers": 2, "log.every": 1})  # these decide nothing

    def test_a_finished_run_can_be_lengthened(
        self, manifest: Path, tmp_path: Path, stops: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go(manifest, tmp_path / "whole", steps=3)
        go(manifest, tmp_path / "whole", steps=6)
        assert int(state(tmp_path / "whole")["step"]) == 6
        content = yaml.safe_load((tmp_path / "whole/config.yaml").read_text())
        assert (content["steps"], content["provenance"]["lengthened"]) == (6, [3])
        lines = read_metrics(tmp_path / "whole/metrics.jsonl")
        assert [line["step"] for line in lines if "loss" in line] == [2, 3, 4, 6]
        go(manifest, tmp_path / "cut", steps=3)
        stops(5)
        with pytest.raises(KeyboardInterrupt):
            go(manifest, tmp_path / "cut", steps=6, checkpoint_steps=1)
        monkeypatch.undo()
        go(manifest, tmp_path / "cut", steps=6)
        assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))

    def test_what_cannot_be_lengthened_names_init(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "run", steps=3)
        for wish in ({"steps": 2}, {"steps": 6, "seed": 1}):
            with pytest.raises(UsageError, match=r"steps was 3, now .* with --init .*/run/backbone\.pt to begin from"):
                go(manifest, tmp_path / "run", **wish)

    def test_processes_that_do_not_see_the_checkpoint_are_named(
        self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go(manifest, tmp_path / "run", steps=3)
        monkeypatch.setattr(loop.distributed, "everywhere", lambda text: [text, text, "none"])
        with pytest.raises(UsageError, match=r"last\.pt: step 3 for process 0, none for process 2; .* share the disk"):
            go(manifest, tmp_path / "run", steps=3)

    def test_refuses_another_manifest(self, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        go(manifest, tmp_path / "run")
        table = pq.read_table(manifest)
        pq.write_table(table.slice(0, 40), manifest)
        monkeypatch.setattr(loop.pictures, "pack", lambda *_: pytest.fail("packed before it was refused"))
        with pytest.raises(UsageError, match="manifest_sha256 was"):
            go(manifest, tmp_path / "run")

    def test_a_damaged_checkpoint_is_named(self, manifest: Path, tmp_path: Path) -> None:
        go(manifest, tmp_path / "run")
        (tmp_path / "run/checkpoints/last.pt").write_bytes(b"half a checkpoint")
        with pytest.raises(UsageError, match=r"last\.pt: cannot be resumed from"):
            go(manifest, tmp_path / "run")
