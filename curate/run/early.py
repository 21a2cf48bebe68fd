"""Packs while sources are worked on: a file of the build is written, and hashed, once its part of the list is done.

Workers that see the build's disk write it, as one more of their tasks; where none does, a thread of the driver. A
worker leaves the file beside the pieces and the driver alone puts it in its place, so that one which was thought dead
changes nothing. Only time depends on it: what is not packed by the end is packed then (`curate.run.pack`), to the same
bytes.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate import progress
from curate.errors import StorageError, one_line
from curate.run import collect, pack
from curate.run.pack import Packing, RowGroups, Shard, Shards, VideoRows
from curate.run.pieces import piece
from curate.run.spaces import crops
from curate.run.supervise import FileToPack, Packed
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

    def packing(self, path: Path, shard: Shard) -> Packing:
        """What writes a file, at `path`."""
        names = [(held.video_id, held.key) for held in shard.held]
        older = {name: self.older[name] for name in names if name in self.older}
        return Packing(path, shard, self.schema, tuple(map(self.piece, shard.held)), older)


REMEMBERED = 64
"""Hashes that are written down together: the file that holds them grows with the build."""
_END = object()


class EarlyPacking:
    """Follows a run through the list.

    Args:
        out: folder of the build; `pieces`: of the pieces.
        video_ids: of the list, in its order; `waiting`: those that this run works on.
        ledger: of the build, where each source is when `see` is called.

    Attributes:
        by_workers: whether a worker sees the build's disk now; None: no worker is asked.
    """

    def __init__(
        self,
        out: Path,
        pieces: Path,
        video_ids: Sequence[str],
        waiting: Iterable[str],
        ledger: Ledger,
        kinds: list[_Kind],
    ) -> None:
        self._out, self._pieces, self._ids, self._waiting = out, pieces, video_ids, set(waiting)
        self._ledger, self._kinds = ledger, kinds
        self._next = 0
        self._thread = ThreadPoolExecutor(1)  # Arrow and hashing work beside Python's lock
        self._running: list[Future[None]] = []
        self._loaded = False
        self.by_workers: Callable[[], bool] | None = None
        self._ready: deque[str] = deque()
        self._under_way: dict[str, tuple[_Kind, Shard]] = {}
        self._hashes: dict[str, str] = {}

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
                name = f"{kind.folder}/{shard.name}"
                if self.by_workers and self.by_workers() and not (self._out / name).is_file():
                    self._under_way[name] = kind, shard
                    self._ready.append(name)
                else:
                    self._running.append(self._thread.submit(self._write, kind, shard))

    @property
    def waits(self) -> bool:
        """Whether there are files that no worker has been given yet."""
        return bool(self._ready)

    def before(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, after the files that wait to be packed by workers."""
        rest = iter(items)
        while True:
            if self._ready:
                name = self._ready.popleft()
                kind, shard = self._under_way[name]
                yield FileToPack(name, pickle.dumps(kind.packing(self._beside(name), shard)))
                continue
            item = next(rest, _END)
            if item is _END:
                return
            yield item

    def takes(self, item: object, found: object) -> bool:
        """Whether an outcome is that of a file that a worker was to pack; what was not packed is left to the end.

        Raises:
            StorageError: the disk is full.
        """
        if not isinstance(item, FileToPack):
            return False
        if isinstance(found, StorageError):
            raise found
        kind, shard = self._under_way.pop(item.name)
        if isinstance(found, Packed) and found.sha256:
            self._running.append(self._thread.submit(self._put, item.name, found.sha256, kind, shard))
        elif not isinstance(found, Packed):
            reason = getattr(found, "reason", None) or getattr(found, "message", None) or repr(found)
            progress.say(
                f"{item.name}: was not packed by a worker ({one_line(reason)}); packed when all sources are done"
            )
        self._heard()
        return True

    def _beside(self, name: str) -> Path:
        """Where a worker leaves a file."""
        return self._pieces / name.replace("/", "~")

    def _write(self, kind: _Kind, shard: Shard) -> None:
        name = f"{kind.folder}/{shard.name}"
        packing = kind.packing(self._out / name, shard)
        if not packing.whole:  # vectors of another key, which are made when all sources are done
            return
        self._packed(name, None if packing.path.is_file() else packing.write(), kind, shard)

    def _put(self, name: str, sha256: str, kind: _Kind, shard: Shard) -> None:
        """Puts a file that a worker left in its place."""
        try:
            (self._out / name).parent.mkdir(parents=True, exist_ok=True)
            self._beside(name).replace(self._out / name)
        except OSError as error:  # a disk whose parts show each other's files late
            progress.say(f"{name}: packed when all sources are done ({error.strerror or error})")
            return
        self._packed(name, sha256, kind, shard)

    def _packed(self, name: str, sha256: str | None, kind: _Kind, shard: Shard) -> None:
        if sha256:
            self._hashes[name] = sha256
        if len(self._hashes) >= REMEMBERED:
            self._remember()
        for rows in shard.held:
            kind.piece(rows).unlink(missing_ok=True)

    def _remember(self) -> None:
        remember(self._out, self._hashes)
        self._hashes = {}

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
            self._remember()


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
    task: VideoTask,
    spaces: Sequence[SpaceInfo],
    video_ids: Sequence[str],
    waiting: Iterable[str],
    ledger: Ledger,
    *,
    none: bool = False,
) -> Iterator[EarlyPacking]:
    """Packing beside a run, see `EarlyPacking`; `none`: all is to be packed in the end."""
    out = task.pieces.parents[1]
    kinds = [] if none else [_faces(out, task.pieces), *_vectors(out, task, spaces)]
    packing = EarlyPacking(out, task.pieces, video_ids, waiting, ledger, kinds)
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
