"""`run`: a study from its recipe to results.jsonl, on local processes, several GPUs or a Dask cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate import progress
from curate.hardware import cores, gpu_count, limit_threads, threads
from curate.manifests.decontaminated import left_unchecked
from curate.run import cluster
from curate.storage.build import open_build
from curate.storage.documents import read_json, write_json
from curate.storage.files import check_folder, exclusive_lock, remove_temporaries
from curate.storage.manifest import read_metadata
from curate.study import findings, jobs, page, results
from curate.study.config import StudyRecipe
from curate.study.grid import Plan, StudyCell, TrainedBackbone, plan
from curate.study.jobs import Failure, JobContext, StudyJob
from curate.study.results import Line


@dataclass(frozen=True)
class StudyOutcome:
    """A study that was gone through.

    Attributes:
        lines: all measurements of this recipe's cells.
        failures: what could not be done.
        measured: cells that were measured this time.
    """

    lines: list[Line]
    failures: list[Failure]
    measured: int


def run(recipe: StudyRecipe, out: Path, workers: int | None = None, scheduler: str | None = None) -> StudyOutcome:
    """Does what of a study is not done yet, and writes `DIR/results.jsonl` and its page, tables and figures.

    Args:
        out: folder of the study; an unfinished one is resumed.
        workers: local processes; 1 works in this one; None: one a GPU, else one a core.
        scheduler: a Dask cluster that exists and sees the same folders.

    Raises:
        UsageError: the recipe, a build or a data set cannot be used.
    """
    wanted = plan(recipe)
    check_folder(out, "study", ("lock",))
    with exclusive_lock(out, out / "lock", "curate study"):
        for name in (jobs.MANIFESTS, jobs.MEASURED):
            remove_temporaries(out / name)
        write_json(
            out / "study.json", {"recipe": recipe.model_dump(mode="json"), "cells": [cell.key for cell in wanted.cells]}
        )
        results.repair(out / results.NAME)
        write_down(out, wanted, wanted.cells)
        for line in _leaks(wanted):
            progress.say(line)
        open_cells = [cell for cell in wanted.cells if not jobs.measured_path(out, cell.key).exists()]
        failures = _work(wanted, open_cells, out, workers, scheduler) if open_cells else []
        write_json(out / "failures.json", [asdict(failure) for failure in failures])
        keys = {cell.key for cell in wanted.cells}
        there = results.read(out / results.NAME) if (out / results.NAME).exists() else []
        lines = [line for line in there if line.columns["cell"] in keys]
        done = sum(jobs.measured_path(out, cell.key).exists() for cell in open_cells)
        page.write(out, findings.of_study(out))
        return StudyOutcome(lines, failures, done)


def _leaks(wanted: Plan) -> list[str]:
    """A line for each build that was never compared with test pictures of the study."""
    folders = sorted({cell.data for cell in wanted.cells if isinstance(cell.backbone, TrainedBackbone)})
    return [
        f"{source.path}: never compared with the pictures of {folder}; "
        f"curate decontaminate {source.path} --against {folder} shows whether any were trained on"
        for source in wanted.sources.values()
        for folder in folders
        if source.content and left_unchecked(open_build(source.path), Path(folder))
    ]


def columns(cell: StudyCell, out: Path, wanted: Plan) -> dict[str, Any]:
    """What a line says beside the result: the cell, its manifest and its run."""
    backbone = cell.backbone
    found: dict[str, Any] = dict.fromkeys(results.COLUMNS)
    found |= {"cell": cell.key, "title": cell.title, "training": backbone.training, "budget": backbone.budget}
    if isinstance(backbone, TrainedBackbone):
        chosen = backbone.selection
        cut = read_metadata(jobs.manifest_path(out, chosen.key))
        spent = jobs.trained_of(out, backbone.key) or {}
        found |= {name: value for name, value in asdict(chosen).items() if name in results.COLUMNS}
        found |= {"faces": cut.size, "unique": cut.unique, "redundancy_measured": cut.redundancy}
        found |= {"kept_share": cut.size / wanted.sources[chosen.build].faces}
        found |= {"train_images": spent.get("images"), "train_seconds": spent.get("seconds")}
    return found


def write_down(out: Path, wanted: Plan, cells: Iterable[StudyCell]) -> int:
    """Appends to results.jsonl what was measured and does not stand there as it should; returns the number of lines."""
    path = out / results.NAME
    there = {_name(line): line for line in results.read(path)} if path.exists() else {}
    fresh = []
    for cell in cells:
        measured = jobs.measured_path(out, cell.key)
        if not measured.exists():
            continue
        about = columns(cell, out, wanted)
        for values in read_json(measured, list, "delete it and run the same curate study again"):
            if isinstance(cell.backbone, TrainedBackbone):
                values["backbone"] = cell.backbone.name
                values["manifest"] = f"{jobs.MANIFESTS}/{cell.backbone.selection.key}.parquet"
            line = results.of(values | about)
            known = there.get(_name(line))
            if known is None or known.line() != line.line():
                fresh.append(line)
    if fresh:
        results.append(path, fresh)
    return len(fresh)


def worker_count(recipe: StudyRecipe, workers: int | None) -> int:
    """Local processes that a study runs on: as many as asked for, else one a GPU, else one a core."""
    return workers or gpu_count(recipe.device) or cores()


def _work(
    wanted: Plan, open_cells: list[StudyCell], out: Path, workers: int | None, scheduler: str | None
) -> list[Failure]:
    """First all manifests that are missing, then every backbone with its cells."""
    gpus = gpu_count(wanted.recipe.device)
    count = worker_count(wanted.recipe, workers)
    inline = count == 1 and scheduler is None
    local = scheduler is None and not inline
    place = JobContext(
        folder=out.resolve(),
        builds={name: source.path.resolve() for name, source in wanted.sources.items()},
        device=wanted.recipe.device,
        threads=max(1, threads() // count) if local else None,
        gpus=gpus if local else 0,
        keep=wanted.recipe.keep_checkpoints,
    )
    failures: list[Failure] = []
    with _workers(count, scheduler, inline) as spread:
        cuts = _cuts(open_cells, out)
        with progress.stage("cutting manifests", len(cuts), "manifests") as advance:
            for _, found in spread(cuts, place):
                failures += found
                advance(1, _failed(failures))
        todo = _trainings(open_cells, out)
        with progress.stage("training and measuring", sum(len(job.cells) for job in todo), "cells") as advance:
            for job, found in spread(todo, place):
                failures += found
                write_down(out, wanted, job.cells)
                advance(len(job.cells), _failed(failures))
    return failures


def _cuts(open_cells: list[StudyCell], out: Path) -> list[StudyJob]:
    """A job for each manifest that is missing."""
    found = [cell.backbone.selection for cell in open_cells if isinstance(cell.backbone, TrainedBackbone)]
    selections = {chosen.key: chosen for chosen in found}
    return [StudyJob(s) for key, s in selections.items() if not jobs.manifest_path(out, key).exists()]


def _trainings(open_cells: list[StudyCell], out: Path) -> list[StudyJob]:
    """A job for each backbone that can be had, with its cells; random ones are another for each seed."""
    of_backbone: dict[str, list[StudyCell]] = defaultdict(list)
    for cell in open_cells:
        own = cell.backbone.key if isinstance(cell.backbone, TrainedBackbone) else f"{cell.backbone.key} {cell.seed}"
        of_backbone[own].append(cell)
    found = []
    for cells in of_backbone.values():
        trained = cells[0].backbone if isinstance(cells[0].backbone, TrainedBackbone) else None
        if trained is None or jobs.manifest_path(out, trained.selection.key).exists():
            found.append(StudyJob(trained=trained, cells=tuple(cells)))
    return found


@contextmanager
def _workers(count: int, scheduler: str | None, inline: bool) -> Iterator[Any]:
    """Yields a function from jobs and their place to jobs with their failures, as they are done."""
    if inline:
        limit_threads(threads())  # whatever this process did before: weights depend on the number of threads
        yield lambda todo, place: ((job, jobs.do(job, place)) for job in todo)
        return
    with cluster.Executor(count, scheduler).connect() as client:

        def spread(todo: list[StudyJob], place: JobContext) -> Iterator[tuple[StudyJob, list[Failure]]]:
            for job, found in cluster.stream(client, jobs.on_worker, todo, place):
                yield job, [Failure(job.name, _lost(found))] if isinstance(found, BaseException) else found

        yield spread


def _lost(error: BaseException) -> str:
    return cluster.LOST if cluster.died(error) else str(error)


def _failed(failures: list[Failure]) -> str:
    return f"{len(failures)} failed" if failures else ""


def _name(line: Line) -> tuple[str, str, str]:
    return line.columns["cell"], line.result.split, line.result.metric
