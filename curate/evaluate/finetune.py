"""Training a head, and the backbone below it, on augmented crops; stops by validation samples only.

The same loop trains every task. Every pass cuts its crops from the pictures again, with a random turn, scale and shift
in the same warp, so that nothing is resampled twice.

Under torchrun the pictures of an update are shared out among the processes: each draws the same order and the same
changes, reads and trains on its part, and gradients are added up, weighed by how many pictures each had. Batch norm
goes over all of them. So an update is that of one process but for rounding, where the loss is a mean over pictures;
those that are not (CCC of valence and arousal, means over known labels) are means over processes.
"""

from __future__ import annotations

import copy
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curate.errors import TrainingError, UsageError
from curate.evaluate.config import Finetune
from curate.evaluate.crops import CropRule, Matrix
from curate.evaluate.encoders import Encoder, copied
from curate.evaluate.features import readers
from curate.evaluate.pictures import DamagedPictureError
from curate.evaluate.samples import Sample
from curate.evaluate.tasks.task import Floats, Head, Indices, Task
from curate.pretrain import distributed
from curate.progress import Progress, silent
from curate.records import Pixels
from curate.stages.align import warp


class TunedNetwork(nn.Module):
    """A backbone with a head."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [n, 3, S, S] -> what the head gives."""
        features, maps = self.encoder(pictures)
        given: Tensor = self.head(features, maps)
        return given


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What a network is trained on, and how.

    Attributes:
        samples, crop, task: pictures, how they are cut out, and what is predicted of them.
        options: `finetune` of the recipe.
        seed: of the order and the augmentation.
        frozen: train the head alone; the backbone stays in evaluation mode.
        flip_average: predict for mirror images too, where the task can be mirrored, and average.
    """

    samples: Sequence[Sample]
    crop: CropRule
    task: Task
    options: Finetune
    seed: int = 0
    frozen: bool = False
    flip_average: bool = False
    progress: Progress = silent


def train(encoder: Encoder, head: Head, plan: TrainingPlan, fit: Indices, validation: Indices) -> TunedNetwork:
    """A trained network: the one of the pass with the lowest validation loss.

    Args:
        encoder: copied, not changed.
        head: its layers are trained in place.
        plan: see `TrainingPlan`.
        fit, validation: samples that train, and that say when to stop; without the latter all passes are made.

    Raises:
        TrainingError: the loss is no longer finite.
        UsageError: too few training pictures can be read for a single step.
    """
    options = plan.options
    torch.manual_seed(plan.seed)
    network = TunedNetwork(copied(encoder), head.layers).to(encoder.mean.device)
    if distributed.size() > 1 and not plan.frozen:
        distributed.sync_batch_norm(network, encoder.mean.device)
    optimiser = _optimiser(network, plan)
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    best, best_state, waited = math.inf, None, 0
    with plan.progress("passes", options.epochs, "passes") as advance:
        for epoch in range(options.epochs):
            _one_pass(network, head, plan, fit, (optimiser, rates, epoch))
            advance(1)
            if not len(validation):
                continue
            found = validation_loss(network, head, plan, validation)
            if found < best:
                best, best_state, waited = found, copy.deepcopy(network.state_dict()), 0
            else:
                waited += 1
                if waited >= options.patience:
                    break
    if best_state is not None:
        network.load_state_dict(best_state)
    return network.eval()


def _optimiser(network: TunedNetwork, plan: TrainingPlan) -> torch.optim.Optimizer:
    options = plan.options
    groups: list[dict[str, Any]] = [{"params": list(network.head.parameters()), "lr": options.lr}]
    if not plan.frozen:
        rate = options.lr * options.backbone_lr
        for below, parameters in _by_layer(network.encoder, options.layer_decay).items():
            groups.append({"params": parameters, "lr": rate * options.layer_decay**below})
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay)


def _by_layer(encoder: Encoder, decay: float) -> dict[int, list[nn.Parameter]]:
    """The backbone's parameters by how many layers are above theirs; without a decay all are of one group.

    Layers are stages of a ResNet or ConvNeXt and blocks of a transformer, with the stem below and what follows them on
    top (Clark et al. 2020; Bao et al. 2022).

    Raises:
        UsageError: the network's layers are not known by their names.
    """
    if decay == 1:
        return {0: list(encoder.parameters())}
    found = [(_LAYER.search(name), _ON_TOP.search(name), p) for name, p in encoder.named_parameters()]
    depth = max((int(layer[1]) for layer, _, _ in found if layer), default=None)
    if depth is None:
        raise UsageError(
            f"finetune.layer_decay: the layers of {encoder.origin.name} are not known by their names; use 1"
        )
    groups: dict[int, list[nn.Parameter]] = defaultdict(list)
    first = min(int(layer[1]) for layer, _, _ in found if layer)
    for layer, on_top, parameter in found:
        at = int(layer[1]) if layer else depth if on_top else first - 1
        groups[depth - at].append(parameter)
    return dict(groups)


_LAYER, _ON_TOP = re.compile(r"(?:^|\.)(?:layer|blocks\.|stages\.)(\d+)\."), re.compile(r"\.(?:norm|head)\.")


def _one_pass(
    network: TunedNetwork,
    head: Head,
    plan: TrainingPlan,
    fit: Indices,
    steps: tuple[torch.optim.Optimizer, list[float], int],
) -> None:
    """Every training picture once; `steps`: the optimiser, the highest rates of its groups, the pass's number."""
    optimiser, rates, epoch = steps
    options, count = plan.options, math.ceil(len(fit) / plan.options.batch)
    network.train()
    network.encoder.train(not plan.frozen)
    random = np.random.default_rng([plan.seed, epoch])
    step = -1
    for step, (pictures, target, weight) in enumerate(_augmented(plan, random.permutation(fit), random, network)):
        share = schedule((epoch * count + step) / (options.epochs * count), 1 / options.epochs)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share
        with _precision(plan, pictures):
            given = network(pictures)
        loss = weight * head.loss(given.float(), target)
        shared = float(distributed.total(loss.detach()))
        if not math.isfinite(shared):
            raise TrainingError(f"the loss is {shared} in pass {epoch + 1}; lower finetune.lr")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        _add_gradients(network)
        optimiser.step()
    if step < 0:
        first = plan.samples[fit[0]].id
        raise UsageError(f"too few of the {len(fit)} training pictures can be read and cropped ({first}, ...)")


def _add_gradients(network: TunedNetwork) -> None:
    """Adds up the gradients of all processes; each has the same parameters, in the same order."""
    found = [p.grad for p in network.parameters() if p.grad is not None]
    if distributed.size() == 1 or not found:
        return
    together = distributed.total(torch.cat([gradient.flatten() for gradient in found]))
    for gradient, part in zip(found, torch.split(together, [g.numel() for g in found]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _own_part(rows: Indices) -> Indices:
    """The rows that this process looks at."""
    part: Indices = np.array_split(rows, distributed.size())[distributed.rank()]
    return part


def schedule(done: float, warmup: float) -> float:
    """The share of the highest rate: a line up during the warm-up, then a cosine down to 0."""
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-9)))


def validation_loss(network: TunedNetwork, head: Head, plan: TrainingPlan, rows: Indices) -> float:
    """Mean loss over samples, without augmentation."""
    network.eval()
    total, count = 0.0, 0
    own = _own_part(rows)
    with torch.inference_mode():
        for start in range(0, len(own), plan.options.batch):
            part = own[start : start + plan.options.batch]
            good = [item for item in _read(plan, part, [None] * len(part)) if item is not None]
            if good:
                pictures = _stacked(good, network)
                with _precision(plan, pictures):
                    given = network(pictures)
                total += float(head.loss(given.float(), _targets(good, network))) * len(good)
                count += len(good)
    whole, seen = distributed.total(torch.tensor([total, count], dtype=torch.float64, device=_place(network))).tolist()
    return whole / seen if seen else math.inf


def predict(network: TunedNetwork, head: Head, plan: TrainingPlan, rows: Indices) -> tuple[Floats, NDArray[np.bool_]]:
    """Predictions float64 [len(rows), width] without augmentation, and which samples could be read."""
    network.eval()
    results: list[Tensor] = []
    sound: list[bool] = []
    own = _own_part(rows)
    with torch.inference_mode(), plan.progress("predictions", len(own), "pictures") as advance:
        for start in range(0, len(own), plan.options.batch):
            part = own[start : start + plan.options.batch]
            found = _read(plan, part, [None] * len(part))
            sound += [item is not None for item in found]
            good = [item for item in found if item is not None]
            if good:
                results.append(_predicted(network, head, plan, _stacked(good, network)))
            advance(len(part))
    out, read = np.zeros((len(rows), plan.task.width + 1)), np.zeros(len(rows), dtype=bool)
    read[_own_part(np.arange(len(rows)))] = sound
    if results:
        out[read, :-1] = torch.cat(results).numpy()
    out[:, -1] = read
    every = distributed.total(torch.from_numpy(out).to(_place(network))).cpu().numpy()
    return every[:, :-1], every[:, -1] > 0


def _predicted(network: TunedNetwork, head: Head, plan: TrainingPlan, pictures: Tensor) -> Tensor:
    """Predictions float32 [n, width] for uint8 [n, 3, S, S]."""
    with _precision(plan, pictures):
        given = network(pictures)
        mirrored = network(pictures.flip(3)) if plan.flip_average and plan.task.mirrors else None
    found = head.read(given.float()).float().cpu()
    if mirrored is None:
        return found
    other = plan.task.unmirrored(head.read(mirrored.float()).double().cpu().numpy())
    return (found + torch.from_numpy(other).float()) / 2


def _precision(plan: TrainingPlan, pictures: Tensor) -> AbstractContextManager[object]:
    low = plan.options.precision == "bfloat16"
    return torch.autocast(pictures.device.type, torch.bfloat16) if low else nullcontext()


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


def _augmented(
    plan: TrainingPlan, rows: Indices, random: np.random.Generator, network: TunedNetwork
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Augmented pictures, their targets, and their share of the pictures of the update over all processes.

    Batch norm needs two pictures to train: a batch of one is left out, or, where there is no other, holds it twice.
    """
    size = plan.options.batch
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        jitters = [jitter(random, plan.options, plan.crop.size, plan.task.mirrors) for _ in part]
        good, share, whole = _shared_out(plan, part, jitters, network)
        if whole == 1 and len(rows) <= size:
            good, whole = good * 2, 2
        if whole > 1:
            yield _stacked(good, network), _targets(good, network), share


def _shared_out(
    plan: TrainingPlan, part: Indices, jitters: Sequence[Jitter], network: TunedNetwork
) -> tuple[list[tuple[Pixels, Floats]], float, int]:
    """The pictures of a batch that this process trains on, their weight, and how many different ones all have.

    Where there is not one for each process, all take the whole batch, and weigh alike.
    """
    places = _own_part(np.arange(len(part)))
    good = [item for item in _read(plan, part[places], [jitters[at] for at in places]) if item is not None]
    if distributed.size() == 1:
        return good, 1.0, len(good)
    counts = torch.zeros(distributed.size(), device=_place(network))
    counts[distributed.rank()] = len(good)
    counts = distributed.total(counts)
    if int(counts.min()):
        return good, len(good) / float(counts.sum()), int(counts.sum())
    good = [item for item in _read(plan, part, jitters) if item is not None]
    return good, 1 / distributed.size(), len(good)


def _place(network: TunedNetwork) -> torch.device:
    return network.encoder.mean.device


def _stacked(items: Sequence[tuple[Pixels, Floats]], network: TunedNetwork) -> Tensor:
    pictures = torch.from_numpy(np.stack([item[0] for item in items])).permute(0, 3, 1, 2)
    return pictures.to(_place(network))


def _targets(items: Sequence[tuple[Pixels, Floats]], network: TunedNetwork) -> Tensor:
    return torch.from_numpy(np.stack([item[1] for item in items])).float().to(_place(network))


def _read(plan: TrainingPlan, rows: Indices, jitters: Sequence[Jitter | None]) -> list[tuple[Pixels, Floats] | None]:
    """Crops and targets, read by threads, frames of videos by one and in order; None for damaged pictures."""
    size = plan.crop.size

    def one(row: int, change: Jitter | None) -> tuple[Pixels, Floats] | None:
        sample = plan.samples[row]
        try:
            picture = sample.picture.read()
            matrix = plan.crop.matrix(picture.shape[0], picture.shape[1], sample.box, sample.points)
        except (DamagedPictureError, ValueError):
            return None
        if change is None:
            return warp(picture, matrix, size), plan.task.target(row, matrix, size)
        matrix = chained(change.matrix, matrix)
        crop = warp(picture, matrix, size)
        crop = crop[:, ::-1] if change.mirrored else crop
        crop = np.clip((crop - 127.5) * change.gain + 127.5 + change.offset, 0, 255).astype(np.uint8)
        return crop, plan.task.target(row, matrix, size, change.mirrored)

    order = np.argsort(rows, kind="stable")  # a video's frames follow each other among the samples
    with ThreadPoolExecutor(readers([plan.samples[row] for row in rows])) as pool:
        found = dict(zip(order, pool.map(lambda at: one(int(rows[at]), jitters[at]), order), strict=True))
    return [found[at] for at in range(len(rows))]


def chained(second: Matrix, first: Matrix) -> Matrix:
    """The map that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.concatenate([linear, (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], axis=1)
