"""The cover of a collection that lies in shards, each visited by a process of its own: the same bits as in one piece.

A set R of faces is the greedy cover exactly if no two of R are near and every other face has an earlier near face in R
(`curate.dedupe.covers`). So it is enough to find such an R, by whatever way:

1. Every shard covers itself; its representatives are candidates, the only faces that travel.
2. R is the greedy cover of the candidates. Every shard meets R: its faces take their most similar representative, and
   those that have no earlier near face in R (the one that covered them at home did not stay) become candidates too.
3. Step 2 is repeated until no shard reports any. Candidates only grow, so this ends; in practice after two or three
   rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from curate.dedupe.assignment import Assignment
from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.covers import Cover, similarity
from curate.dedupe.greedy import greedy, prefilter_for
from curate.dedupe.order import order_of
from curate.dedupe.pivots import find_pivots
from curate.dedupe.threads import pool
from curate.errors import UsageError

Shard = NDArray[Any] | Path
"""float16 or float32 [n, D], or a file that holds them: `.npy`, or Parquet with a column `vector`."""

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Maps a picklable function over tasks, in order: `map`, that of a process pool, or `curate.run.cluster.over`."""

PUSH = 8192
"""Representatives that meet a shard at once."""


def cover_sharded(
    shards: Sequence[Shard],
    threshold: float,
    priority: Sequence[ArrayLike] | None = None,
    run: Run = map,
    scratch: Path | None = None,
    threads: int | None = 1,
) -> list[Cover]:
    """The greedy cover of all shards together.

    Args:
        shards: the collection, in the order of its rows. Paths must be readable where `run` works.
        threshold: cosine in (0, 1].
        priority: for each shard [n], higher first, ties by row of the collection; None: by row.
        run: where the work is done; on a Dask cluster `curate.run.cluster.over(client)`.
        scratch: a folder that all workers see, through which representatives reach them; None: with every task.
        threads: of each worker.

    Returns:
        For each shard its part of the cover; clusters are numbered over all shards.

    Raises:
        UsageError: as `curate.cover`; rows are named by shard.
    """
    check_threshold(threshold)
    sizes = [len(load(shard)) for shard in shards]
    order = order_of(None if priority is None else np.concatenate([np.asarray(p) for p in priority]), sum(sizes))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *sizes])
    tasks = [
        _Task(shard, number, threshold, place[starts[number] : starts[number + 1]], threads)
        for number, shard in enumerate(shards)
    ]
    candidates = _joined(list(run(_local, tasks)), starts)
    while True:
        kept = _settled(candidates, place, threshold, threads)
        reps = _reps(kept, place, scratch)
        meetings = [_Meeting(task, *_part(kept, starts, number), reps) for number, task in enumerate(tasks)]
        found = list(run(_meet, meetings))
        more = _joined([(rows, vectors) for rows, vectors, _ in found], starts)
        if not len(more.rows):
            return [part for _, _, part in found]
        candidates = _Faces(
            np.concatenate((candidates.rows, more.rows)), np.concatenate((candidates.vectors, more.vectors))
        )


def load(shard: Shard) -> NDArray[Any]:
    """The vectors of a shard; a `.npy` file is mapped, not read.

    Raises:
        UsageError: the file is missing or holds no vectors.
    """
    if isinstance(shard, np.ndarray):
        return shard
    try:
        if shard.suffix == ".npy":
            mapped: NDArray[Any] = np.load(shard, mmap_mode="r")
            return mapped
        column = pq.read_table(shard, columns=["vector"], partitioning=None)["vector"].combine_chunks()
        return np.asarray(column.flatten()).reshape(-1, column.type.list_size)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{shard}: cannot be read as vectors ({error})") from None


@dataclass(frozen=True)
class _Task:
    """A shard and where its rows stand in the order of all faces."""

    shard: Shard
    number: int
    threshold: float
    place: NDArray[np.int64]
    threads: int | None

    def rows(self) -> NDArray[Any]:
        return load(self.shard)


@dataclass(frozen=True)
class _Faces:
    """Rows of the collection with their vectors."""

    rows: NDArray[np.int64]
    vectors: NDArray[Any]


@dataclass(frozen=True)
class _Meeting:
    """A shard that meets representatives: which of them are its own, and all of them with their places."""

    task: _Task
    own_rows: NDArray[np.int64]
    own_numbers: NDArray[np.int64]
    reps: tuple[NDArray[Any] | Path, NDArray[np.int64]]


def _local(task: _Task) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The representatives of a shard by itself: rows and vectors."""
    with pool(task.threads) as each:
        rows = _checked(task, each)
        kept = greedy(rows, np.argsort(task.place), task.threshold, each).representatives
    return kept, np.asarray(rows.values[kept])


def _meet(meeting: _Meeting) -> tuple[NDArray[np.int64], NDArray[Any], Cover]:
    """The rows of a shard without an earlier near representative, their vectors, and the shard's part of the cover."""
    task, (reps, places) = meeting.task, meeting.reps
    with pool(task.threads) as each:
        rows = _checked(task, each)
        table = find_pivots(rows, prefilter_for(rows, task.threshold), each)
        assignment = Assignment(table, task.threshold, each, task.place)
        assignment.open(slice(None))
        assignment.settle(meeting.own_rows, meeting.own_numbers)
        fresh = check(load(reps), each)
        for first in range(0, len(fresh), PUSH):
            chosen = np.arange(first, min(first + PUSH, len(fresh)))
            assignment.push(fresh.some(chosen), chosen, places[chosen])
    missing = np.flatnonzero(~assignment.covered)
    flags = np.zeros(len(rows), np.bool_)
    flags[meeting.own_rows] = True
    return missing, np.asarray(rows.values[missing]), Cover(assignment.best, flags, similarity(assignment.cosine))


def _checked(task: _Task, each: Any) -> Rows:
    try:
        return check(task.rows(), each)
    except UsageError as error:
        raise UsageError(f"shard {task.number}: {error}") from None


def _joined(parts: list[tuple[NDArray[np.int64], NDArray[Any]]], starts: NDArray[np.int64]) -> _Faces:
    filled = [(rows + start, vectors) for (rows, vectors), start in zip(parts, starts[:-1], strict=True) if len(rows)]
    if not filled:
        return _Faces(np.empty(0, np.int64), np.empty((0, 1), np.float16))
    widths = sorted({vectors.shape[1] for _, vectors in filled})
    if len(widths) > 1:
        raise UsageError(f"shards: their vectors have {widths[0]} and {widths[-1]} numbers; wanted is one width")
    return _Faces(np.concatenate([rows for rows, _ in filled]), np.concatenate([vectors for _, vectors in filled]))


def _settled(candidates: _Faces, place: NDArray[np.int64], threshold: float, threads: int | None) -> _Faces:
    """The greedy cover of the candidates, in order."""
    with pool(threads) as each:
        rows = check(candidates.vectors, each)
        kept = greedy(rows, np.argsort(place[candidates.rows]), threshold, each).representatives
    return _Faces(candidates.rows[kept], candidates.vectors[kept])


def _part(kept: _Faces, starts: NDArray[np.int64], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The representatives that lie in a shard: rows there, and numbers."""
    own = np.flatnonzero((kept.rows >= starts[number]) & (kept.rows < starts[number + 1]))
    return kept.rows[own] - starts[number], own


def _reps(
    kept: _Faces, place: NDArray[np.int64], scratch: Path | None
) -> tuple[NDArray[Any] | Path, NDArray[np.int64]]:
    """The vectors of the representatives, or the file they are in, and their places."""
    if scratch is None:
        return kept.vectors, place[kept.rows]
    path = scratch / "representatives.npy"
    np.save(path, kept.vectors)
    return path, place[kept.rows]
