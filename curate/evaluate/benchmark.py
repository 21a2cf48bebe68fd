"""`run`: one cell of the five-task benchmark, whatever the backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from curate import hardware
from curate.choices import TASKS, TaskName
from curate.errors import UnavailableError, UsageError
from curate.evaluate import config, datasets, encoders, protocol, results, supervised
from curate.evaluate.config import EvaluateRecipe
from curate.evaluate.context import Measurement, RunContext
from curate.evaluate.encoders import Encoder
from curate.evaluate.protocol import LabelBudget
from curate.evaluate.results import Result
from curate.evaluate.samples import Dataset
from curate.evaluate.tasks import recognition, trials
from curate.manifests.decontaminated import unchecked
from curate.pretrain import distributed
from curate.progress import Progress, silent
from curate.storage.scratch import scratch

Spec = str | Path | nn.Module


def run(  # noqa: PLR0913
    task: str,
    dataset: str,
    backbone: Spec,
    *,
    data: str | Path,
    mode: str = "linear",
    fraction: float | Sequence[float] = 1.0,
    shots: int | Sequence[int] | None = None,
    seeds: int = 1,
    arch: str | None = None,
    name: str | None = None,
    recipe: EvaluateRecipe | str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    out: str | Path | None = "results.jsonl",
    device: str = "auto",
    progress: Progress = silent,
) -> list[Result]:
    """Measures one backbone on one task and data set; leaves what `curate evaluate` leaves.

    It has the options of the command as keywords, hence their number.

    Args:
        task: recognition, landmarks, action_units, emotion or reconstruction.
        dataset: a name of the catalogue (`curate.evaluate.CATALOGUE`).
        backbone: a file, `random`, or any nn.Module (see `curate.evaluate.encoders`).
        data: the data set's folder, as its owners distribute it.
        mode: linear, finetune or knn.
        fraction: shares of the training samples, each measured.
        shots: instead, samples of each class (in all, where there are no classes), each measured.
        seeds: so many, from the recipe's `seed` upwards; a `random` backbone is drawn again for each.
        arch: for `random`, and checked against a file.
        name: what results call the backbone; None: the file as it is named here, `random`, or `CLASS@DIGEST`.
        recipe: a Recipe, or a YAML file; None for the defaults.
        overrides: dotted keys over a recipe file.
        out: results are appended to this file as they come; features and lists of ids lie beside it. None: nothing is
            written.
        device: auto, cpu or cuda.
        progress: `curate.progress.stage` shows how far it is.

    Returns:
        One result a metric, part of the test set, budget and seed.

    Raises:
        UsageError: an option, the recipe, the backbone or the folder is wrong; the line says how to fix it.
    """
    keys = recipe if isinstance(recipe, EvaluateRecipe) else config.load(Path(recipe) if recipe else None, overrides)
    budgets, kind = _checked(task, fraction, shots, seeds), protocol.mode_of(mode)
    _device(device)
    found: list[Result] = []
    here = distributed.world(device)
    with (
        scratch("features") as unkept,
        encoders.modes_kept(backbone),
    ):
        if not here.first:  # the others help to train, and leave the rest to it
            if not protocol.trains(kind, cast(TaskName, task), keys):
                return []
            out, progress = None, silent
        folder = Path(out).parent if out else None
        cache = keys.extract.cache or (folder / "features" if folder else unkept)
        content = _dataset(dataset, task, Path(data), keys)
        if out:
            results.check(Path(out))
        context = RunContext(content, Path(data), kind, keys, folder, cache, progress)
        measure = recognition.measure if content.task == "recognition" else supervised.measure
        for seed, loaded in _encoders(backbone, arch, name, range(keys.seed, keys.seed + seeds), str(here.device)):
            encoder = encoders.normalised(loaded, keys.extract.mean, keys.extract.std)
            encoder.origin = _with_unchecked_leaks(encoder.origin, Path(data))
            encoder.shapes(content.crop.size)  # refuses crops that the network cannot take
            if mode == "finetune" and not encoder.trainable:
                raise UsageError(f"--mode finetune: {encoder.origin.name} cannot be trained; use linear or knn")
            for of_budget in measure(Measurement(context, encoder, seed), budgets):
                if out:
                    results.append(Path(out), of_budget)
                found += of_budget
    return found


def _dataset(name: str, task: str, data: Path, keys: EvaluateRecipe) -> Dataset:
    """The data set as the recipe wants it: with others' people, or in folds, its crop at the wished size."""
    content = datasets.read(name, task, data, keys.data)
    if task == "recognition":
        content = recognition.with_people(content, keys.train)
        notes = trials.template_note(content, keys.templates)
        content = replace(content, notes=(*content.notes, *notes))
    else:
        content = protocol.with_folds(content, keys.split.folds)
    return replace(content, crop=content.crop.resized(keys.crop.size))


def _encoders(
    spec: Spec, arch: str | None, name: str | None, seeds: range, place: str
) -> Iterator[tuple[int, Encoder]]:
    """The encoder of each seed: the same one, but `random` is drawn again for each."""
    encoder: Encoder | None = None
    for seed in seeds:
        if encoder is None or (isinstance(spec, str) and spec == "random"):
            encoder = encoders.load(spec, arch, seed, place, name)
        yield seed, encoder


def _with_unchecked_leaks(origin: encoders.Origin, data: Path) -> encoders.Origin:
    """The origin with a note where nobody looked whether these test pictures were trained on."""
    note = unchecked(origin.manifest, data) if origin.manifest else None
    return origin if note is None else replace(origin, notes=(*origin.notes, note))


def _device(wish: str) -> None:
    try:
        hardware.device(wish)
    except UnavailableError:
        raise UnavailableError(f"--device {wish}: torch sees no GPU here; use auto or cpu") from None


def _checked(
    task: str, fraction: float | Sequence[float], shots: int | Sequence[int] | None, seeds: int
) -> list[LabelBudget]:
    """The budgets, after a look at the options."""
    if task not in TASKS:
        raise UsageError(f"--task {task}: none of {', '.join(TASKS)}")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: at least 1")
    shares = [float(fraction)] if isinstance(fraction, int | float) else [float(f) for f in fraction]
    if shots is not None:
        counts = [shots] if isinstance(shots, int) else list(shots)
        if counts and any(share != 1 for share in shares):
            raise UsageError("--fraction and --shots: give one of them")
        if counts:
            return [LabelBudget(1.0, count) for count in counts]
    return [LabelBudget(share) for share in shares or [1.0]]
