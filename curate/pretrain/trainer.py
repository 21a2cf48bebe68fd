"""One run in one process: its steps, and what is logged, probed and saved between them."""

from __future__ import annotations

import math
import resource
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.errors import TrainingError
from curate.pretrain import cost, distributed, loader, monitor, weights
from curate.pretrain.checkpoint import LAST, Checkpoint
from curate.pretrain.config import PretrainRecipe
from curate.pretrain.distributed import World
from curate.pretrain.faces import Faces
from curate.pretrain.gpu_jpeg import GpuDecoder
from curate.pretrain.linear_probe import LabelledPictures
from curate.pretrain.loader import Batch, EpochOrder
from curate.pretrain.pictures import PackedPictures
from curate.pretrain.probe import Prober
from curate.pretrain.step import Stepper
from curate.progress import Advance, Pace, say
from curate.storage.documents import write_json

TIMED_STEPS = 4
"""Steps from which the time of a run is reckoned."""


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        faces: which ones.
        pictures: of them.
        order: in which they are seen.
        labels: int64 [n] on the CPU, a number for each face; None where the method needs none.
        classes: distinct labels.
        identity: what decides the weights: recipe, manifest and initial weights, as plain values.
        labelled: pictures of the linear probe, if there is one.
        kinds: uint8 [n], what `survey` says of each picture, where the GPU decodes them; None: the CPU does.
    """

    faces: Faces
    pictures: PackedPictures
    order: EpochOrder
    labels: Tensor | None
    classes: int
    identity: dict[str, Any]
    labelled: LabelledPictures | None = None
    kinds: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Start:
    """Where a run begins, and what its checkpoints say of it.

    Attributes:
        step: updates done already.
        lengthened: see `Checkpoint`.
    """

    step: int
    lengthened: list[int]


class Trainer:
    """Drives a `Stepper` through its steps.

    Args:
        data: what is learned from.
        out: folder of the run.
        stepper: with the state to begin from.
        start: where it begins.
        metrics: where the first process writes; None in others.
        advance: shows progress.
    """

    def __init__(
        self,
        data: TrainingData,
        out: Path,
        stepper: Stepper,
        start: Start,
        metrics: monitor.Metrics | None,
        advance: Advance,
    ) -> None:
        self.data, self.out, self.stepper, self.start = data, out, stepper, start
        self.metrics, self.advance = metrics, advance
        self.recipe: PretrainRecipe = stepper.recipe
        self.world: World = stepper.world
        per_epoch = data.order.steps_per_epoch
        self.save_every = self.recipe.checkpoint_steps or per_epoch
        self.probe_every = max(1, round(self.recipe.probe.epochs * per_epoch))
        frozen, _ = self.recipe.kind.frozen_steps(self.recipe.settings, per_epoch)
        self.detector = monitor.CollapseDetector(
            self.recipe.chance_loss(data.classes), self.recipe.kind.remedy, free_steps=frozen
        )
        self.probes = bool(self.recipe.probe.images) or self.recipe.probe.data is not None
        self.prober: Prober | None = None
        if metrics is not None and self.probes:
            self.prober = Prober(self.recipe, data.faces, data.pictures, data.order.positions, data.labelled)
        self.pace = Pace()
        self.damaged: set[int] = set()
        self.on_gpu = self._gpu_decoder()
        self.refused = 0
        self.clock, self.seen = time.monotonic(), 0
        self.timed = self.clock

    def run(self) -> None:
        """Takes the steps that are left.

        Raises:
            TrainingError: the loss is not a number.
            StorageError: the disk is full; the checkpoint before stays.
        """
        if self.start.step == 0:
            self._probe(0)
        if self.start.step >= self.stepper.steps:
            self._save(self.start.step)
        self.clock = time.monotonic()
        for batch, loss in self._losses():
            self._after(batch, loss)

    def _losses(self) -> Iterator[tuple[Batch, float]]:
        """Every step's batch and loss, once the loss is known to be a number.

        On a GPU a loss is looked at when the next step is under way, so that the device never waits for it; before
        anything is written, all are.
        """
        device = self.world.device
        waiting: deque[tuple[Batch, Tensor]] = deque()
        copies: deque[torch.cuda.Event] = deque()
        for batch in self._batches():
            images = batch.images.to(device, non_blocking=True)
            if device.type == "cuda" and batch.images.device.type == "cpu":
                copies.append(torch.cuda.current_stream(device).record_event())
            labels = None
            if self.data.labels is not None:
                labels = self.data.labels[torch.from_numpy(batch.positions)]
            waiting.append((batch, self._step(images, labels, batch.step)))
            keep = 1 if copies and not self._pauses(batch.step + 1) else 0
            while len(waiting) > keep:
                yield self._finite(*waiting.popleft())
            if len(copies) > 1:  # the step before is under way: its pictures have long arrived
                copies.popleft().synchronize()  # and the loader may write to their memory again

    def _step(self, images: Tensor, labels: Tensor | None, step: int) -> Tensor:
        """One update; raises TrainingError where it does not fit into memory."""
        try:
            return self.stepper(images, labels, self.stepper.info(step))
        except torch.OutOfMemoryError as error:
            micro, share = self.stepper.micro, self.stepper.share
            raise TrainingError(
                f"step {step + 1}: out of GPU memory with {micro} pictures at once; "
                f"{cost.smaller(share, micro, micro // 2)}, and another --out where a checkpoint is there already"
            ) from error

    def _gpu_decoder(self) -> GpuDecoder | None:
        """Where JPEGs are decoded on the GPU, what does it."""
        data, kinds = self.data, self.data.kinds
        if kinds is None:
            return None
        threads = self.recipe.data.workers or distributed.cores_each()
        return GpuDecoder(data.pictures, data.order.positions, kinds, self.world.device, threads)

    def _batches(self) -> Iterator[Batch]:
        recipe, world = self.recipe, self.world
        return loader.batches(
            self.data.pictures,
            self.data.order,
            range(self.start.step, self.stepper.steps),
            (world.rank, world.size),
            loader.ReadAhead(
                threads=recipe.data.workers or distributed.cores_each(),
                batches=recipe.data.prefetch,
                pinned=world.device.type == "cuda",
            ),
            self.on_gpu,
        )

    def _finite(self, batch: Batch, loss: Tensor) -> tuple[Batch, float]:
        value = float(loss)
        if math.isfinite(value):
            return batch, value
        last = self.out / LAST
        named = self.out / f"failed-step-{batch.step + 1}.json"
        if self.metrics is not None:
            faces = self.data.faces.face_ids(self.data.order.at(batch.step))
            write_json(named, {"step": batch.step + 1, "loss": str(value), "faces": faces})
            self.metrics.write({"step": batch.step + 1, "loss": None, "warning": "the loss is not a number"})
        good = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
        raise TrainingError(
            f"step {batch.step + 1}: the loss is {value}; the batch's faces are in {named}; {good}. Lower "
            "optimiser.lr, lengthen optimiser.warmup_epochs, or use precision=fp32, with another --out"
        )

    def _pauses(self, done: int) -> bool:
        """Whether something is written after `done` updates."""
        often = (self.recipe.log.every, self.probe_every, self.save_every)
        return self._kept(done) or any(self._due(done, every) for every in often)

    def _kept(self, done: int) -> bool:
        """Whether the checkpoint after `done` updates is kept."""
        passes = self.recipe.keep_epochs
        return passes is not None and done > 0 and done % max(1, round(passes * self.stepper.steps_per_epoch)) == 0

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.stepper.steps

    def _after(self, batch: Batch, loss: float) -> None:
        done = batch.step + 1
        self.seen += self.recipe.batch
        self.damaged.update(batch.damaged.tolist())
        self._time(done)
        self.advance(1, f"step {done}, {self._rate():.1f} images/s, loss {loss:.4f}")
        if self._due(done, self.recipe.log.every):
            self._log(done, loss)
        if self._due(done, self.probe_every):
            self._probe(done)
        if self._due(done, self.save_every) or self._kept(done):
            self._save(done)

    def _time(self, done: int) -> None:
        """Says, once the first steps are taken, how long the others will take."""
        timed = done - self.start.step
        if timed == 1:  # what is made ready once is over
            self.timed = time.monotonic()
        elif timed == 1 + TIMED_STEPS and self.metrics is not None:
            each = (time.monotonic() - self.timed) / TIMED_STEPS
            left = each * (self.stepper.steps - done)
            say(f"{each:.3g} s a step: about {_duration(left)} for the {self.stepper.steps - done} steps left")

    def _log(self, done: int, loss: float) -> None:
        """One line of metrics. Every process comes here, only the first one writes."""
        damaged = self._everywhere(len(self.damaged))
        refused = self._everywhere(len(self.on_gpu.refused)) if self.on_gpu is not None else 0
        if self.metrics is not None:
            self.metrics.write(
                {
                    "step": done,
                    "epoch": done / self.data.order.steps_per_epoch,
                    "images": done * self.recipe.batch,
                    "loss": loss,
                    "lr": self.stepper.rate.at(done - 1),
                    "weight_decay": self.stepper.decay.at(done - 1),
                    "images_per_s": self._rate(),
                    "peak_mb": _peak_mb(self.world.device),
                    "damaged": damaged,
                }
            )
            self._warn(done, self.detector.loss(loss, done))
            if refused > self.refused:
                self._warn(done, f"the GPU refuses {refused} sound JPEGs so far; the CPU decodes them")
                self.refused = refused
        self.clock, self.seen = time.monotonic(), 0

    def _everywhere(self, count: int) -> int:
        """The sum of a number over all processes, which all come here."""
        return int(distributed.total(torch.tensor(count, device=self.world.device)))

    def _rate(self) -> float:
        """Pictures a second since the last line, without probes and checkpoints."""
        return self.seen / max(time.monotonic() - self.clock, 1e-9)

    def _probe(self, done: int) -> None:
        """Every process comes here, only the first one probes."""
        if not self.probes:
            return
        begun = time.monotonic()
        backbone = self.stepper.exported()
        if self.prober is None or self.metrics is None or backbone is None:
            return
        result = self.prober.probe(backbone)
        if result is not None:
            self.metrics.write({"step": done, "epoch": done / self.data.order.steps_per_epoch} | result.line())
            if self.pace.due(result.text()) or done in (0, self.stepper.steps):  # of tiny passes not each is news
                say(f"step {done}: {result.text()}")
            if done:  # fresh weights need not spread anything
                self._warn(done, self.detector.features(result))
        self.clock += time.monotonic() - begun

    def _warn(self, done: int, text: str | None) -> None:
        if text is not None and self.metrics is not None:
            say(f"warning, step {done}: {text}")
            self.metrics.write({"step": done, "warning": text})

    def _save(self, done: int) -> None:
        """Writes checkpoint and backbone. Every process comes here, only the first one writes."""
        begun = time.monotonic()
        stepper = self.stepper
        state, backbone = stepper.state(), stepper.exported()
        if not self.world.first or backbone is None:
            return
        checkpoint = Checkpoint(done, stepper.steps, self.start.lengthened, self.data.identity, *state)
        checkpoint.save(self.out / LAST)
        if self._kept(done):
            checkpoint.save(self.out / f"checkpoints/step-{done}.pt")
        weights.save_backbone(backbone, self.out / "backbone.pt")
        self.clock += time.monotonic() - begun


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"


def announcement(recipe: PretrainRecipe, faces: int, stepper: Stepper) -> list[str]:
    """What a user should know of a run before it begins, a line each."""
    steps, per_epoch = stepper.steps, stepper.steps_per_epoch
    lines = [
        f"{recipe.method} {recipe.arch} on {faces} faces: {steps} steps of {recipe.batch} images "
        f"({steps / per_epoch:.3g} passes), {stepper.world.size} process(es) on {stepper.world.device.type}"
    ]
    if recipe.shard:
        lines.append(
            f"weights, gradients and the optimiser's numbers are cut up among the {stepper.world.size} processes"
        )
    optimiser = recipe.optimiser
    if optimiser.lr_batch and optimiser.lr_batch != recipe.batch:
        lines.append(
            f"learning rate {optimiser.lr:g} is for a batch of {optimiser.lr_batch}: "
            f"{stepper.rate.peak:g} at {recipe.batch} (optimiser.lr_batch=null keeps it)"
        )
    if stepper.rate.warmup >= steps:
        lines.append(f"warning: the whole run is warm-up; set optimiser.warmup_epochs below {steps / per_epoch:.3g}")
    frozen, key = recipe.kind.frozen_steps(recipe.settings, per_epoch)
    if frozen >= steps:
        lines.append(
            f"warning: part of the head stays frozen for the whole run ({frozen} of {steps} steps); lower {key}"
        )
    return lines


def _peak_mb(device: torch.device) -> float:
    """Most memory so far: of the GPU's tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
