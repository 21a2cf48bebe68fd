"""Whose turn it is to search faces: more processes than cores, so that some fetch while others keep the cores busy."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from curate.heartbeat import TURN, beat
from curate.storage.scratch import scratch

AGAIN_S = 0.1
"""Seconds between two looks for a free turn."""


@dataclass(frozen=True)
class Turns:
    """So many processes of this machine may search faces at once.

    Attributes:
        folder: of files, one a turn, that are locked by who has it: the system gives the turn of a dead process back.
    """

    folder: Path
    count: int


@contextmanager
def turns(count: int) -> Iterator[Turns]:
    """Turns for the processes of one run."""
    with scratch("turns") as folder:
        yield Turns(folder, count)


@contextmanager
def turn(of: Turns | None) -> Iterator[None]:
    """Waits for a turn, and has it while the block runs; None: nobody has to wait."""
    with ExitStack() as stack:
        while of is not None and not any(_taken(stack, of.folder / str(number)) for number in range(of.count)):
            beat(TURN)
            time.sleep(AGAIN_S)
        yield


def _taken(stack: ExitStack, path: Path) -> bool:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    stack.enter_context(file)
    return True
