"""The training loop: from a manifest and a recipe to RUN/backbone.pt, resumable at any step.

    RUN/config.yaml            the recipe as it was used, and what the run was made from
    RUN/metrics.jsonl          one object a log step
    RUN/checkpoints/last.pt    everything needed to resume
    RUN/backbone.pt            a plain state dict

Which pictures a step sees, how they are cropped and what chance decides in the network follow from the seed and the
number of the step alone. So a checkpoint needs no state of any random generator or worker, and a run that was killed
and resumed ends in the same weights as one that was not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.pretrain import checkpoint, distributed, methods, monitor, pictures, weights
from curate.pretrain.backbones import build
from curate.pretrain.config import PretrainRecipe, Provenance
from curate.pretrain.distributed import World
from curate.pretrain.labels import labels_of
from curate.pretrain.loader import EpochOrder
from curate.pretrain.provenance import provenance_of, register
from curate.pretrain.step import Stepper, shares
from curate.pretrain.trainer import Trainer, TrainingData, announcement
from curate.progress import Progress, say, silent, stage
from curate.storage.files import remove_temporaries, write_bytes
from curate.storage.manifest import Manifest, open_manifest


def run(source: str | Path, out: Path, recipe: PretrainRecipe, progress: Progress = stage) -> Path:
    """Pre-trains a backbone on a manifest, or resumes what lies in `out`.

    Under torchrun every process calls this; the first one writes.

    Args:
        source: path or fsspec URL of the manifest.
        out: folder of the run.
        recipe: see `curate.pretrain.config`.
        progress: how the first process shows it; the others are silent.

    Returns:
        Path of `backbone.pt`.

    Raises:
        UsageError: manifest, recipe and what lies in `out` do not fit together.
        StorageError: the disk is full; the last good checkpoint stays.
        TrainingError: the loss became not a number.
    """
    with distributed.world(recipe.device) as world:
        shares(recipe, world)
        if recipe.init is not None and not recipe.init.is_file():  # said before anything long begins
            raise UsageError(f"--init {recipe.init}: there is no such file of weights")
        found = open_manifest(source)
        cache = recipe.data.cache or out / "cache"
        if world.first:
            remove_temporaries(out)
        if world.local_rank == 0:
            pictures.pack(found, cache, progress if world.first else silent)
        distributed.barrier()
        opened = pictures.open_pictures(found, cache)
        try:
            data = _data(found, opened, recipe)
            _train(data, out, recipe, world, progress if world.first else silent)
        finally:
            opened.close()
        distributed.barrier()
        if world.local_rank == 0:
            pictures.discard(cache)
    return out / "backbone.pt"


def _data(found: Manifest, opened: pictures.PackedPictures, recipe: PretrainRecipe) -> TrainingData:
    """Raises UsageError where too few faces are left for a batch, or too few classes."""
    usable: NDArray[np.int64] = np.flatnonzero(opened.length).astype(np.int64)
    labels, classes = None, 0
    if recipe.kind.needs_labels:
        numbers, names = labels_of(found, recipe.data.labels)
        usable, labels, classes = usable[numbers[usable] >= 0], torch.from_numpy(numbers), len(names)
        if classes < 2:
            raise UsageError(f"data.labels = {recipe.data.labels}: {classes} distinct labels; 2 are needed to learn")
    if len(usable) < recipe.batch:
        raise UsageError(
            f"--batch {recipe.batch}: {found.path} has only {len(usable)} faces to learn from; "
            f"use --batch {max(2, len(usable))} or less, or a larger manifest"
        )
    return TrainingData(found, opened, EpochOrder(usable, recipe.batch, recipe.seed), labels, classes)


def _train(data: TrainingData, out: Path, recipe: PretrainRecipe, world: World, progress: Progress) -> None:
    steps = recipe.total_steps(len(data.order.positions))
    provenance = provenance_of(data.manifest, int((data.pictures.length == 0).sum()), recipe.init)
    identity = recipe.decisive() | {
        "manifest_sha256": provenance.manifest_sha256,
        "init_sha256": provenance.init_sha256,
    }
    saved = checkpoint.load(out / "checkpoints/last.pt", identity)
    torch.manual_seed(recipe.seed)
    stepper = Stepper(_method(data, recipe, world), recipe, world, steps, data.order.steps_per_epoch)
    if saved is not None:
        stepper.method.load_state_dict(saved.method)
        stepper.optimiser.load_state_dict(saved.optimiser)
        stepper.scaler.load_state_dict(saved.scaler)
    begin = saved.step if saved is not None else 0
    metrics = _begin(data, out, stepper, provenance, begin) if world.first else None
    with progress("training", steps - begin, "steps") as advance:
        Trainer(data, out, stepper, identity, metrics, advance).run(begin)
    if metrics is not None:
        metrics.close()


def _begin(data: TrainingData, out: Path, stepper: Stepper, provenance: Provenance, begin: int) -> monitor.Metrics:
    """Writes what a run says of itself before its first step."""
    recipe = stepper.recipe
    config = recipe.model_copy(update={"provenance": provenance}).model_dump(mode="json")
    write_bytes(out / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    register(out, recipe, provenance)
    for line in announcement(recipe, len(data.manifest), stepper):
        say(line)
    if begin:
        say(f"{out}: resumed after step {begin} of {stepper.steps}")
    events = out / "tensorboard" if recipe.log.tensorboard else None
    return monitor.Metrics(out / "metrics.jsonl", begin, events)


def _method(data: TrainingData, recipe: PretrainRecipe, world: World) -> methods.Method:
    """The networks on their device, with fresh or given weights."""
    backbone = build(recipe.arch, drop_path=recipe.kind.drop_path(recipe.settings))
    if recipe.init is not None:
        weights.load_into(backbone, recipe.init, recipe.arch)
    method = methods.build(backbone, recipe, data.classes)
    if world.size > 1 and recipe.sync_bn:
        distributed.sync_batch_norm(method, world.device)
    method.to(world.device)
    if recipe.channels_last:
        for parameter in method.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if recipe.compile:
        method.backbone.compile()
    return method.train()
