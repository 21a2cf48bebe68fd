"""What runs on a worker: it hands a source to its child process, listens, and ends the child that does not go on.

A child that hangs costs its own source; one that crashes is tried again in a fresh child; one that the system ends
(memory, a machine that goes down) is no fault of the source, and the driver decides. This module loads none of the
libraries that a source needs: those live and die in the child.
"""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from curate.errors import CurateError, ErrorKind, one_line
from curate.hardware import take_gpu
from curate.heartbeat import DECODE, FETCH, TURN, Pulse
from curate.records import Source
from curate.run.child import OUT_OF_MEMORY
from curate.run.child_server import Forked
from curate.run.gpus import Gpus
from curate.storage.ledger import Done
from curate.storage.scratch import scratch

READY_S = 600.0
"""Longest time that loading libraries and networks may take."""
FACES_STALL_S = 300.0
"""Shortest silence that ends a child that searches faces: a batch of large frames on a busy machine takes long."""
ENDED_S = 10.0
"""Longest time that a process takes to be gone once it was ended: where its disk or its parent hangs, it never is."""
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
"""Signals that a process gets for what it did itself."""


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
class Deadlines:
    """How long a source may take (keys of the recipe, see `curate.recipe`).

    Attributes:
        stall_s: seconds without a received block or a decoded frame.
        base_s, per_s: seconds after fetching, and seconds more for each second of video.
        min_rate: bytes a second that a download must bring on average.
    """

    stall_s: float
    base_s: float
    per_s: float
    min_rate: float


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
class Verdict:
    """Why a child was ended, or died twice of what it did: becomes the source's row."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True)
class Ended:
    """The child was ended from outside: by the system, for want of memory, or by a person. Nobody's fault yet."""

    reason: str


@dataclass(frozen=True)
class Report:
    """How a source went.

    Attributes:
        outcome: what was done, or packed, a verdict on the source, an ended child, or the error that stops the build.
        pieces: name -> bytes of its pieces, where the worker does not see the build's disk.
    """

    outcome: Done | Packed | Verdict | Ended | Exception
    pieces: dict[str, bytes] = field(default_factory=dict)


Listener = Callable[[Pulse], None]


SAY_EVERY_S = 2.0
"""Seconds between two messages to the driver about one source."""


PACK = "pack"
"""The request that joins a file (see `curate.run.requests`)."""


def work(item: Pending | FileToPack, job: Job) -> Report:
    """Works through a source, or joins a file, and tells the driver how it goes: what runs as a task on the cluster."""
    from curate.run.cluster import say_from_worker, worker_name

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
    return pack(item, job, hear) if isinstance(item, FileToPack) else take(item, job, hear)


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


def _twice(item: Pending, job: Job, folder: Path | None, hear: Listener) -> Done | Verdict | Ended | Exception:
    """Tries a source whose child crashed, failed unforeseen, or hung once it had the bytes, once more in a fresh one.

    A machine that stands still for a while, or a disk, looks like a source that hangs; twice it is the source. What the
    system refuses (open files, processes) is never the source's.
    """
    blame: Verdict | Ended | Exception | None = None
    for careful in (False, True):
        asked = ("process", job.task, replace(item, careful=careful), folder)
        found = child(job.children).ask(asked, Watch(job.deadlines, hear))
        if isinstance(found, Crashed):
            where = _WHILE.get(found.stage, "")
            kind = ErrorKind.DAMAGED if found.stage == DECODE else ErrorKind.OTHER
            blame = Verdict(kind, f"the process that worked on it crashed twice ({found.reason}) {where}")
        elif isinstance(found, Verdict) and found.kind == ErrorKind.DAMAGED:
            blame = replace(found, message=f"{found.message}, twice")
        elif isinstance(found, Exception) and not isinstance(found, CurateError):
            child(job.children).end()  # nothing foresaw it: what the process has loaded may be spoiled
            blame = Ended(one_line(found)) if isinstance(found, OSError) else found
        else:
            return found  # type: ignore[return-value]  # of `process` alone
    assert blame is not None
    return blame


_WHILE = {FETCH: "while fetching", DECODE: "while decoding", "faces": "while searching faces", "": "while loading"}


@functools.cache
def shares_disk(nonce: tuple[Path, str]) -> bool:
    """Whether this machine sees the build's disk, and may write there."""
    path, text = nonce
    try:
        return path.read_text() == text and os.access(path.parent, os.W_OK)
    except OSError:
        return False


@dataclass(frozen=True)
class Crashed:
    """A child died of what it did."""

    reason: str
    stage: str


class Watch:
    """The clock of one source: hears its pulse and says when it has had enough."""

    def __init__(self, deadlines: Deadlines, hear: Listener = lambda _: None) -> None:
        self._deadlines, self._hear = deadlines, hear
        self.pulse = Pulse()
        self._begun = self._heard = time.monotonic()
        self._fetched_s = 0.0

    def start(self) -> None:
        """The child is ready: from now on time counts."""
        self._begun = self._heard = time.monotonic()

    def see(self, pulse: Pulse) -> None:
        """A sign of life."""
        self._heard = time.monotonic()
        if self.pulse.stage in (FETCH, TURN) and pulse.stage != FETCH:
            self._fetched_s = self._heard - self._begun
        self.pulse = pulse
        self._hear(pulse)

    def verdict(self) -> Verdict | None:
        """Why the source is given up now; None while it goes on."""
        now, keys, pulse = time.monotonic(), self._deadlines, self.pulse
        fetching = pulse.stage in (FETCH, "")
        kind = ErrorKind.NETWORK if fetching else ErrorKind.DAMAGED  # the driver asks again for what networks refuse
        silent = now - self._heard
        if silent > (keys.stall_s if fetching or pulse.stage == DECODE else max(keys.stall_s, FACES_STALL_S)):
            what = "no block of bytes was received" if fetching else "no frame was decoded"
            return Verdict(kind, f"{what} for {keys.stall_s:g} s (stall_s)")
        took = now - self._begun
        if fetching and took > keys.stall_s and 0 < pulse.bytes < keys.min_rate * took:
            rate = pulse.bytes / took
            return Verdict(kind, f"{rate:,.0f} bytes a second, less than fetch.min_rate = {keys.min_rate:g}")
        allowed = keys.base_s + keys.per_s * pulse.duration_s
        if not fetching and took - self._fetched_s > allowed:
            return Verdict(kind, f"took more than {allowed:,.0f} s after it was fetched (deadline_s, deadline_per_s)")
        return None


Process = subprocess.Popen[bytes] | Forked


class Child:
    """A process that works on one source at a time (see `curate.run.child`).

    Args:
        children: see `Job`.
    """

    def __init__(self, children: Path | None = None) -> None:
        self._process = self._forked(children) or self._started(_own_process)
        self.pid = self._process.pid

    def _forked(self, children: Path | None) -> Process | None:
        """One from the child server; None where there is none."""
        if children is not None:
            with suppress(OSError):  # it has gone, or says nothing: whatever it died of, a process of its own shows
                return self._started(functools.partial(Forked, children))
        return None

    def _started(self, start: Callable[[tuple[int, int]], Process]) -> Process:
        """Starts a process at ends of its own: one that was asked for in vain may yet come, at the old ends."""
        ours, theirs = Pipe()
        self._channel: Connection[Any, Any] = ours
        life, self._life = os.pipe()
        try:
            return start((theirs.fileno(), life))
        except OSError:
            ours.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, request: tuple[Any, ...], watch: Watch) -> object:
        """Its answer, the exception that it raised, a `Verdict` where it was ended, `Crashed` or `Ended`."""
        try:
            self._channel.send(request)
            ready = self._reply(watch, time.monotonic() + READY_S)
            if ready != ("ready",):
                return ready[1]
            watch.start()
            return self._reply(watch, None)[1]
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._death(watch.pulse.stage)

    def _reply(self, watch: Watch, until: float | None) -> tuple[Any, ...]:
        while True:
            if self._channel.poll(0.25):
                reply: tuple[Any, ...] = self._channel.recv()
                if reply[0] != "pulse":
                    return reply
                watch.see(reply[1])
            late = until is not None and time.monotonic() > until
            verdict = watch.verdict() if until is None else None
            if late:
                verdict = Verdict(ErrorKind.OTHER, f"libraries and networks were not loaded within {READY_S:g} s")
            if verdict is not None:
                self.end()
                return ("done", verdict)

    def _death(self, stage: str) -> Crashed | Ended:
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDED_S)
        status = self._process.poll()
        self.end()
        if status is not None and status < 0 and -status in CRASHES:
            return Crashed(signal.Signals(-status).name, stage)
        if status is not None and status > 0 and status != OUT_OF_MEMORY:
            return Crashed(f"exit status {status}", stage)
        reason = "out of memory" if status == OUT_OF_MEMORY else "its process was ended"
        return Ended(reason)

    def end(self) -> None:
        """Ends the process, whatever it does; one of which nothing is heard even so is left to the system."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDED_S)
        self._channel.close()
        with suppress(OSError):
            os.close(self._life)
            self._life = -1


def _own_process(ends: tuple[int, int]) -> Process:
    command = f"import sys; sys.path[:] = {sys.path!r}; from curate.run.child import main; main{ends}"
    return subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.DEVNULL, pass_fds=ends)


_child: Child | None = None


def child(children: Path | None = None) -> Child:
    """This process's child, started where there is none that lives."""
    global _child  # one a worker process, which runs one source at a time
    if _child is None or not _child.alive:
        if _child is not None:
            _child.end()
        _child = Child(children)
    return _child
