"""Takes every source through the stages on the workers, and skips what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curate import locations, progress
from curate.errors import BuildError, ErrorKind, StorageError, UsageError, one_line
from curate.records import Source
from curate.run import cluster
from curate.run.cluster import Executor
from curate.run.pack import VideoRows
from curate.run.video import VideoTask, failed, piece, process
from curate.stages import fetch
from curate.storage.ledger import Done, Ledger

RETRY_ALL = "all"


def check_retry(kind: str | None) -> None:
    """Refuses a `--retry` that names no kind of failure.

    Raises:
        UsageError: the kinds are listed.
    """
    kinds = [RETRY_ALL, *ErrorKind]
    if kind is not None and kind not in kinds:
        raise UsageError(f"--retry {kind}: no such kind of failure; there are {', '.join(kinds)}")


@dataclass(frozen=True)
class Pending:
    """A source that has to be worked on.

    Attributes:
        stamp: its fingerprint as the driver saw it.
        known: what an earlier run made of it, if that may still hold.
    """

    source: Source
    stamp: str
    known: Done | None


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


def collect(
    todo: list[Pending],
    ledger: Ledger,
    task: VideoTask,
    executor: Executor,
) -> None:
    """Works through `todo` and writes each outcome down as it comes.

    Raises:
        StorageError: the disk is full; what was done stays done.
    """
    breaker = Breaker(task.recipe.fetch.stop_after)
    counts: Counter[str] = Counter()
    total = len(todo)
    with executor.connect(total) as client, progress.stage("videos", total, "videos") as advance:
        items = breaker.allowed(todo)
        for item, outcome in cluster.stream(client, _work, items, task):
            done = _outcome(item, outcome, task)
            breaker.see(item.source, done.record.error_kind)
            ledger.put(done)
            counts["faces"] += done.record.faces
            counts["failed"] += done.record.status == "failed"
            advance(1, f"{counts['faces']:,} faces, {counts['failed']:,} failed")
        for item in breaker.held_back:
            record = failed(item.source, ErrorKind.RATE_LIMITED, breaker.reason(item.source))
            ledger.put(Done(record, item.stamp, task.key))
            advance(1, "")


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
    """Names the faces of a source: its bytes and everything that was done to them."""
    return f"{done.key[:16]}.{(done.record.content_sha256 or '')[:16]}"


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


def _work(item: Pending, task: VideoTask) -> Done:
    return process(item.source, task, item.stamp, item.known)


def _outcome(item: Pending, outcome: object, task: VideoTask) -> Done:
    if isinstance(outcome, Done):
        return outcome
    if isinstance(outcome, StorageError | UsageError | BuildError):
        raise outcome
    message = cluster.LOST if cluster.died(outcome) else one_line(f"{type(outcome).__name__}: {outcome}")
    return Done(failed(item.source, ErrorKind.OTHER, message), item.stamp, task.key)


def folders(out: Path) -> tuple[Path, Path]:
    """Where a build keeps downloads, and pieces that are not packed yet."""
    return out / "work" / "media", out / "work" / "pieces"
