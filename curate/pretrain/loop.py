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

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.pretrain import (
    checkpoint,
    cost,
    distributed,
    gpu_jpeg,
    methods,
    monitor,
    pictures,
    probe,
    sharding,
    survey,
    weights,
)
from curate.pretrain.backbones import Backbone, build
from curate.pretrain.config import PretrainRecipe, Provenance
from curate.pretrain.distributed import World
from curate.pretrain.faces import Faces, open_faces
from curate.pretrain.loader import EpochOrder
from curate.pretrain.loggers import loggers_of, require
from curate.pretrain.provenance import provenance_of, register
from curate.pretrain.step import Stepper, shares
from curate.pretrain.trainer import Start, Trainer, TrainingData, announcement
from curate.progress import Progress, say, silent, stage
from curate.storage.files import remove_temporaries, sha256_file, write_bytes


@dataclass(frozen=True)
class Source:
    """Where the faces of a run lie: one of the two.

    Attributes:
        manifest: path or fsspec URL of a manifest.
        data: folder or URL of pictures; see `curate.pretrain.picture_sets`.
    """

    manifest: str | None = None
    data: str | None = None


def run(source: Source, out: Path, recipe: PretrainRecipe, progress: Progress = stage) -> Path:
    """Pre-trains a backbone on a manifest, or resumes what lies in `out`.

    Under torchrun every process calls this; the first one writes.

    Args:
        source: a manifest, or other pictures.
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
    world = distributed.world(recipe.device)
    shares(recipe, world)
    shown = progress if world.first else silent
    if world.first:
        require(recipe)
    torch.manual_seed(recipe.seed)
    backbone = _backbone(recipe, world)  # weights that cannot be had are reported before anything long begins
    for path in recipe.kind.files(recipe.settings):
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file of weights")
    labelled = probe.read_labelled(recipe) if world.first else None
    found = open_faces(source.manifest, source.data, recipe.data.labels, recipe.data.side, recipe.data.build)
    _refuse_few(len(found), recipe, found.path)  # before they are packed, as what follows
    then = checkpoint.identity_at(out / checkpoint.LAST)
    began = None if then is None else then["data"]["decode"]
    decode = gpu_jpeg.choose(recipe.data.decode, began, world.device)
    identity = _identity(found, recipe, decode.kind)
    checkpoint.refuse_another(out / checkpoint.LAST, then, identity)
    cache = recipe.data.cache or out / "cache"
    if world.first:
        remove_temporaries(out)
    packing = partial(_pack, found, cache, decode.kind, shown) if world.local_rank == 0 else None
    distributed.wait_for(packing, world.device)
    kinds = survey.read(cache) if decode.kind == "gpu" else None
    if world.first:
        _say_where(decode, kinds)
    opened = pictures.open_pictures(found, cache)
    try:
        data = replace(_data(found, opened, recipe, identity), labelled=labelled, kinds=kinds)
        _train(data, backbone, out, recipe, world, shown)
    finally:
        opened.close()
    distributed.barrier()
    if world.local_rank == 0:
        pictures.discard(cache)
    return out / "backbone.pt"


def _data(
    found: Faces, opened: pictures.PackedPictures, recipe: PretrainRecipe, identity: dict[str, Any]
) -> TrainingData:
    """Raises UsageError where too few faces are left for a batch, or too few classes."""
    usable: NDArray[np.int64] = np.flatnonzero(opened.length).astype(np.int64)
    labels, classes = None, 0
    if recipe.kind.needs_labels:
        numbers, names = found.labels(recipe.data.labels)
        usable, labels, classes = usable[numbers[usable] >= 0], torch.from_numpy(numbers), len(names)
        if classes < 2:
            raise UsageError(f"data.labels = {recipe.data.labels}: {classes} distinct labels; 2 are needed to learn")
    _refuse_few(len(usable), recipe, found.path)
    return TrainingData(found, opened, EpochOrder(usable, recipe.batch, recipe.seed), labels, classes, identity)


def _refuse_few(count: int, recipe: PretrainRecipe, path: object) -> None:
    """Raises UsageError where there are fewer faces than a batch takes."""
    if count < recipe.batch:
        raise UsageError(
            f"--batch {recipe.batch}: {path} has only {count} faces to learn from; "
            f"use --batch {max(2, count)} or less, or more faces"
        )


def _pack(found: Faces, cache: Path, decode: str, progress: Progress) -> None:
    """Packs the pictures, and looks through them where the GPU, whose word on damage is not relied on, decodes them."""
    pictures.pack(found, cache, progress)
    if decode == "gpu":
        survey.survey(found, cache, distributed.cores_each(), progress)


def _say_where(decode: gpu_jpeg.Choice, kinds: NDArray[np.uint8] | None) -> None:
    """Says where JPEGs are decoded, if somebody asked for anything but the CPU."""
    if kinds is not None:
        say(f"JPEGs are decoded on the GPU ({decode.why}): {survey.text(kinds)}")
    elif decode.why:
        say(f"JPEGs are decoded on the CPU: {decode.why}")


def _identity(found: Faces, recipe: PretrainRecipe, decode: gpu_jpeg.Kind) -> dict[str, Any]:
    """What decides the weights, as plain values: a run is resumed where all of it is the same."""
    init = sha256_file(recipe.init) if recipe.init is not None else None
    files = {path.name: sha256_file(path) for path in recipe.kind.files(recipe.settings)}
    decisive = recipe.decisive()
    decisive["data"]["decode"] = decode  # where it is done, not what was wished
    return decisive | {"manifest_sha256": found.sha256, "init_sha256": init} | files


def _train(
    data: TrainingData, backbone: Backbone, out: Path, recipe: PretrainRecipe, world: World, progress: Progress
) -> None:
    steps = recipe.total_steps(len(data.order.positions))
    provenance = provenance_of(data.faces, int((data.pictures.length == 0).sum()), data.identity)
    saved = _saved(out / checkpoint.LAST, data.identity, steps)
    method = methods.build(backbone, recipe, data.classes)
    need = cost.memory(method, recipe, world.size) if world.first else None
    if saved is not None:
        method.load_state_dict(saved.method)
    stepper = Stepper(_placed(method, recipe, world), recipe, world, steps, data.order.steps_per_epoch)
    if saved is not None:
        stepper.resume(saved.optimiser, saved.scaler)
        provenance = provenance.model_copy(update={"lengthened": saved.lengthened})
    begin = saved.step if saved is not None else 0
    metrics = _begin(data, out, stepper, provenance, begin) if world.first else None
    for line in cost.lines(need, stepper.share, stepper.micro, world.device) if world.first else ():
        say(line)
    with progress("training", steps - begin, "steps") as advance:
        Trainer(data, out, stepper, Start(begin, provenance.lengthened), metrics, advance).run()
    if metrics is not None:
        metrics.close()


def _saved(path: Path, identity: dict[str, Any], steps: int) -> checkpoint.Checkpoint | None:
    """The checkpoint to resume from, which every process must see.

    Raises:
        UsageError: it is another run's, or some processes do not see it.
    """
    saved = checkpoint.load(path, identity, steps)
    seen = distributed.everywhere("none" if saved is None else f"step {saved.step}")
    if len(set(seen)) > 1:
        other = next(rank for rank, text in enumerate(seen) if text != seen[0])
        raise UsageError(
            f"{path}: {seen[0]} for process 0, {seen[other]} for process {other}; the machines must share the disk of "
            "--out, or copy checkpoints/last.pt to each before resuming"
        )
    return saved


def _begin(data: TrainingData, out: Path, stepper: Stepper, provenance: Provenance, begin: int) -> monitor.Metrics:
    """Writes what a run says of itself before its first step."""
    recipe = stepper.recipe
    config = recipe.model_copy(update={"provenance": provenance}).model_dump(mode="json")
    write_bytes(out / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    register(out, recipe, provenance)
    for line in announcement(recipe, len(data.faces), stepper):
        say(line)
    chosen = distributed.settings(stepper.world.device, recipe.tf32)
    if chosen:
        say(f"{chosen}, channels-last {'on' if recipe.channels_last else 'off'}, {recipe.precision}")
    if provenance.lengthened:
        say(
            f"{out}: a run of {provenance.lengthened[-1]} steps is lengthened to {stepper.steps}; rates follow the "
            "longer schedule from here, so the weights are not those of a run that had it from the start"
        )
    if begin:
        say(f"{out}: resumed after step {begin} of {stepper.steps}")
    return monitor.Metrics(out / "metrics.jsonl", begin, loggers_of(recipe, out, begin))


def _backbone(recipe: PretrainRecipe, world: World) -> Backbone:
    """The network with fresh or given weights.

    Raises:
        UsageError: the weights of --init cannot be used, or it cannot be recomputed or sharded as is wished.
    """
    backbone = build(recipe.arch, drop_path=recipe.kind.drop_path(recipe.settings))
    if recipe.shard:
        sharding.refuse_unfit(backbone, recipe.arch, world)
    if recipe.recompute:
        if not backbone.can_recompute:
            raise UsageError(
                f"recompute: not for {recipe.arch}, only for our transformers and ConvNeXts; use micro_batch"
            )
        backbone.recompute = True
    if recipe.init is not None:
        weights.load_into(backbone, recipe.init, recipe.arch)
    return backbone


def _placed(method: methods.Method, recipe: PretrainRecipe, world: World) -> methods.Method:
    """The method on its device, as the recipe has it."""
    if world.size > 1 and recipe.sync_bn:
        distributed.sync_batch_norm(method, world.device, distributed.neighbours(recipe.sync_bn_group))
    method.to(world.device)
    if recipe.channels_last and not recipe.shard:  # torch shards plain memory alone
        for parameter in method.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if recipe.compile:
        method.compile()
    return method.train()
