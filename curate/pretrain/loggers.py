"""Where else the numbers of metrics.jsonl go: TensorBoard, Weights & Biases, MLflow, each where it is installed."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from curate.errors import UnavailableError
from curate.pretrain.config import PretrainRecipe
from curate.storage.documents import mapping, try_json, write_json


class Logger(Protocol):
    """Takes numbers by name at a step."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""

    def close(self) -> None:
        """Ends it."""


class TensorBoard:
    """Event files below RUN/tensorboard; those of later steps than `step` are dropped."""

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
    """A run of a project; the folder decides which, so that a resumed run goes to the same one."""

    def __init__(self, project: str, out: Path, config: dict[str, Any]) -> None:
        import wandb

        known = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
        self.run: Any = wandb.init(project=project, name=out.name, id=known, resume="allow", config=config)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of one line."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        self.run.finish()


class MLflow:
    """A run of an experiment; RUN/mlflow.json names it, so that a resumed run goes to the same one."""

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


def require(recipe: PretrainRecipe) -> None:
    """Refuses, before anything long begins, what cannot be had.

    Raises:
        UnavailableError: the package of a wished one is not installed; says how to get it.
    """
    log = recipe.log
    wished = {"tensorboard": log.tensorboard, "wandb": log.wandb is not None, "mlflow": log.mlflow is not None}
    for package in (name for name, wish in wished.items() if wish):
        try:
            importlib.import_module("torch.utils.tensorboard" if package == "tensorboard" else package)
        except ImportError:
            raise UnavailableError(f"log.{package}: {package} is not installed; pip install {package}") from None


def loggers_of(recipe: PretrainRecipe, out: Path, step: int) -> list[Logger]:
    """Those that the recipe asks for; `require` has seen that they can be had.

    Args:
        recipe: of the run.
        out: its folder.
        step: updates done already.
    """
    config = recipe.model_dump(mode="json", exclude={"provenance"})
    found: list[Logger] = []
    if recipe.log.tensorboard:
        found.append(TensorBoard(out / "tensorboard", step))
    if recipe.log.wandb is not None:
        found.append(WeightsAndBiases(recipe.log.wandb, out, config))
    if recipe.log.mlflow is not None:
        found.append(MLflow(recipe.log.mlflow, out, config))
    return found
