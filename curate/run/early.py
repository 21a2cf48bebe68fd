"""Packs while sources are worked on: a file of the build is written, and hashed, once its part of the list is done.

Only time depends on it: what is not packed by the end is packed then (`curate.run.pack`), to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from curate.run import collect, pack
from curate.run.pack import RowGroups, Shard, Shards, VideoRows
from curate.run.pieces import piece
from curate.run.spaces import crops
from curate.run.video import VideoTask
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.hashes import remember
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done, Ledger


@dataclass(frozen=True)
class _Kind:
    """Faces, or the vectors of a space.

    Attributes:
        folder: below the build.
        older: rows that its files held when the run began.
    """

    folder: str
    schema: pa.Schema
    rows_of: Callable[[Done], VideoRows]
    piece: Callable[[VideoRows], Path]
    older: dict[tuple[str, str], RowGroups]
    shards: Shards


class EarlyPacking:
    """Follows a run through the list.

    Args:
        out: folder of the build.
        video_ids: of the list, in its order; `waiting`: those that this run works on.
        ledger: of the build, where each source is when `see` is called.
    """

    def __init__(
        self, out: Path, video_ids: Sequence[str], waiting: Iterable[str], ledger: Ledger, kinds: list[_Kind]
    ) -> None:
        self._out, self._ids, self._waiting, self._ledger, self._kinds = out, video_ids, set(waiting), ledger, kinds
        self._next = 0
        self._thread = ThreadPoolExecutor(1)  # Arrow and hashing work beside Python's lock
        self._running: list[Future[None]] = []
        self._loaded = False

    def see(self, done: Done) -> None:
        """A source is in the ledger.

        Raises:
            StorageError: the disk is full.
            ImportError: a library of the steps over all faces cannot be loaded.
        """
        if not self._loaded:  # workers are at work: what this process loads no longer keeps them from it
            self._loaded = True  # a library that fails half loaded fails otherwise later
            self._running.append(self._thread.submit(load, self._out))
        self._waiting.discard(done.record.video_id)
        first = self._next
        while self._next < len(self._ids) and self._ids[self._next] not in self._waiting:
            self._next += 1
        for one in self._ledger.rows(self._ids[first : self._next]):
            if one.record.faces:
                self._add(one)
        self._heard()

    def _add(self, done: Done) -> None:
        for kind in self._kinds:
            if shard := kind.shards.add(kind.rows_of(done)):
                self._running.append(self._thread.submit(self._write, kind, shard))

    def _write(self, kind: _Kind, shard: Shard) -> None:
        there = all((rows.video_id, rows.key) in kind.older or kind.piece(rows).is_file() for rows in shard.held)
        if not there:  # vectors of another key, which are made when all sources are done
            return
        name = f"{kind.folder}/{shard.name}"
        if sha256 := pack.write_part(self._out / name, shard, kind.schema, kind.piece, kind.older):
            remember(self._out, {name: sha256})
        for rows in shard.held:
            kind.piece(rows).unlink(missing_ok=True)

    def _heard(self) -> None:
        """Raises what went wrong in the thread."""
        ended = [future for future in self._running if future.done()]
        self._running = [future for future in self._running if future not in ended]
        for future in ended:
            future.result()

    def close(self, *, give_up: bool) -> None:
        """Waits for the files that are to be written; where the run gives up, only for the one in hand.

        Raises:
            StorageError: the disk is full.
        """
        self._thread.shutdown(wait=True, cancel_futures=give_up)
        if not give_up:
            self._heard()


def load(out: Path) -> None:
    """Loads what the steps over all faces of a build need, torch only where it has spaces of backbones."""
    from curate.run import analysis, card, page, videos  # noqa: F401

    if with_backbones(out):
        from curate.run.spaces import backbone  # noqa: F401


def with_backbones(out: Path) -> bool:
    """Whether a build was given spaces of trained backbones."""
    there = Build(out).info.spaces.values() if (out / "build.json").is_file() else ()
    return any("backbone" in space.more for space in there)


@contextmanager
def early_packing(
    task: VideoTask, spaces: Sequence[SpaceInfo], video_ids: Sequence[str], waiting: Iterable[str], ledger: Ledger
) -> Iterator[EarlyPacking]:
    """Packing beside a run; see `EarlyPacking`."""
    out = task.pieces.parents[1]
    packing = EarlyPacking(out, video_ids, waiting, ledger, [_faces(out, task.pieces), *_vectors(out, task, spaces)])
    try:
        yield packing
    except BaseException:
        packing.close(give_up=True)
        raise
    packing.close(give_up=False)


def _faces(out: Path, pieces: Path) -> _Kind:
    older = pack.index_rows(out / "faces")
    return _Kind("faces", schemas.FACES, collect.rows_of, partial(_piece, pieces, None), older, Shards())


def _vectors(out: Path, task: VideoTask, spaces: Sequence[SpaceInfo]) -> Iterator[_Kind]:
    for space in spaces:
        folder = f"embeddings/{space.name}"
        yield _Kind(
            folder,
            schemas.embeddings(space.dimension),
            partial(crops.rows_of, space=space),
            partial(_piece, task.pieces, space),
            pack.index_rows(out / folder),
            Shards(),
        )


def _piece(pieces: Path, space: SpaceInfo | None, rows: VideoRows) -> Path:
    key, kind = (rows.key, "faces") if space is None else (space.key, space.name)
    return piece(pieces, rows.video_id, key, kind)
