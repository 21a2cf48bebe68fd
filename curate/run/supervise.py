"""What runs on a worker: it hands a source to its child process, listens, and ends the child that does not go on.

A child that hangs costs its own source; one that crashes is tried again in a fresh child; one that the system ends
(memory, a machine that goes down) is no fault of the source, and the driver decides. This module loads none of the
libraries that a source needs: those live and die in the child.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from curate.errors import CurateError, ErrorKind, one_line
from curate.hardware import take_gpu
from curate.heartbeat import DECODE, FETCH, Pulse
from curate.records import Source
from curate.run.gpus import Gpus
from curate.run.watched_child import Crashed, Deadlines, Ended, Listener, Unfit, Verdict, Watch, child
from curate.storage.ledger import Done
from curate.storage.scratch import scratch


@dataclass(frozen=True)
class Pending:
    """A source that has to be worked on.

    Attributes:
        stamp: its fingerprint as the driver saw it.
        known: what an earlier run made of it, if that may still hold.
        step: of a video that is worked on in parts, what is to be done now: `PartOf` or `Join` of `curate.run.parts`.
        whole: it is not to be worked on in parts.
        careful: one thing is done after the other, so that a crash shows in which stage it is.
        about: which step it is, for people.
    """

    source: Source
    stamp: str
    known: Done | None
    step: object = None
    whole: bool = False
    careful: bool = False
    about: str = ""

    @property
    def name(self) -> str:
        """Tells what workers say of it from what they say of other sources and steps."""
        return f"{self.source.video_id} {self.about}" if self.about else self.source.video_id

    @property
    def shown(self) -> str:
        """What people read."""
        return f"{self.source.source}, {self.about}" if self.about else self.source.source


@dataclass(frozen=True)
class FileToPack:
    """A file of the build that is to be joined from pieces.

    Attributes:
        name: below the build.
        packing: a `curate.run.pack.Packing`, pickled, so that only the child loads what it needs.
    """

    name: str
    packing: bytes

    @property
    def shown(self) -> str:
        """What people read."""
        return self.name


@dataclass(frozen=True)
class Packed:
    """A file that was joined, or not.

    Attributes:
        sha256: of its bytes; None where rows of a video are not there.
    """

    sha256: str | None
    seconds: float


@dataclass(frozen=True)
class Job:
    """What a worker needs beside the source.

    Attributes:
        task: a `curate.run.video.VideoTask`, pickled, so that only the child loads what it needs.
        nonce: a file on the build's disk and what it holds: a worker that does not see it sends its pieces back.
        gpus: of this machine, for local workers.
        children: where children are forked (`curate.run.child_server`); None: they start by themselves.
    """

    task: bytes
    deadlines: Deadlines
    nonce: tuple[Path, str]
    gpus: Gpus = field(default_factory=Gpus)
    children: Path | None = None


@dataclass(frozen=True)
class Report:
    """How a source went.

    Attributes:
        outcome: what was done, or packed, a verdict on the source, an ended child, a machine that is not fit, or the
            error that stops the build.
        pieces: name -> bytes of its pieces, where the worker does not see the build's disk.
    """

    outcome: Done | Packed | Verdict | Ended | Unfit | Exception
    pieces: dict[str, bytes] = field(default_factory=dict)


SAY_EVERY_S = 2.0
"""Seconds between two messages to the driver about one source."""


PACK = "pack"
"""The request that joins a file (see `curate.run.requests`)."""


def work(item: Pending | FileToPack, job: Job) -> Report:
    """Works through a source, or joins a file, and tells the driver how it goes: what runs as a task on the cluster."""
    from curate.run.cluster import say_from_worker, worker_address, worker_name

    begun = time.monotonic()
    said, stage = -SAY_EVERY_S, ""
    number = worker_name()
    if job.gpus.count and isinstance(number, int):
        take_gpu(number, job.gpus.count, job.gpus.processes)  # the child, which uses it, inherits the environment

    def hear(pulse: Pulse) -> None:
        nonlocal said, stage
        now = time.monotonic()
        if now - said < SAY_EVERY_S and pulse.stage == stage:
            return
        said, stage = now, pulse.stage
        state = {"stage": pulse.stage, "frames": pulse.frames, "bytes": pulse.bytes, "seconds": now - begun}
        say_from_worker({"name": item.name, "source": item.shown, "worker": str(number)} | state)

    hear(Pulse())
    report = pack(item, job, hear) if isinstance(item, FileToPack) else take(item, job, hear)
    if isinstance(report.outcome, Unfit):
        return Report(replace(report.outcome, worker=worker_address()))
    return report


def pack(item: FileToPack, job: Job, hear: Listener = lambda _: None) -> Report:
    """Joins a file in this process's child; whatever goes wrong, the driver joins it in the end."""
    if not shares_disk(job.nonce):
        return Report(Ended("the worker does not see the build's disk"))
    found = child(job.children).ask((PACK, item.packing), Watch(job.deadlines, hear))
    return Report(Ended(found.reason) if isinstance(found, Crashed) else found)  # type: ignore[arg-type]


def take(item: Pending, job: Job, hear: Listener = lambda _: None) -> Report:
    """Works through one source in this process's child.

    Args:
        hear: called with the child's pulse, several times a second at most.
    """
    if shares_disk(job.nonce):
        return Report(_twice(item, job, None, hear))
    with scratch("source") as folder:
        outcome = _twice(item, job, folder, hear)
        return Report(outcome, {path.name: path.read_bytes() for path in (folder / "pieces").glob("*.parquet")})


def _twice(item: Pending, job: Job, folder: Path | None, hear: Listener) -> Done | Verdict | Ended | Unfit | Exception:
    """Tries a source whose child crashed, failed unforeseen, or hung once it had the bytes, once more in a fresh one.

    A machine that stands still for a while, or a disk, looks like a source that hangs; twice it is the source. What the
    system refuses (open files, processes) is never the source's.
    """
    blame: Verdict | Ended | Unfit | Exception | None = None
    for careful in (False, True):
        asked = ("process", job.task, replace(item, careful=careful), folder)
        found = child(job.children).ask(asked, Watch(job.deadlines, hear))
        if isinstance(found, Crashed):
            where = _WHILE.get(found.stage, "")
            kind = ErrorKind.DAMAGED if found.stage == DECODE else ErrorKind.OTHER
            blame = Verdict(kind, f"the process that worked on it crashed twice ({found.reason}) {where}")
        elif isinstance(found, Verdict) and found.kind == ErrorKind.DAMAGED:
            blame = replace(found, message=f"{found.message}, twice")
        elif isinstance(found, Unfit) or (isinstance(found, Exception) and not isinstance(found, CurateError)):
            child(job.children).end()  # nothing foresaw it: what the process has loaded may be spoiled
            blame = Ended(one_line(found)) if isinstance(found, OSError) else found
        else:
            return found  # type: ignore[return-value]  # of `process` alone
    assert blame is not None
    return blame


_WHILE = {FETCH: "while fetching", DECODE: "while decoding", "faces": "while searching faces"}


@functools.cache
def shares_disk(nonce: tuple[Path, str]) -> bool:
    """Whether this machine sees the build's disk, and may write there."""
    path, text = nonce
    try:
        return path.read_text() == text and os.access(path.parent, os.W_OK)
    except OSError:
        return False
