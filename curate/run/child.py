"""The process in which one worker's sources are worked on, one after another; it may hang or die without harm.

It is started once and kept warm: libraries and networks are loaded before the first source's clock runs. Requests and
replies are pickles on a socket that only the worker holds.

    request  ("process", task, item, folder) or ("pack", packing), see `curate.run.requests`
    replies  ("ready",), any number of ("pulse", Pulse), then ("done", result) or ("raised", exception)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from curate import heartbeat
from curate.errors import CurateError, one_line
from curate.hardware import out_of_memory

PULSE_EVERY_S = 0.2


def main(channel: int, life: int) -> None:
    """Serves requests until the worker is gone.

    Args:
        channel: file descriptor of the socket.
        life: read end of a pipe that the worker holds open; the system ends this process when it closes, even where
            native code holds the interpreter.
    """
    _die_with(life)
    with contextlib.suppress(OSError):  # where memory runs out, the system ends this process and not the worker
        Path("/proc/self/oom_score_adj").write_text("700")
    from curate.run import requests  # loads every library that a source may need
    from curate.storage.vectors import return_large_blocks

    return_large_blocks()  # frames of 4K are some
    worker = Connection(channel)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            request = worker.recv()
            try:
                requests.prepare(request)
                worker.send(("ready",))
                heartbeat.listen(_Sender(worker))
                reply: tuple[Any, ...] = ("done", requests.answer(request))
            except (CurateError, OSError) as error:
                reply = ("raised", error)
            except Exception as error:  # an error that cannot cross the border must not look like a crash
                if out_of_memory(error):
                    os._exit(OUT_OF_MEMORY)
                reply = ("raised", RuntimeError(one_line(f"{type(error).__name__}: {error}")))
            heartbeat.listen(None)
            worker.send(reply)


OUT_OF_MEMORY = 137
"""Exit status where a library could get no more memory: that of a process which the system has ended."""


class _Sender:
    """Passes beats on, a few a second; a new stage at once."""

    def __init__(self, worker: Connection) -> None:
        self._worker, self._sent, self._stage = worker, 0.0, ""

    def __call__(self, pulse: heartbeat.Pulse) -> None:
        now = time.monotonic()
        if pulse.stage != self._stage or now - self._sent >= PULSE_EVERY_S:
            self._sent, self._stage = now, pulse.stage
            self._worker.send(("pulse", pulse))


def _die_with(life: int) -> None:
    """Asks the system for SIGIO, which ends a process that does not handle it, once the pipe's other end closes."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
