"""Takes every source through the stages on the workers, and skips what is done."""

from __future__ import annotations

import pickle
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from curate import locations, progress
from curate.errors import BuildError, CurateError, ErrorKind, UsageError, one_line
from curate.heartbeat import FETCH
from curate.recipe import BuildRecipe
from curate.records import Source
from curate.run import child_server, cluster, preflight
from curate.run.cluster import Executor, Flow
from curate.run.gpus import shared_gpus
from curate.run.hosts import Hosts
from curate.run.long_videos import LongVideos
from curate.run.media import MediaStore
from curate.run.monitor import Monitor
from curate.run.pack import VideoRows
from curate.run.parts import PART_S
from curate.run.pieces import piece
from curate.run.supervise import FileToPack, Job, Pending, Report, work
from curate.run.turns import turns
from curate.run.video import DECODE_GPU, VideoTask, failed
from curate.run.watched_child import Deadlines, Ended, Unfit, Verdict
from curate.stages import fetch
from curate.storage.files import TEMPORARY, digest, write_bytes
from curate.storage.ledger import Done, Ledger

RETRY_ALL = "all"
SHORT = 1_000
"""Sources up to which a list counts as short."""
FETCHING = 2
"""Local processes a core where sources are fetched: one waits for bytes while the other keeps the core busy."""
LONG_BYTES = 2_000_000
"""From this size on a file may be long enough to be worked on in parts, by more processes than there are files."""
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
                todo.append(Pending(source, stamp, done if _judged(done) else None))
        elif not _has_faces(done, task, packed):
            todo.append(Pending(source, stamp, None))
        elif done.key != task.key or done.stamp != stamp:
            todo.append(Pending(source, stamp, done))
    return todo


class Packer(Protocol):
    """What packs meanwhile: `curate.run.early.EarlyPacking`."""

    by_workers: Callable[[], bool] | None

    @property
    def waits(self) -> bool:
        """Whether there are files that no worker has been given yet."""

    def see(self, done: Done) -> None:
        """A source is in the ledger."""

    def before(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, after the files that wait to be packed by workers."""

    def takes(self, item: object, found: object) -> bool:
        """Whether an outcome is that of a file that was to be packed."""


def collect(
    todo: list[Pending],
    ledger: Ledger,
    task: VideoTask,
    executor: Executor,
    total: int,
    packing: Packer,
) -> float:
    """Works through `todo` and writes each outcome down as it comes.

    A source that is lost with its worker waits until all others are done and is tried again while nothing else runs:
    only one that twice takes its process down then is to blame.

    Args:
        total: sources of the list, with those that are done.
        packing: hears of each outcome once it is in the ledger, and gives workers files to pack.

    Returns:
        Seconds in which local processes started, ended, or had no source to work on; 0 of those of a cluster, which
        come and go.

    Raises:
        StorageError: the disk is full; what was done stays done.
        BuildError: the cluster is gone.
    """
    begun = time.perf_counter()
    each = FETCHING if any(locations.is_url(item.source.location) for item in todo) else 1
    room = len(todo) if each == 1 and all(_bytes(item.source) < LONG_BYTES for item in todo) else None
    with (
        executor.connect(room, each) as client,
        turns(executor.local()) as shared,
        shared_gpus(task.device, executor.local(room, each)) as gpus,
        progress.stage("videos", len(todo), "videos") as advance,
        _nonce(task.pieces) as nonce,
    ):
        suspects = ledger.suspects()
        together = [item for item in todo if item.source.video_id not in suspects]
        alone = [replace(item, whole=True) for item in todo if item.source.video_id in suspects]
        long = LongVideos()
        hosts = Hosts(largest_first(together), task.recipe.fetch)
        monitor = Monitor(ledger, advance, total, len(todo), hosts.paused)
        media = MediaStore(task.media, task.recipe.fetch, (item.source for item in todo))
        cluster.hear(client, _ears(monitor, hosts))
        collection = _Collection(ledger, task, monitor, media, suspects, packing)
        looked = preflight.Preflight(preflight.expected(_local(todo)), nonce) if executor.scheduler else None
        packing.by_workers = (lambda: looked.shared) if looked else lambda: True
        flow = Flow(
            tick=monitor.tick,
            check=looked,
            where=lambda item: looked.where() if looked and _needs_disk(item) else None,
            refused=_refused if looked else lambda _: None,
        )
        local = not executor.scheduler
        given = replace(task, turns=shared if local and each > 1 else None)
        given = replace(given, part_s=None if executor.local(room) == 1 else PART_S)
        children = child_server.address() if local and task.device == "cpu" else None
        job = Job(pickle.dumps(given), _deadlines(task.recipe), nonce, gpus, children)
        try:
            for item, outcome in cluster.stream(client, work, packing.before(long.before(hosts)), job, flow=flow):
                if collection.packed(item, outcome) or long.takes(item, collection.heard(outcome)):
                    continue
                if collection.lost(item, outcome, hosts):
                    alone.append(replace(item, step=None, whole=True))
            while alone:
                batch, alone = alone, []
                for item, outcome in cluster.stream(client, work, batch, job, flow=replace(flow, alone=True)):
                    done = collection.outcome(item, outcome, alone=True)
                    if done is None:
                        alone.append(item)
                    else:
                        collection.put(item, done)
            for item, reason in hosts.left():
                collection.leave(item, reason)
            while packing.waits:
                for item, outcome in cluster.stream(client, work, packing.before(()), job, flow=flow):
                    collection.packed(item, outcome)
        finally:
            media.close()
            monitor.note(ended=True)
    child_server.end()
    for line in _decoded(task, collection.spent):
        progress.say(line)
    processes = executor.local(room, each)
    return max(0.0, processes * (time.perf_counter() - begun) - sum(collection.spent.values()))


def _decoded(task: VideoTask, spent: Mapping[str, float]) -> Iterator[str]:
    """A line where frames were to be decoded on the GPU: how much of that was."""
    if task.decode == "cuda":
        there, here = spent.get(DECODE_GPU, 0.0), spent.get("decode", 0.0)
        yield (
            f"decoding on the GPU took {there:,.1f} s, on the CPU {here:,.1f} s (streams that the GPU does not take, "
            "or whose packets show damage)"
        )


def _refused(outcome: object) -> tuple[str, str] | None:
    """Which worker of a cluster turned out not to be fit, and why; the source is another's."""
    found = outcome.outcome if isinstance(outcome, Report) else outcome
    return (found.worker, found.reason) if isinstance(found, Unfit) else None


def _needs_disk(item: Pending | FileToPack) -> bool:
    """Whether only a worker that sees the build's disk can do it."""
    return isinstance(item, FileToPack) or item.step is not None


def _ears(monitor: Monitor, hosts: Hosts[Pending]) -> Callable[[dict[str, Any]], None]:
    """Hears workers: a source that is decoded leaves its host to others."""

    def hear(message: dict[str, Any]) -> None:
        if message["stage"] not in ("", FETCH):
            hosts.fetched(message["name"])
        monitor.hear(message)

    return hear


def _received(outcome: object, item: Pending, task: VideoTask) -> int:
    """Bytes that lie unfinished after a failure of the network; what was ended because it hung made no progress."""
    found = outcome.outcome if isinstance(outcome, Report) else outcome
    failed_so = isinstance(found, Done) and found.record.error_kind == ErrorKind.NETWORK
    return fetch.received(item.source, task.media) if failed_so else 0


@dataclass(frozen=True)
class _Collection:
    """Writes outcomes down.

    Attributes:
        deaths: sources that were lost with their process -> how often each took it down while nothing else ran.
        again: sources that failed for a passing reason -> how, until they are tried again.
        spent: seconds by stage, over all sources.
    """

    ledger: Ledger
    task: VideoTask
    monitor: Monitor
    media: MediaStore
    deaths: dict[str, int]
    packing: Packer
    again: dict[str, Done] = field(default_factory=dict)
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def put(self, item: Pending, done: Done) -> None:
        """A source is done."""
        for stage, seconds in done.seconds.items():
            self.spent[stage] += seconds
        self.ledger.put(done)
        self.packing.see(done)
        self.monitor.count(done)
        self.media.settle(item.source, good=done.record.status != "failed")
        self.again.pop(item.source.video_id, None)

    def leave(self, item: Pending, reason: str) -> None:
        """A source is given up for this run, because of its host."""
        self.put(item, self.again.get(item.source.video_id) or self._failed(item, ErrorKind.RATE_LIMITED, reason))

    def packed(self, item: Pending | FileToPack, outcome: object) -> bool:
        """Whether an outcome is that of a file that was to be packed."""
        self.monitor.came_back(item.name)
        found = outcome.outcome if isinstance(outcome, Report) else outcome
        if not self.packing.takes(item, found):
            return False
        self.spent["packing"] += getattr(found, "seconds", 0.0)
        return True

    def heard(self, outcome: object) -> object:
        """What a worker answered.

        Raises:
            CurateError: what ends the run.
        """
        found = outcome.outcome if isinstance(outcome, Report) else outcome
        if isinstance(found, CurateError):
            raise found
        if isinstance(found, Unfit):  # this machine, which loaded the same before
            raise BuildError(f"a worker cannot load what it needs: {found.reason}; run the same command again to go on")
        return found

    def lost(self, item: Pending, outcome: object, hosts: Hosts[Pending]) -> bool:
        """Whether a source was lost with its worker; else it is done, or left until its host may be asked again."""
        done = self.outcome(item, outcome, alone=False)
        if done is None:
            hosts.see(item, None)
            return True
        if hosts.see(item, done.record.error_kind, done.retry_after_s, _received(outcome, item, self.task)):
            self.put(item, done)
        else:
            self.again[item.source.video_id] = done
        return False

    def outcome(self, item: Pending, outcome: object, *, alone: bool) -> Done | None:
        """What came of a source; None where it was lost and has to be tried (again) alone."""
        self.monitor.came_back(item.name)
        found = self.heard(outcome)
        if isinstance(outcome, Report):
            for name, data in outcome.pieces.items():
                write_bytes(self.task.pieces / name, data)
        if isinstance(found, Done):
            return found
        if isinstance(found, Verdict):
            return self._failed(item, found.kind, found.message)
        if isinstance(found, Ended) or cluster.died(found):
            reason = found.reason if isinstance(found, Ended) else cluster.LOST
            video_id = item.source.video_id
            self.deaths[video_id] = self.deaths.get(video_id, 0) + alone
            if self.deaths[video_id] >= BLAMED:
                return self._failed(item, ErrorKind.OTHER, f"{reason}, {BLAMED} times while nothing else ran")
            self.ledger.suspect(video_id, self.deaths[video_id])
            return None
        if isinstance(found, ImportError):
            raise UsageError(f"a worker has no curate that can be used ({one_line(found)}); install this version there")
        return self._failed(item, ErrorKind.OTHER, f"{type(found).__name__}: {found}")

    def _failed(self, item: Pending, kind: ErrorKind, message: str) -> Done:
        message = one_line(locations.without_credentials(message))
        return Done(failed(item.source, kind, message), item.stamp, self.task.key)


def _deadlines(recipe: BuildRecipe) -> Deadlines:
    limit = recipe.fetch.rate_limit  # a download that is held back on purpose is not slow
    rate = recipe.fetch.min_rate if limit is None else min(recipe.fetch.min_rate, limit / 2)
    return Deadlines(recipe.stall_s, recipe.deadline_s, recipe.deadline_per_s, rate)


def largest_first(todo: list[Pending]) -> list[Pending]:
    """A short list of local files from the largest on, so that no worker is left with a long one at the end.

    Others keep their order: a long list wins little, and its faces are packed as its parts are done.
    """
    if len(todo) > SHORT or any(locations.is_url(item.source.location) for item in todo):
        return todo
    return sorted(todo, key=lambda item: -_bytes(item.source))


def _bytes(source: Source) -> int:
    try:
        return Path(source.location).stat().st_size
    except OSError:
        return 0


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


def rows_of(done: Done) -> VideoRows:
    """The faces of a source, for packing."""
    return VideoRows(done.record.video_id, faces_key(done), done.record.faces)


def faces_key(done: Done) -> str:
    """Names the faces of a source: its bytes and everything that was done to them, what was taken down included."""
    known = f"{done.key[:16]}.{(done.record.identity or '')[:16]}"
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


def _judged(done: Done) -> bool:
    """Whether a failure follows from the bytes, so that the same bytes need not be looked at again."""
    judgements = (ErrorKind.DAMAGED, ErrorKind.NOT_VIDEO, ErrorKind.UNSUPPORTED)
    return done.record.error_kind in judgements and done.record.identity is not None


def folders(out: Path) -> tuple[Path, Path]:
    """Where a build keeps downloads, and pieces that are not packed yet."""
    return out / "work" / "media", out / "work" / "pieces"
