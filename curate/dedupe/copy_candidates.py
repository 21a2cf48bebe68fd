"""Which earlier videos a video is compared with: those that some of its faces are alike to.

A few faces of each video are looked up, as they are and mirrored, in an index of the faces of all earlier ones that are
no copies themselves and do not repeat the face before (`curate.dedupe.copy_index`), and among those of its own block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate import progress
from curate.dedupe.copied_spans import FEWEST, Search
from curate.dedupe.copy_index import CopyIndex, cells, counted, distinct, kept_of, thinned
from curate.dedupe.sampled_video import Mirror, SampledVideo
from curate.dedupe.threads import Map
from curate.storage.vectors import let_go

FEWEST_PROBES, PROBES_EACH = 24, 3
"""Faces of a video that are looked up: so many, or every so-manieth one."""
MOST_PROBES = 384
CANDIDATES = 24
"""Earlier videos, most alike first, that a video is compared with."""
BLOCK = 64
"""Videos whose faces are looked up together."""
ROWS = 256
"""Faces that are compared at once with those of a block."""
_SEED = 0


def candidates(
    videos: list[SampledVideo], search: Search, mirror: Mirror | None, of: dict[str, str], each: Map
) -> Iterator[tuple[range, Callable[[int], list[int]]]]:
    """Blocks of videos, and a function that names the earlier videos that one of the block is alike to.

    What is in `of` by the time that a video's turn comes is no original, and is not indexed.
    """
    if not videos:
        return
    index, every = _index(videos)
    sides: list[Mirror] = [lambda vectors: vectors] + ([mirror] if mirror is not None else [])
    for first in range(0, len(videos), BLOCK):
        block = range(first, min(first + BLOCK, len(videos)))
        known = _distinct(videos, block, search.threshold, every)
        chosen = {place: _probes(videos[place]) for place in block}
        mine = np.repeat(np.array(block), [len(rows) for rows in chosen.values()])
        probes = np.concatenate([videos[place].vectors[rows] for place, rows in chosen.items()]).astype(np.float32)
        looked_up = [side(probes) for side in sides]

        def look_up(
            task: int,
            looked_up: list[NDArray[np.floating]] = looked_up,
            known: _Known = known,
            mine: NDArray[np.int64] = mine,
        ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            inside, side = divmod(task, len(looked_up))
            if inside:
                return known.look_up(looked_up[side], mine, search.alike)
            return index.look_up(looked_up[side], search.alike)

        pairs = each(look_up, range(2 * len(sides)))
        row, owner = (np.concatenate(part) for part in zip(*pairs, strict=True))

        def near(
            place: int,
            first: int = first,
            asks: NDArray[np.int64] = mine[row],
            row: NDArray[np.int64] = row,
            owner: NDArray[np.int64] = owner,
        ) -> list[int]:
            own = (asks == place) & (owner < place)
            copied = [other for other in range(first, place) if videos[other].video_id in of]
            own &= ~np.isin(owner, copied)
            return _ranked(row[own], owner[own])

        yield block, near
        index.add(*known.without([place for place in block if videos[place].video_id in of]))
        let_go(videos[first].vectors)


@dataclass(frozen=True)
class _Known:
    """The distinct faces of a block of videos.

    Attributes:
        video: int64 [n], ascending; vectors: float32 [n, D].
    """

    video: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def look_up(
        self, rows: NDArray[np.float32], mine: NDArray[np.int64], alike: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row, and number of the video, of each pair of a row and an earlier video with a face that is alike to it.

        Args:
            mine: int64 [rows], video of each row, ascending.
        """
        starts = np.flatnonzero(np.diff(self.video, prepend=-1))
        parts = [np.empty((2, 0), np.int64)]
        for at in range(0, len(rows), ROWS):
            stop = int(np.searchsorted(self.video, mine[at : at + ROWS][-1]))  # earlier ones alone can be originals
            earlier = starts[starts < stop]
            if len(earlier):
                highest = np.maximum.reduceat(rows[at : at + ROWS] @ self.vectors[:stop].T, earlier, axis=1)
                row, which = np.nonzero(highest >= alike)
                parts.append(np.stack([row + at, self.video[earlier][which]]))
        row, video = np.concatenate(parts, axis=1)
        return row, video

    def without(self, copies: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Videos and vectors of those that are no copies."""
        kept = ~np.isin(self.video, copies)
        return self.video[kept], self.vectors[kept]


def _distinct(videos: list[SampledVideo], block: range, repeats: float, every: int) -> _Known:
    """The faces of a block that do not repeat the one before; of long videos about one in `every`."""
    numbers, vectors = [], []
    for place in block:
        own = np.asarray(videos[place].vectors).astype(np.float32)
        kept = distinct(own, repeats)
        most = min(len(kept), int(kept_of(np.array(len(own)), every)))
        vectors.append(own[kept[np.linspace(0, len(kept) - 1, most).round().astype(np.int64)]])
        numbers.append(np.full(len(vectors[-1]), place, np.int64))
    return _Known(np.concatenate(numbers), np.concatenate(vectors))


def _ranked(rows: NDArray[np.int64], owners: NDArray[np.int64]) -> list[int]:
    """The candidates: those that half as many faces as of the best are alike to, in list order; then the others."""
    counts = [(video, count) for video, count in counted(rows, owners) if count >= min(FEWEST, len(np.unique(rows)))]
    if not counts:
        return []
    most = counts[0][1]
    best = sorted(video for video, count in counts if 2 * count >= most)
    return [*best, *(video for video, count in counts if 2 * count < most)][:CANDIDATES]


def _probes(video: SampledVideo) -> NDArray[np.int64]:
    """Which faces of a video are looked up."""
    count = min(len(video.times), MOST_PROBES, max(FEWEST_PROBES, len(video.times) // PROBES_EACH))
    return np.unique(np.linspace(0, len(video.times) - 1, count).round().astype(np.int64))


def _index(videos: Sequence[SampledVideo]) -> tuple[CopyIndex, int]:
    """An index with room for the faces of all videos, and of how many of a long video's it keeps one."""
    counts = np.array([len(video.times) for video in videos], np.int64)
    every = thinned(counts)
    kept = int(kept_of(counts, every).sum())
    if every > 1:
        progress.say(f"copies are looked for among {kept:,} of {counts.sum():,} faces: short pieces may be missed")
    starts = np.cumsum([0, *counts])
    chosen = np.sort(np.random.default_rng(_SEED).choice(starts[-1], cells(kept), replace=False))
    owner = np.searchsorted(starts, chosen, side="right") - 1
    dimension = videos[0].vectors.shape[1]
    rows = [videos[o].vectors[face - starts[o]] for o, face in zip(owner, chosen, strict=True)]
    sample = np.array(rows, np.float32).reshape(-1, dimension)
    return CopyIndex(dimension, kept, sample), every
