"""Takes every source through the stages on the workers, and skips what is done."""

from __future__ import annotations

import pickle
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate import locations, progress
from curate.errors import ErrorKind, UsageError
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
from curate.run.outcomes import Outcomes, Packer, refused
from curate.run.pack import VideoRows
from curate.run.parts import PART_S
from curate.run.pieces import piece
from curate.run.supervise import FileToPack, Job, Pending, work
from curate.run.turns import turns
from curate.run.video import DECODE_GPU, VideoTask
from curate.run.watched_child import Deadlines
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
        hosts = Hosts(largest_first(together), task.recipe.fetch)
        monitor = Monitor(ledger, advance, total, len(todo), hosts.paused)
        media = MediaStore(task.media, task.recipe.fetch, (item.source for item in todo))
        cluster.hear(client, _ears(monitor, hosts))
        outcomes = Outcomes(ledger, task, monitor, media, suspects, packing)
        looked = preflight.Preflight(preflight.expected(_local(todo)), nonce) if executor.scheduler else None
        packing.by_workers = (lambda: looked.shared) if looked else lambda: True
        flow = Flow(
            tick=monitor.tick,
            check=looked,
            where=lambda item: looked.where() if looked and _needs_disk(item) else None,
            refused=refused if looked else lambda _: None,
        )
        local = not executor.scheduler
        given = replace(task, turns=shared if local and each > 1 else None)
        given = replace(given, part_s=None if executor.local(room) == 1 else PART_S)
        children = child_server.address() if local and task.device == "cpu" else None
        job = Job(pickle.dumps(given), _deadlines(task.recipe), nonce, gpus, children)

        def given_out(items: Iterable[Any], alone: bool = False) -> Iterator[tuple[Any, Any]]:
            return cluster.stream(client, work, items, job, flow=replace(flow, alone=alone))

        try:
            _work_through(given_out, hosts, alone, outcomes)
        finally:
            media.close()
            monitor.note(ended=True)
    child_server.end()
    for line in _decoded(task, outcomes.spent):
        progress.say(line)
    processes = executor.local(room, each)
    return max(0.0, processes * (time.perf_counter() - begun) - sum(outcomes.spent.values()))


def _work_through(
    given_out: Callable[..., Iterator[tuple[Any, Any]]], hosts: Hosts[Pending], alone: list[Pending], outcomes: Outcomes
) -> None:
    """All sources, then those that were lost, and the files that are left to be packed.

    Args:
        given_out: hands items to workers, all at once or with `alone` one at a time; yields each with its outcome.
        alone: sources that took their process down before.
    """
    packing, long = outcomes.packing, LongVideos()
    for item, outcome in given_out(packing.before(long.before(hosts))):
        if outcomes.packed(item, outcome) or long.takes(item, outcomes.heard(outcome)):
            continue
        if outcomes.lost(item, outcome, hosts):
            alone.append(replace(item, step=None, whole=True))
    while alone:
        batch, alone = alone, []
        for item, outcome in given_out(batch, alone=True):
            done = outcomes.outcome(item, outcome, alone=True)
            if done is None:
                alone.append(item)
            else:
                outcomes.put(item, done)
    for item, reason in hosts.left():
        outcomes.leave(item, reason)
    while packing.waits:
        for item, outcome in given_out(packing.before(())):
            outcomes.packed(item, outcome)


def _decoded(task: VideoTask, spent: Mapping[str, float]) -> Iterator[str]:
    """A line where frames were to be decoded on the GPU: how much of that was."""
    if task.decode == "cuda":
        there, here = spent.get(DECODE_GPU, 0.0), spent.get("decode", 0.0)
        yield (
            f"decoding on the GPU took {there:,.1f} s, on the CPU {here:,.1f} s (streams that the GPU does not take, "
            "or whose packets show damage)"
        )


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
