from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from curate.errors import UnavailableError
from curate.pretrain import config, monitor
from curate.pretrain.loggers import loggers_of, require


def recipe(**log: Any) -> config.PretrainRecipe:
    return config.load(None, {"steps": 1} | {f"log.{key}": value for key, value in log.items()})


@pytest.mark.parametrize(("key", "value"), [("tensorboard", True), ("wandb", "p"), ("mlflow", "p")])
def test_what_is_not_installed_says_how_to_get_it(key: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if key == "tensorboard" else key, None)
    with pytest.raises(UnavailableError, match=rf"log\.{key}: {key} is not installed; pip install {key}"):
        require(recipe(**{key: value}))
    require(recipe())


def test_numbers_reach_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("end"))
    module = ModuleType("wandb")
    module.init = lambda **options: calls.append(options) or run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        metrics = monitor.Metrics(tmp_path / "m.jsonl", 0, loggers_of(recipe(wandb="faces"), tmp_path, 0))
        metrics.write({"step": 3, "loss": 0.5, "bad": float("nan"), "warning": "text"})
        metrics.close()
    first, line, end, again, *_ = calls
    assert (first["project"], first["resume"], first["config"]["method"]) == ("faces", "allow", "swav")
    assert first["id"] == again["id"]
    assert (line, end) == ((3, {"loss": 0.5}), "end")


def test_a_resumed_run_goes_to_the_same_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    module: Any = ModuleType("mlflow")
    module.set_experiment = calls.append
    module.start_run = lambda run_id, run_name: (
        calls.append((run_id, run_name)) or SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    )
    module.log_params = lambda values: calls.append(sorted(values)[:1])
    module.log_metrics = lambda values, step: calls.append((step, values))
    module.end_run = lambda: calls.append("end")
    monkeypatch.setitem(sys.modules, "mlflow", module)
    for _ in range(2):
        (logger,) = loggers_of(recipe(mlflow="faces"), tmp_path, 0)
        logger.add(1, {"loss": 2.0})
        logger.close()
    line = (1, {"loss": 2.0})
    first = ["faces", (None, tmp_path.name), ["arch"], line, "end"]
    assert calls == [*first, "faces", ("r1", None), line, "end"]
    assert json.loads((tmp_path / "mlflow.json").read_text()) == {"run_id": "r1"}
