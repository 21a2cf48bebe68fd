"""What happens while one video is worked on: seconds by stage, and what did not become faces."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class Tally:
    """What happened while one video was read."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    dropped: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def spent(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to `stage`."""
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started

    @contextmanager
    def waited(self, stage: str, door: AbstractContextManager[None]) -> Iterator[None]:
        """Has the context `door` while the block runs, and adds the time that it took to get in to `stage`."""
        with ExitStack() as stack:
            with self.spent(stage):
                stack.enter_context(door)
            yield

    def rest(self, started: float) -> None:
        """What stages do not say of the time since `started`."""
        self.seconds["other"] = max(time.perf_counter() - started - sum(self.seconds.values()), 0.0)

    def timed(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """Passes items on, adding the time it took to get each to `stage`, but for what other stages took of it."""
        iterator = iter(items)
        while True:
            started, others = time.perf_counter(), sum(self.seconds.values())
            item = next(iterator, None)
            self.seconds[stage] += time.perf_counter() - started - (sum(self.seconds.values()) - others)
            if item is None:
                return
            yield item
