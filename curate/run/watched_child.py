"""A process that works on one source at a time, and the clock that ends it where it does not go on.

It is asked by `curate.run.supervise`; what runs in it is `curate.run.child`.
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
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from curate.errors import ErrorKind, one_line
from curate.heartbeat import DECODE, FETCH, TURN, Pulse
from curate.run.child import OUT_OF_MEMORY
from curate.run.child_server import Forked

READY_S = 600.0
"""Longest time that loading libraries and networks may take."""
FACES_STALL_S = 300.0
"""Shortest silence that ends a child that searches faces: a batch of large frames on a busy machine takes long."""
ENDED_S = 10.0
"""Longest time that a process takes to be gone once it was ended: where its disk or its parent hangs, it never is."""
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
"""Signals that a process gets for what it did itself."""


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
class Verdict:
    """Why a child was ended, or died twice of what it did: becomes the source's row."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True)
class Ended:
    """The child was ended from outside: by the system, for want of memory, or by a person. Nobody's fault yet."""

    reason: str


@dataclass(frozen=True)
class Unfit:
    """The child could not load what every source needs: this machine's fault, whatever the source.

    Attributes:
        worker: address of the worker.
    """

    reason: str
    worker: str = ""


@dataclass(frozen=True)
class Crashed:
    """A child died of what it did."""

    reason: str
    stage: str


Listener = Callable[[Pulse], None]


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
        """Its answer, the exception that it raised, a `Verdict` where it was ended, `Unfit`, `Crashed` or `Ended`."""
        loaded = False
        try:
            self._channel.send(request)
            ready = self._reply(watch, time.monotonic() + READY_S)
            if ready != ("ready",):
                return _unfit(ready[1])
            loaded = True
            watch.start()
            return self._reply(watch, None)[1]
        except (EOFError, OSError, pickle.UnpicklingError):
            death = self._death(watch.pulse.stage)
            return death if loaded else _unfit(death)

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


def _unfit(why: object) -> object:
    """What it means that a child did not load: what the system refuses or ends may go better the next time."""
    if isinstance(why, OSError | Ended):
        return why
    if isinstance(why, Crashed):
        return Unfit(f"a process crashed there while it loaded libraries and networks ({why.reason})")
    return Unfit(one_line(why.message if isinstance(why, Verdict) else why))


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
