"""Where else the numbers of metrics.jsonl go: TensorBoard, Weights & Biases, MLflow, each where it is installed."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from curate.errors import UnavailableError, one_line
from curate.pretrain.config import PretrainRecipe
from curate.storage.documents import mapping, try_json, write_json


class Logger(Protocol):
    """Takes numbers by name at a step; `key` is the recipe's, for messages."""

    key: str

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""

    def close(self) -> None:
        """Ends it."""


class TensorBoard:
    """Event files below RUN/tensorboard; those of later steps than `step` are dropped."""

    key = "log.tensorboard"

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder), purge_step=step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Ends the event file."""
        self.writer.close()


class WeightsAndBiases:
    """A run of a project; RUN/wandb.json names it, so that a resumed run goes to the same one."""

    key = "log.wandb"

    def __init__(self, project: str, out: Path, config: dict[str, Any]) -> None:
        import wandb

        known = try_json(out / "wandb.json", lambda value: str(mapping(value)["run_id"])) or uuid.uuid4().hex[:16]
        self.run: Any = wandb.init(project=project, name=out.name, id=known, resume="allow", config=config)
        write_json(out / "wandb.json", {"run_id": known})

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        self.run.finish()


class MLflow:
    """A run of an experiment; RUN/mlflow.json names it, so that a resumed run goes to the same one."""

    key = "log.mlflow"

    def __init__(self, experiment: str, out: Path, config: dict[str, Any]) -> None:
        import mlflow

        self.mlflow: Any = mlflow
        mlflow.set_experiment(experiment)
        known = try_json(out / "mlflow.json", lambda value: str(mapping(value)["run_id"]))
        run = mlflow.start_run(run_id=known, run_name=None if known else out.name)
        if known is None:
            write_json(out / "mlflow.json", {"run_id": run.info.run_id})
            mlflow.log_params({name: str(value)[:250] for name, value in config.items()})

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""
        self.mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        self.mlflow.end_run()


# What helps where a logger cannot be reached.
WHAT_HELPS = {
    TensorBoard.key: "see that the disk takes files",
    WeightsAndBiases.key: "run `wandb login`, or set WANDB_MODE=offline to keep its files on this disk",
    MLflow.key: "set MLFLOW_TRACKING_URI to a server that answers, or leave it unset for mlflow.db in this folder",
}


def require(recipe: PretrainRecipe) -> None:
    """Refuses, before anything long begins, what cannot be had.

    Raises:
        UnavailableError: the package of a wished logger is not installed, MLflow's store cannot be opened, or nobody is
            logged in to Weights & Biases; says what helps.
    """
    log = recipe.log
    wished = {"tensorboard": log.tensorboard, "wandb": log.wandb is not None, "mlflow": log.mlflow is not None}
    modules = {}
    for package in (name for name, wish in wished.items() if wish):
        try:
            modules[package] = importlib.import_module(
                "torch.utils.tensorboard" if package == "tensorboard" else package
            )
        except ImportError:
            raise UnavailableError(f"log.{package}: {package} is not installed; pip install {package}") from None
    if "wandb" in modules and os.environ.get("WANDB_MODE", "online") == "online":
        with reached(WeightsAndBiases.key):
            modules["wandb"].login()
    if "mlflow" in modules:
        # MLflow's own 7 tries at a server that does not answer take four minutes, before the run and at each line.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        with reached(MLflow.key):
            modules["mlflow"].set_experiment(log.mlflow)


@contextmanager
def reached(key: str) -> Iterator[None]:
    """Turns whatever a logger's library raises into one line: they name no common class.

    Raises:
        UnavailableError: with what helps.
    """
    try:
        yield
    except Exception as error:
        raise UnavailableError(f"{key}: {one_line(error)}; {WHAT_HELPS[key]}") from error


def loggers_of(recipe: PretrainRecipe, out: Path, step: int) -> list[Logger]:
    """Those that the recipe asks for; `require` has seen that they can be had.

    Args:
        recipe: of the run.
        out: its folder.
        step: updates done already.

    Raises:
        UnavailableError: one cannot be reached any more.
    """
    config = recipe.model_dump(mode="json", exclude={"provenance"})
    found: list[Logger] = []
    if recipe.log.tensorboard:
        with reached(TensorBoard.key):
            found.append(TensorBoard(out / "tensorboard", step))
    if recipe.log.wandb is not None:
        with reached(WeightsAndBiases.key):
            found.append(WeightsAndBiases(recipe.log.wandb, out, config))
    if recipe.log.mlflow is not None:
        with reached(MLflow.key):
            found.append(MLflow(recipe.log.mlflow, out, config))
    return found
