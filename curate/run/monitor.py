"""What a run says of itself: to the person who watches, and to the ledger, from which `curate status` reads it."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from curate.errors import one_line
from curate.progress import Advance, duration
from curate.storage.ledger import Done, Ledger

NOTE_EVERY_S = 2.0
"""Seconds between two notes in the ledger."""
SLOW_S = 60.0
"""Seconds after which a source is named as slow."""
NAMED = 3
"""Slow sources that a line names."""


@dataclass(frozen=True)
class UnderWay:
    """A source that a worker is at.

    Attributes:
        seconds: since it was begun; quiet_s: since its last frame or block.
    """

    source: str
    worker: str
    stage: str
    frames: int
    bytes: int
    seconds: float
    quiet_s: float = 0.0

    @property
    def line(self) -> str:
        """It in a few words."""
        done = f"{self.frames:,} frames" if self.frames else f"{self.bytes / 1e6:,.1f} MB"
        quiet = f", silent for {duration(self.quiet_s)}" if self.quiet_s >= SLOW_S / 2 else ""
        return f"{one_line(self.source, 60)} ({self.stage or 'starting'} for {duration(self.seconds)}, {done}{quiet})"


class Monitor:
    """Counts what comes in.

    Args:
        total: sources of the list; todo: those that this run works on.
        paused: names the hosts that are not asked now.
    """

    def __init__(
        self, ledger: Ledger, advance: Advance, total: int, todo: int, paused: Callable[[], list[str]]
    ) -> None:
        self._ledger, self._advance, self._total, self._todo, self._paused = ledger, advance, total, todo, paused
        self._started, self._begun = time.time(), time.monotonic()
        self._noted = -NOTE_EVERY_S
        self._under_way: dict[str, tuple[UnderWay, float]] = {}
        self._failed: Counter[str] = Counter()
        self._done = self._faces = 0

    def hear(self, message: dict[str, Any]) -> None:
        """Takes what a worker says of what it is at (see `curate.run.supervise.work`); from any thread."""
        name = message.pop("name")
        self._under_way[name] = (UnderWay(**message), time.monotonic())

    def came_back(self, name: str) -> None:
        """A worker is no longer at a source, or at a step of it, whatever came of it."""
        self._under_way.pop(name, None)

    def count(self, done: Done) -> None:
        """A source is done, well or not."""
        self._under_way.pop(done.record.video_id, None)
        self._done += 1
        self._faces += done.record.faces
        if done.record.error_kind:
            self._failed[done.record.error_kind] += 1
        self._advance(1, self.words())

    def tick(self) -> None:
        """Shows and notes how it stands."""
        self._advance(0, self.words())
        if time.monotonic() - self._noted >= NOTE_EVERY_S:
            self.note()

    def note(self, *, ended: bool = False) -> None:
        """Writes down how it stands."""
        self._noted = time.monotonic()
        took = time.monotonic() - self._begun
        rate = self._done / took if took > 0 else 0.0
        self._ledger.note(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": self._started,
                "noted": time.time(),
                "ended": ended,
                "finished": False,
                "total": self._total,
                "todo": self._todo,
                "done": self._done,
                "rate": rate,
                "left_s": (self._todo - self._done) / rate if rate else None,
                "paused": self._paused(),
                "under_way": [asdict(one) for one in self.under_way()],
            }
        )

    def under_way(self) -> list[UnderWay]:
        """What workers are at, longest first."""
        now = time.monotonic()
        found = [
            UnderWay(**asdict(one) | {"quiet_s": now - heard, "seconds": one.seconds + now - heard})
            for one, heard in list(self._under_way.values())
        ]
        return sorted(found, key=lambda one: -one.seconds)

    def words(self) -> str:
        """How it stands, in one line."""
        failed = ", ".join(f"{count:,} {kind}" for kind, count in self._failed.most_common())
        words = f"{self._faces:,} faces, {self._failed.total():,} failed{f': {failed}' if failed else ''}"
        slow = [one.line for one in self.under_way() if one.seconds >= SLOW_S]
        return words + _named("paused", self._paused()) + _named("slow", slow)


def _named(what: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; {what}: {', '.join(names[:NAMED])}{more}" if names else ""
