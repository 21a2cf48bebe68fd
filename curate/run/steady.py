"""A clock for Dask that never goes back.

Dask's messages wait for a time of day: where the clock is set back by an hour, they wait for an hour. Importing this
gives the process a time of day that goes on from now as the monotonic clock does. Workers import it with their first
source; a scheduler of its own, on a machine whose clock may be set back, needs `dask scheduler --preload
curate.run.steady`.
"""

from __future__ import annotations

import sys
import time

import distributed  # noqa: F401 - loads the modules that have taken the clock already
from tornado.ioloop import IOLoop

_AHEAD = time.time() - time.monotonic()
_CLOCK = time.time


def now() -> float:
    """Seconds since 1970 as they were known when this process began, and how many have passed."""
    return _AHEAD + time.monotonic()


def _take() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("distributed.") and getattr(module, "time", None) is _CLOCK:
            module.time = now  # type: ignore[attr-defined]
    IOLoop.time = lambda _: now()  # type: ignore[assignment,method-assign]


_take()
