from __future__ import annotations

import json
import socket
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
    assert first["id"] == again["id"] == json.loads((tmp_path / "wandb.json").read_text())["run_id"]
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


@pytest.mark.filterwarnings("default::DeprecationWarning")  # MLflow's, of SQLAlchemy
def test_mlflow_without_a_server_keeps_a_resumed_run_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package that `curate-faces[mlflow]` installs, whose default store needs more than that package."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        require(recipe(mlflow="faces"))
        metrics = monitor.Metrics(
            tmp_path / "run/m.jsonl", step - 1, loggers_of(recipe(mlflow="faces"), tmp_path / "run", step - 1)
        )
        metrics.write({"step": step, "loss": 2.0 / step})
        metrics.close()
    known = json.loads((tmp_path / "run/mlflow.json").read_text())["run_id"]
    history = mlflow.MlflowClient().get_metric_history(known, "loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 2.0), (2, 1.0)]
    (run,) = mlflow.search_runs(experiment_names=["faces"], output_format="list")
    assert (run.data.params["method"], run.info.run_name, run.info.status) == ("swav", "run", "FINISHED")


def test_a_store_of_mlflow_that_cannot_be_opened_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    with socket.socket() as closed:  # bound, not listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(
            UnavailableError, match=r"log\.mlflow: .*127\.0\.0\.1.*; set MLFLOW_TRACKING_URI to"
        ) as told:
            require(recipe(mlflow="faces"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_who_is_not_logged_in_to_weights_and_biases_is_told_first(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def login() -> None:
        raise RuntimeError("No API key configured.")

    module: Any = ModuleType("wandb")
    module.login = login
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_MODE", mode)
    if mode == "offline":
        require(recipe(wandb="faces"))
        return
    with pytest.raises(UnavailableError, match=r"log\.wandb: No API key configured\.; run `wandb login`"):
        require(recipe(wandb="faces"))


class Listed:
    """Keeps what it is given; fails at one step."""

    def __init__(self, key: str, fails_at: int | None = None) -> None:
        self.key, self.fails_at, self.steps = key, fails_at, list[int]()

    def add(self, step: int, values: Any) -> None:
        if step == self.fails_at:
            raise ConnectionError("the server\nis gone")
        self.steps.append(step)

    def close(self) -> None:
        self.steps.append(-1)


def test_a_logger_that_fails_under_way_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing, sound = Listed("log.mlflow", fails_at=2), Listed("log.wandb")
    metrics = monitor.Metrics(tmp_path / "m.jsonl", 0, [failing, sound])
    for step in (1, 2, 3):
        metrics.write({"step": step, "loss": 1.0})
    metrics.close()
    assert capsys.readouterr().err.count("warning: log.mlflow: the server is gone;") == 1
    assert [line["step"] for line in monitor.read_metrics(tmp_path / "m.jsonl")] == [1, 2, 3]
    assert (failing.steps, sound.steps) == ([1], [1, 2, 3, -1])
