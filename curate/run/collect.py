"""Takes every source through the stages on the workers, and skips what is done."""

from __future__ import annotations

import pickle
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from curate import locations, progress
from curate.errors import CurateError, ErrorKind, UsageError, one_line
from curate.recipe import BuildRecipe
from curate.records import Source
from curate.run import cluster, preflight
from curate.run.cluster import Executor, Flow
from curate.run.monitor import Monitor
from curate.run.pack import VideoRows
from curate.run.supervise import Deadlines, Ended, Job, Pending, Report, Verdict, work
from curate.run.video import VideoTask, failed, piece
from curate.stages import fetch
from curate.storage.files import TEMPORARY, digest, write_bytes
from curate.storage.ledger import Done, Ledger

RETRY_ALL = "all"
BLAMED = 2
"""So often a source must take its process down, alone, before it is to blame."""


def check_retry(kind: str | None) -> None:
    """Refuses a `--retry` that names no kind of failure.

    Raises:
        UsageError: the kinds are listed.
    """
    kinds = [RETRY_ALL, *ErrorKind]
    if kind is not None and kind not in kinds:
        raise UsageError(f"--retry {kind}: no such kind of failure; there are {', '.join(kinds)}")


def pending(
    sources: list[Source], ledger: Ledger, task: VideoTask, packed: set[tuple[str, str]], retry: str | None
) -> list[Pending]:
    """The sources that have to be worked on.

    Args:
        packed: (video_id, key) of the faces that the build's files hold already.
    """
    todo: list[Pending] = []
    for source in sources:
        done = ledger.get(source.video_id)
        stamp = fetch.stamp(source) or ""
        if done is None:
            todo.append(Pending(source, stamp, None))
        elif done.record.status == "failed":
            if _try_again(done, task, stamp, retry):
                todo.append(Pending(source, stamp, None))
        elif not _has_faces(done, task, packed):
            todo.append(Pending(source, stamp, None))
        elif done.key != task.key or done.stamp != stamp:
            todo.append(Pending(source, stamp, done))
    return todo


def collect(todo: list[Pending], ledger: Ledger, task: VideoTask, executor: Executor, total: int) -> None:
    """Works through `todo` and writes each outcome down as it comes.

    A source that is lost with its worker waits until all others are done and is tried again while nothing else runs:
    only one that twice takes its process down then is to blame.

    Args:
        total: sources of the list, with those that are done.

    Raises:
        StorageError: the disk is full; what was done stays done.
        BuildError: the cluster is gone.
    """
    breaker = Breaker(task.recipe.fetch.stop_after)
    with (
        executor.connect(len(todo)) as client,
        progress.stage("videos", len(todo), "videos") as advance,
        _nonce(task.pieces) as nonce,
    ):
        monitor = Monitor(ledger, advance, total, len(todo), breaker.paused)
        cluster.hear(client, monitor.hear)
        collection = _Collection(ledger, task, monitor, ledger.suspects())
        check = preflight.check_of(preflight.expected(_local(todo))) if executor.scheduler else None
        flow = Flow(tick=monitor.tick, check=check)
        job = Job(pickle.dumps(task), _deadlines(task.recipe), nonce)
        together = [item for item in todo if item.source.video_id not in collection.deaths]
        alone = [item for item in todo if item.source.video_id in collection.deaths]
        try:
            for item, outcome in cluster.stream(client, work, breaker.allowed(together), job, flow=flow):
                done = collection.settle(item, outcome, alone=False)
                if done is None:
                    alone.append(item)
                else:
                    breaker.see(item.source, done.record.error_kind)
            while alone:
                batch, alone = alone, []
                for item, outcome in cluster.stream(client, work, batch, job, flow=replace(flow, alone=True)):
                    if collection.settle(item, outcome, alone=True) is None:
                        alone.append(item)
            for item in breaker.held_back:
                record = failed(item.source, ErrorKind.RATE_LIMITED, breaker.reason(item.source))
                collection.put(Done(record, item.stamp, task.key))
        finally:
            monitor.note(ended=True)


@dataclass(frozen=True)
class _Collection:
    """Writes outcomes down.

    Attributes:
        deaths: sources that were lost with their process -> how often each took it down while nothing else ran.
    """

    ledger: Ledger
    task: VideoTask
    monitor: Monitor
    deaths: dict[str, int]

    def put(self, done: Done) -> Done:
        """A source is done."""
        self.ledger.put(done)
        self.monitor.count(done)
        return done

    def settle(self, item: Pending, outcome: object, *, alone: bool) -> Done | None:
        """Writes an outcome down; None where the source was lost and has to be tried (again) alone."""
        found = outcome.outcome if isinstance(outcome, Report) else outcome
        if isinstance(outcome, Report):
            for name, data in outcome.pieces.items():
                write_bytes(self.task.pieces / name, data)
        if isinstance(found, Done):
            return self.put(found)
        if isinstance(found, Verdict):
            return self.put(self._failed(item, found.kind, found.message))
        if isinstance(found, Ended) or cluster.died(found):
            reason = found.reason if isinstance(found, Ended) else cluster.LOST
            video_id = item.source.video_id
            self.deaths[video_id] = self.deaths.get(video_id, 0) + alone
            if self.deaths[video_id] >= BLAMED:
                return self.put(self._failed(item, ErrorKind.OTHER, f"{reason}, {BLAMED} times while nothing else ran"))
            self.ledger.suspect(video_id, self.deaths[video_id])
            self.monitor.lost(video_id)
            return None
        if isinstance(found, CurateError):
            raise found
        if isinstance(found, ImportError):
            raise UsageError(f"a worker has no curate that can be used ({one_line(found)}); install this version there")
        return self.put(self._failed(item, ErrorKind.OTHER, f"{type(found).__name__}: {found}"))

    def _failed(self, item: Pending, kind: ErrorKind, message: str) -> Done:
        return Done(failed(item.source, kind, one_line(message)), item.stamp, self.task.key)


def _deadlines(recipe: BuildRecipe) -> Deadlines:
    limit = recipe.fetch.rate_limit  # a download that is held back on purpose is not slow
    rate = recipe.fetch.min_rate if limit is None else min(recipe.fetch.min_rate, limit / 2)
    return Deadlines(recipe.stall_s, recipe.deadline_s, recipe.deadline_per_s, rate)


def _local(todo: list[Pending]) -> Path | None:
    """A local file of the list."""
    paths = (Path(item.source.location) for item in todo if not locations.is_url(item.source.location))
    return next((path for path in paths if path.is_file()), None)


@contextmanager
def _nonce(pieces: Path) -> Iterator[tuple[Path, str]]:
    """A file beside the pieces, by which a worker knows that it sees the build's disk; what it holds."""
    text = uuid.uuid4().hex
    path = pieces.parent / f"{TEMPORARY}{text}"
    write_bytes(path, text.encode())
    try:
        yield path, text
    finally:
        path.unlink(missing_ok=True)


class Breaker:
    """Stops asking a host that says "too many requests", so that a ban does not grow.

    Args:
        limit: refusals in a row after which the host's other sources are held back for a later run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._refusals: Counter[str] = Counter()
        self.held_back: list[Pending] = []

    def allowed(self, todo: list[Pending]) -> Iterator[Pending]:
        """Passes on the sources whose host still answers; decided when each one's turn comes."""
        for item in todo:
            host = locations.host(item.source.location)
            if host is not None and self._refusals[host] >= self._limit:
                self.held_back.append(item)
            else:
                yield item

    def paused(self) -> list[str]:
        """Hosts that are not asked now."""
        return sorted(host for host, refusals in self._refusals.items() if refusals >= self._limit)

    def see(self, source: Source, kind: str | None) -> None:
        """Learns how a source went."""
        host = locations.host(source.location)
        if host is not None and self._refusals[host] < self._limit:
            refused = kind in (ErrorKind.RATE_LIMITED, ErrorKind.BOT_CHECK)
            self._refusals[host] = self._refusals[host] + 1 if refused else 0

    def reason(self, source: Source) -> str:
        """Why a source was held back, for the column `error`."""
        return (
            f"not asked for: {locations.host(source.location)} refused {self._limit} requests in a row; run again later"
        )


def rows_of(done: Done) -> VideoRows:
    """The faces of a source, for packing."""
    return VideoRows(done.record.video_id, faces_key(done), done.record.faces)


def faces_key(done: Done) -> str:
    """Names the faces of a source: its bytes and everything that was done to them, what was taken down included."""
    known = f"{done.key[:16]}.{(done.record.content_sha256 or '')[:16]}"
    return f"{known}.{digest(done.forgotten)[:8]}" if done.forgotten else known


def _has_faces(done: Done, task: VideoTask, packed: set[tuple[str, str]]) -> bool:
    if done.record.status == "no_faces":
        return True
    there = (done.record.video_id, faces_key(done)) in packed
    pieces = [piece(task.pieces, done.record.video_id, done.key, "faces")]
    pieces += [piece(task.pieces, done.record.video_id, key, space) for space, key in done.vector_keys.items()]
    return there or all(path.is_file() for path in pieces)


def _try_again(done: Done, task: VideoTask, stamp: str, retry: str | None) -> bool:
    kind = ErrorKind(done.record.error_kind or ErrorKind.OTHER)
    changed = done.stamp != stamp or done.key != task.key
    return changed or kind.passing or retry in (RETRY_ALL, kind)


def folders(out: Path) -> tuple[Path, Path]:
    """Where a build keeps downloads, and pieces that are not packed yet."""
    return out / "work" / "media", out / "work" / "pieces"
