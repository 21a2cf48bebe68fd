"""What a study will cost, before it runs: cells, hours and gigabytes, measured by a few passes on this machine.

Training: forward and backward passes of the backbone at the sizes of its crops, times pictures; where runs of the same
training are finished in the folder, their own rate. Measuring: forward passes over the pictures of the data set (three
times for every pass of fine-tuning). Heads, decoding and waiting are not counted: an estimate, not a promise.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from curate import evaluate, hardware
from curate.errors import UsageError
from curate.evaluate import datasets
from curate.pretrain import config as pretraining
from curate.pretrain.backbones import build
from curate.study import jobs
from curate.study.grid import GivenBackbone, Plan, StudyBuild, StudyCell, TrainedBackbone

BATCH = 16
CROP_BYTES, ROW_BYTES, RESULT_BYTES = 15_000, 150, 3_000
"""Of a stored crop, of a manifest's row, of a cell's results."""
STATE = 4
"""A checkpoint holds about so many times the weights: networks, heads and the optimiser's state."""


@dataclass(frozen=True)
class Cost:
    """What is left to be done of a study.

    Attributes:
        cells, runs, manifests: how many of each, and how many of them are there already.
        training_seconds, measuring_seconds: of one core, or of one GPU where there is one.
        bytes: that stay; `peak_bytes` while it runs.
        unknown: what could not be counted, in words.
    """

    cells: tuple[int, int]
    runs: tuple[int, int]
    manifests: tuple[int, int]
    training_seconds: float
    measuring_seconds: float
    bytes: int
    peak_bytes: int
    unknown: tuple[str, ...]


def estimate(wanted: Plan, out: Path, workers: int) -> Cost:
    """Looks at what is there, and measures a few passes for the rest."""
    place = hardware.device(wanted.recipe.device)
    runs = [backbone for backbone in wanted.backbones if isinstance(backbone, TrainedBackbone)]
    open_runs = [run for run in runs if jobs.trained_of(out, run.key) is None]
    open_cells = [cell for cell in wanted.cells if not jobs.measured_path(out, cell.key).exists()]
    missing = [s for s in wanted.selections if not jobs.manifest_path(out, s.key).exists()]
    unknown: dict[str, None] = {}
    rates = _Rates(place, _measured_rates(out, runs))
    training, stays, most = 0.0, 0, 0
    for run in open_runs:
        source = wanted.sources[run.selection.build]
        faces = _faces(run, source, unknown)
        chosen = pretraining.load(run.file, dict(run.recipe))
        training += chosen.total_steps(faces) * chosen.batch * rates.update(run, chosen)
        weights = 4 * rates.parameters(run.arch)
        stays += weights
        most = max(most, STATE * weights + faces * CROP_BYTES)
    measuring = sum(_measure(cell, rates, unknown) for cell in open_cells)
    stays += sum(ROW_BYTES * int(s.size or wanted.sources[s.build].faces) for s in missing if (s.size or 1) >= 1)
    stays += RESULT_BYTES * len(open_cells)
    return Cost(
        (len(wanted.cells), len(wanted.cells) - len(open_cells)),
        (len(runs), len(runs) - len(open_runs)),
        (len(wanted.selections), len(wanted.selections) - len(missing)),
        training, measuring, stays, stays + most * workers, tuple(unknown),
    )  # fmt: skip


class _Rates:
    """Seconds a picture, each kind measured once."""

    def __init__(self, place: str, known: dict[tuple[str, str], float]) -> None:
        self.place, self.known = place, known
        self._passes: dict[tuple[str, int, bool], float] = {}
        self._sizes: dict[str, int] = {}

    def update(self, run: TrainedBackbone, chosen: pretraining.PretrainRecipe) -> float:
        """Seconds of training a picture."""
        if (run.training, run.budget) in self.known:
            return self.known[run.training, run.budget]
        crops = sum(view.count * self.passes(run.arch, view.size, True) for view in chosen.views())
        return crops * chosen.kind.cost

    def passes(self, arch: str, size: int, backward: bool) -> float:
        """Seconds of one forward (and backward) pass of one picture, in a small batch."""
        key = (arch, size, backward)
        if key not in self._passes:
            network = build(arch).to(self.place)
            pictures = torch.zeros(BATCH, 3, size, size, device=self.place)
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                self._passes[key] = min(_pass(network, pictures, backward) for _ in range(2)) / BATCH
            finally:
                torch.set_num_threads(threads)
        return self._passes[key]

    def parameters(self, arch: str) -> int:
        """Numbers in a backbone."""
        if arch not in self._sizes:
            with torch.device("meta"):
                self._sizes[arch] = sum(p.numel() for p in build(arch).parameters())
        return self._sizes[arch]


def _pass(network: torch.nn.Module, pictures: torch.Tensor, backward: bool) -> float:
    """Seconds of one pass of a batch."""
    started = time.perf_counter()
    with torch.set_grad_enabled(backward):
        answer = network(pictures)
        if backward:
            answer.sum().backward()
    if pictures.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _measured_rates(out: Path, runs: Iterable[TrainedBackbone]) -> dict[tuple[str, str], float]:
    """Seconds a picture of trainings of which runs are finished."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        record = jobs.trained_of(out, run.key)
        if record is not None and record["images"]:
            found[run.training, run.budget].append(record["seconds"] / record["images"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def _faces(run: TrainedBackbone, source: StudyBuild, unknown: dict[str, None]) -> int:
    """Faces of a run's manifest, at most; the batch where the build is not there."""
    size = run.selection.size
    if size is not None and size >= 1:
        return int(size)
    if not source.faces:
        unknown[f"build {source.name}: not at {source.path}; runs are counted as one pass of their batch"] = None
    return source.faces


def _measure(cell: StudyCell, rates: _Rates, unknown: dict[str, None]) -> float:
    if isinstance(cell.backbone, GivenBackbone) and cell.backbone.arch is None:
        unknown[f"backbone {cell.backbone.training}: its cost is not known before it is read"] = None
        return 0.0
    try:
        pictures, size = _extent(cell.dataset, cell.task, cell.data)
    except UsageError as error:
        unknown[f"task {cell.title}: {error}"] = None
        return 0.0
    arch = cell.backbone.arch or "resnet50"
    chosen = evaluate.load_recipe(cell.file, dict(cell.keys))
    size = chosen.crop.size or size
    seconds = pictures * rates.passes(arch, size, False)
    if cell.task == "recognition" and chosen.extract.mirror:
        seconds *= 2
    if cell.mode == "finetune":
        seconds = pictures * cell.fraction * chosen.finetune.epochs * rates.passes(arch, size, True) + seconds
    return seconds


_EXTENTS: dict[tuple[str, str, Path], tuple[int, int]] = {}


def _extent(dataset: str, task: str, path: Path) -> tuple[int, int]:
    """Pictures of a data set and the side of their crops."""
    key = (dataset, task, path)
    if key not in _EXTENTS:
        content = datasets.read(dataset, task, path)
        _EXTENTS[key] = len(content.samples), content.crop.size
    return _EXTENTS[key]
