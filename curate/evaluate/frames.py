"""Which frames of labelled videos are trained on: all, a random share, every n-th, or curate's own cover.

The cover is that of `curate.dedupe`, on what the frames look like (`curate.stages.appearance`), clip by clip: the
frames that are kept stand for the others within the threshold. With a share instead of a threshold, the threshold is
the one at which a clip keeps its share, so that the rules are compared at equal numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.covers import cover
from curate.evaluate.config import Frames
from curate.evaluate.crops import CropRule
from curate.evaluate.features import crops_of
from curate.evaluate.samples import Dataset, Sample
from curate.evaluate.subsets import draw
from curate.progress import Progress, silent
from curate.stages.appearance import describe

Indices = NDArray[np.int64]
SIDE, MARGIN = 112, 0.3
"""Crops are judged at this side, pixels; a square around a face's box is about ArcFace's square with this margin."""


def name_of(dataset: Dataset, keys: Frames) -> str:
    """The rule with its number, as results have it; `all` where there are no videos to choose frames of."""
    if keys.rule == "all" or dataset.task == "recognition" or all(sample.clip is None for sample in dataset.samples):
        return "all"
    return f"{keys.rule}:{keys.share}" if keys.share is not None else f"{keys.rule}:t={keys.threshold}"


def choose(dataset: Dataset, rows: Indices, keys: Frames, seed: int, progress: Progress = silent) -> Indices:
    """The training samples that stay, rising; samples that are of no clip all stay."""
    if keys.rule == "all":
        return rows
    samples = dataset.samples
    clips: dict[str, list[int]] = defaultdict(list)
    kept = [int(row) for row in rows if samples[row].clip is None]
    for row in rows:
        clip = samples[row].clip
        if clip is not None:
            clips[clip].append(int(row))
    if clips:
        with progress("clips", len(clips), "clips") as advance:
            for members in clips.values():
                kept += _of_clip(samples, members, dataset.crop, keys, seed)
                advance(1)
    return np.array(sorted(kept), dtype=np.int64)


def _of_clip(samples: Sequence[Sample], members: list[int], crop: CropRule, keys: Frames, seed: int) -> list[int]:
    count = math.ceil(len(members) * (keys.share or 1.0) - 1e-9)
    order = sorted(members, key=lambda row: draw(seed, samples[row].id))
    if keys.rule == "random":
        return order[:count]
    if keys.rule == "uniform":
        return [members[int((i + 0.5) * len(members) / count)] for i in range(count)]
    part = [samples[row] for row in members]
    crops = [item[0] if item else None for found in crops_of(part, crop.resized(SIDE), 256) for item in found]
    sound = [row for row, picture in zip(members, crops, strict=True) if picture is not None]
    if not sound:
        return []
    vectors = describe(np.stack([picture for picture in crops if picture is not None]), MARGIN)
    if keys.threshold is not None:
        flags = cover(vectors, keys.threshold).representative
        return [row for row, flag in zip(sound, flags, strict=True) if flag]
    there = set(sound)
    return _cover_of_size(vectors, sound, [row for row in order if row in there], min(count, len(sound)))


def _cover_of_size(vectors: NDArray[np.float32], sound: list[int], order: list[int], count: int) -> list[int]:
    """Representatives at the highest threshold that leaves at most `count`, filled up in the given order."""
    low, high = 1e-3, 1.0
    best: list[int] = []
    for _ in range(12):
        middle = (low + high) / 2
        flags = cover(vectors, middle).representative
        found = [row for row, flag in zip(sound, flags, strict=True) if flag]
        if len(found) <= count:
            low, best = middle, found
        else:
            high = middle
    kept = set(best)
    return best + [row for row in order if row not in kept][: count - len(best)]
