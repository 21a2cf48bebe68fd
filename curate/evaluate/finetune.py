"""Training a head, and the backbone below it, on augmented crops; stops by validation samples only.

The same loop trains every task. Crops are cut from the pictures anew in each pass, with a random turn, scale and shift
in the same warp, so that nothing is resampled twice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.errors import TrainingError, UsageError
from curate.evaluate.config import Finetune
from curate.evaluate.crops import CropRule, Matrix
from curate.evaluate.encoders import Encoder, copied
from curate.evaluate.features import Progress, readers
from curate.evaluate.heads import Answer
from curate.evaluate.pictures import DamagedPictureError
from curate.evaluate.samples import Sample
from curate.evaluate.tasks.goal import Floats, Goal, Indices
from curate.records import Pixels
from curate.stages.align import warp


class Model(nn.Module):
    """A backbone with a head."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [n, 3, S, S] -> what the head gives."""
        features, maps = self.encoder(pictures)
        given: Tensor = self.head(features, maps)
        return given


@dataclass(frozen=True)
class Job:
    """What is trained on: samples, their crop, and what is asked."""

    samples: Sequence[Sample]
    crop: CropRule
    goal: Goal


def train(
    encoder: Encoder,
    answer: Answer,
    job: Job,
    fit: Indices,
    check: Indices,
    keys: Finetune,
    seed: int,
    progress: Progress | None = None,
    frozen: bool = False,
) -> Model:
    """A trained model: the one of the pass with the lowest validation loss.

    Args:
        encoder: copied, not changed.
        answer: the head and its loss; its head is trained in place.
        fit, check: samples that train, and that say when to stop; without the latter all passes are made.
        frozen: train the head alone; the backbone stays in evaluation mode.

    Raises:
        TrainingError: the loss is no longer finite.
        UsageError: too few training pictures can be read for a single step.
    """
    torch.manual_seed(seed)
    model = Model(copied(encoder), answer.head).to(encoder.mean.device)
    groups = [{"params": list(model.head.parameters()), "lr": keys.lr}]
    if not frozen:
        groups.append({"params": list(model.encoder.parameters()), "lr": keys.lr * keys.backbone_lr})
    optimiser = torch.optim.AdamW(groups, weight_decay=keys.weight_decay)
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    steps = math.ceil(len(fit) / keys.batch)
    best, best_state, waited = math.inf, None, 0
    if progress:
        progress("passes", 0, keys.epochs)
    for epoch in range(keys.epochs):
        model.train()
        model.encoder.train(not frozen)
        random = np.random.default_rng([seed, epoch])
        step = -1
        for step, (pictures, truth) in enumerate(_batches(job, random.permutation(fit), keys, random, model)):
            share = schedule((epoch * steps + step) / (keys.epochs * steps), 1 / keys.epochs)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * share
            loss = answer.loss(model(pictures), truth)
            if not torch.isfinite(loss):
                raise TrainingError(f"the loss is {float(loss.detach())} in pass {epoch + 1}; lower finetune.lr")
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
        if step < 0:
            first = job.samples[fit[0]].id
            raise UsageError(f"too few of the {len(fit)} training pictures can be read and cropped ({first}, ...)")
        if progress:
            progress("passes", epoch + 1, keys.epochs)
        if not len(check):
            continue
        found = validation_loss(model, answer, job, check, keys.batch)
        if found < best:
            best, best_state, waited = found, copy.deepcopy(model.state_dict()), 0
        else:
            waited += 1
            if waited >= keys.patience:
                break
    if best_state is not None:
        model.load_state_dict(best_state)
    return model.eval()


def schedule(done: float, warmup: float) -> float:
    """The share of the highest rate: a line up during the warm-up, then a cosine down to 0."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-9)))


def validation_loss(model: Model, answer: Answer, job: Job, rows: Indices, batch: int) -> float:
    """Mean loss over samples, without augmentation."""
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for pictures, truth in _batches(job, rows, None, np.random.default_rng(0), model, batch):
            total += float(answer.loss(model(pictures), truth)) * len(pictures)
            count += len(pictures)
    return total / count if count else math.inf


def predict(
    model: Model, answer: Answer, job: Job, rows: Indices, batch: int, progress: Progress | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Answers float64 [len(rows), width] without augmentation, and which samples could be read."""
    model.eval()
    results: list[Tensor] = []
    sound: list[bool] = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            found = _read(job, part, [None] * len(part))
            sound += [item is not None for item in found]
            good = [item for item in found if item is not None]
            if good:
                results.append(answer.read(model(_stacked(good, model))).float().cpu())
            if progress:
                progress("answers", len(sound), len(rows))
    width = job.goal.width
    out = np.zeros((len(rows), width))
    if results:
        out[np.array(sound)] = torch.cat(results).numpy()
    return out, np.array(sound, dtype=bool)


@dataclass(frozen=True)
class Jitter:
    """A random change of one crop: an affine map of crop coordinates, a mirror, brightness and contrast."""

    matrix: Matrix
    mirrored: bool
    gain: float
    offset: float


def jitter(random: np.random.Generator, keys: Finetune, size: int, may_mirror: bool) -> Jitter:
    """Draws one."""
    angle = np.radians(random.uniform(-keys.rotate, keys.rotate))
    zoom = np.exp(random.uniform(-1, 1) * np.log1p(keys.zoom))
    shift = random.uniform(-keys.move, keys.move, 2) * size
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (size - 1) / 2)
    matrix = np.concatenate([turn, (middle + shift - turn @ middle)[:, None]], axis=1)
    mirrored = bool(random.random() < 0.5) and may_mirror and keys.flip
    gain, offset = 1 + random.uniform(-keys.colour, keys.colour), 255 * random.uniform(-keys.colour, keys.colour) / 2
    return Jitter(matrix, mirrored, float(gain), float(offset))


def _batches(
    job: Job, rows: Indices, keys: Finetune | None, random: np.random.Generator, model: Model, batch: int = 32
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures and truths; augmented where `keys` are given.

    Batch norm needs two pictures to train: a batch of one is left out, or, where there is no other, holds it twice.
    """
    size = keys.batch if keys else batch
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        jitters: list[Jitter | None] = [
            jitter(random, keys, job.crop.size, job.goal.mirrors) if keys else None for _ in part
        ]
        good = [item for item in _read(job, part, jitters) if item is not None]
        if keys and len(good) == 1 and len(rows) <= size:
            good *= 2
        if good and (keys is None or len(good) > 1):
            truth = torch.from_numpy(np.stack([item[1] for item in good])).float()
            yield _stacked(good, model), truth.to(model.encoder.mean.device)


def _stacked(items: Sequence[tuple[Pixels, Floats]], model: Model) -> Tensor:
    pictures = torch.from_numpy(np.stack([item[0] for item in items])).permute(0, 3, 1, 2)
    return pictures.to(model.encoder.mean.device)


def _read(job: Job, rows: Indices, jitters: Sequence[Jitter | None]) -> list[tuple[Pixels, Floats] | None]:
    """Crops and truths, read by threads, frames of videos by one and in order; None for damaged pictures."""

    def one(row: int, change: Jitter | None) -> tuple[Pixels, Floats] | None:
        sample = job.samples[row]
        try:
            picture = sample.picture.read()
            matrix = job.crop.matrix(picture.shape[0], picture.shape[1], sample.box, sample.points)
        except (DamagedPictureError, ValueError):
            return None
        if change is None:
            return warp(picture, matrix, job.crop.size), job.goal.truth(row, matrix, job.crop.size)
        matrix = chained(change.matrix, matrix)
        crop = warp(picture, matrix, job.crop.size)
        crop = crop[:, ::-1] if change.mirrored else crop
        crop = np.clip((crop - 127.5) * change.gain + 127.5 + change.offset, 0, 255).astype(np.uint8)
        return crop, job.goal.truth(row, matrix, job.crop.size, change.mirrored)

    order = np.argsort(rows, kind="stable")  # a video's frames follow each other among the samples
    with ThreadPoolExecutor(readers([job.samples[row] for row in rows])) as pool:
        found = dict(zip(order, pool.map(lambda at: one(int(rows[at]), jitters[at]), order), strict=True))
    return [found[at] for at in range(len(rows))]


def chained(second: Matrix, first: Matrix) -> Matrix:
    """The map that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.concatenate([linear, (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], axis=1)
