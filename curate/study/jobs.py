"""What a worker of a study does: cuts a manifest, trains a backbone, measures cells. All of it can be resumed.

DIR/manifests/KEY.parquet    one a selection
DIR/runs/KEY/                one a training, as curate pretrain leaves it; done.json is written last
DIR/answers/KEY/             one a cell: how far off it was on every test picture
DIR/measured/KEY.json        one a cell: what curate evaluate found; written last
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curate import evaluate
from curate.errors import CurateError, one_line
from curate.hardware import limit_threads, take_gpu
from curate.pretrain import config, loop
from curate.pretrain.monitor import read_metrics
from curate.run import cluster
from curate.storage.documents import mapping, read_json, write_json
from curate.storage.files import atomic_write
from curate.storage.manifest import read_metadata
from curate.study import answers, selection
from curate.study.grid import Selection, StudyCell, TrainedBackbone

SETTLED = "CURATE_STUDY_WORKER"
"""Variable that a worker process sets once it has its threads and GPU."""
MANIFESTS, RUNS, MEASURED = "manifests", "runs", "measured"


@dataclass(frozen=True)
class JobContext:
    """What every job of a study needs to know.

    Attributes:
        folder: of the study.
        builds: name -> folder.
        device: auto, cpu or cuda.
        threads: for each local worker; None: leave them as they are.
        gpus: of this machine, which local workers take in turn; 0: leave it to the environment.
        keep: checkpoints of finished runs.
    """

    folder: Path
    builds: dict[str, Path]
    device: str
    threads: int | None
    gpus: int
    keep: bool


@dataclass(frozen=True)
class Failure:
    """A job that could not be done."""

    what: str
    why: str


@dataclass(frozen=True)
class StudyJob:
    """One manifest, or one backbone with its cells."""

    selection: Selection | None = None
    trained: TrainedBackbone | None = None
    cells: tuple[StudyCell, ...] = ()

    @property
    def name(self) -> str:
        """As failures name it."""
        if self.selection is not None:
            asked = {k: v for k, v in asdict(self.selection).items() if v is not None and k not in ("content",)}
            return "manifest " + ", ".join(f"{k} {v}" for k, v in asked.items())
        if self.trained is not None:
            return f"run {self.trained.key} ({self.trained.training}, seed {self.trained.seed})"
        return f"backbone {self.cells[0].backbone.training}"


def manifest_path(folder: Path, key: str) -> Path:
    """Of a selection."""
    return folder / MANIFESTS / f"{key}.parquet"


def run_path(folder: Path, key: str) -> Path:
    """Of a training."""
    return folder / RUNS / key


def measured_path(folder: Path, key: str) -> Path:
    """Of a cell."""
    return folder / MEASURED / f"{key}.json"


def do(job: StudyJob, place: JobContext) -> list[Failure]:
    """Does a job; never raises, so that one cell that cannot be had does not stop the others."""
    try:
        if job.selection is not None:
            _cut(job.selection, place)
        if job.trained is not None:
            _train(job.trained, place)
    except Exception as error:
        return [_failure(job.name, error, place)]
    failures = []
    with tempfile.TemporaryDirectory(prefix="curate-study-") as scratch:  # features that cells of a backbone share
        for cell in job.cells:
            try:
                _measure(cell, place, Path(scratch))
            except Exception as error:
                name = f"{job.name}: {cell.title}, {cell.mode}, fraction {cell.fraction:g}, seed {cell.seed}"
                failures.append(_failure(name, error, place))
    return failures


def on_worker(job: StudyJob, place: JobContext) -> list[Failure]:
    """`do` in a worker process, which gets its threads and its GPU before its first job."""
    if SETTLED not in os.environ:
        os.environ[SETTLED] = "yes"
        if place.threads is not None:
            limit_threads(place.threads)
        number = cluster.worker_name()
        if place.gpus and isinstance(number, int):
            take_gpu(number, place.gpus)
    return do(job, place)


def trained_of(folder: Path, key: str) -> dict[str, Any] | None:
    """What a finished run says of itself: `images`, `seconds`, `faces`; None while it is not finished."""
    path = run_path(folder, key) / "done.json"
    return read_json(path, mapping, "delete it and run the same curate study again") if path.exists() else None


def _cut(wanted: Selection, place: JobContext) -> None:
    out = manifest_path(place.folder, wanted.key)
    if not out.exists():
        selection.cut(place.builds[wanted.build], wanted, out)


def _train(wanted: TrainedBackbone, place: JobContext) -> None:
    """Trains, or goes on; what a finished run leaves beside its weights is its recipe and metrics."""
    if trained_of(place.folder, wanted.key) is not None:
        return
    out = run_path(place.folder, wanted.key)
    source = manifest_path(place.folder, wanted.selection.key)
    with _stderr_to(out / "log.txt"):
        loop.run(loop.Source(manifest=str(source)), out, config.load(wanted.file, dict(wanted.recipe)))
    if not place.keep:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    images, seconds = _spent(out)
    write_json(out / "done.json", {"images": images, "seconds": seconds, "faces": read_metadata(source).size})


def _spent(run: Path) -> tuple[int, float]:
    """Pictures seen and seconds of training, without probes and pauses, over all pieces of a run."""
    seen, seconds = 0, 0.0
    for line in read_metrics(run / "metrics.jsonl"):
        if "images_per_s" in line:
            seconds += (line["images"] - seen) / line["images_per_s"]
            seen = line["images"]
    return seen, round(seconds, 3)


def _measure(cell: StudyCell, place: JobContext, scratch: Path) -> None:
    out = measured_path(place.folder, cell.key)
    if out.exists():
        return
    backbone = cell.backbone
    beside = scratch / f"cell-{cell.key}"
    found = evaluate.run(
        cell.task,
        cell.dataset,
        str(place.folder / backbone.name) if isinstance(backbone, TrainedBackbone) else backbone.file,
        data=cell.data,
        mode=cell.mode,
        fraction=cell.fraction,
        shots=cell.shots,
        arch=backbone.arch,
        recipe=cell.file,
        overrides=dict(cell.keys) | {"extract.cache": str(scratch / cell.dataset)},
        out=beside / "results.jsonl",
        device=place.device,
    )
    answers.keep(beside / "curves", place.folder / answers.NAME / cell.key)
    # lists of training ids are not kept: a study's are those of its seeds
    write_json(out, [json.loads(replace(result, subset=None).line()) for result in found])


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """What a run says goes to a file: several at once would speak over each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        yield


def _failure(what: str, error: Exception, place: JobContext) -> Failure:
    """One line; of what was not foreseen the traceback is kept for a report of the bug."""
    if not isinstance(error, CurateError):
        text = traceback.format_exc()
        with contextlib.suppress(OSError), atomic_write(place.folder / "traceback.txt") as temporary:
            temporary.write_text(text, encoding="utf-8")
        return Failure(what, one_line(f"{type(error).__name__}: {error} (see traceback.txt)"))
    return Failure(what, one_line(error, 600))
