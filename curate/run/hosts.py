"""Who may be asked now: one polite scheduler, on the driver, for all hosts and all workers.

A host has so many sources under way, and so many begun in any minute, however many workers there are. One that refuses
several times in a row is left alone for a while (the breaker opens), then asked for one source (half open), and then
for all again (closed) or left alone for longer. What failed for a passing reason comes again later in the same run.
Sources without a host, and all hosts that answer, go on meanwhile.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from curate import locations, progress
from curate.errors import ErrorKind
from curate.progress import duration
from curate.recipe import Fetch
from curate.records import Source
from curate.stages.fetch_limits import wait_s

PAUSE_S = 5.0
"""So long a host is left alone at first; each time that it still refuses doubles it."""
LONGEST_PAUSE_S = 900.0
_REFUSALS = (ErrorKind.RATE_LIMITED, ErrorKind.BOT_CHECK)
_PASSING = (*_REFUSALS, ErrorKind.NETWORK)
"""Kinds of failure that may be over in the same run."""


class HasSource(Protocol):
    """What is scheduled."""

    @property
    def source(self) -> Source:
        """Whose host is asked."""


Item = TypeVar("Item", bound=HasSource)
Placed = tuple[int, Item]
"""An item with its place in the list."""


@dataclass
class _Host(Generic[Item]):
    """One host; the one without a name stands for all that has none, and is never waited for.

    Attributes:
        queue: what was not asked for yet; `later`: when what comes again may be, a heap.
        begun: when the sources of the last minute were begun; `next_s`: before when none may be.
        refusals: in a row. pauses: of the breaker, in a row; waited_s: in them, all together.
        turn: counts its entries in the scheduler's heaps; older ones hold no more.
    """

    name: str | None
    queue: deque[Placed[Item]] = field(default_factory=deque)
    later: list[tuple[float, int, Item]] = field(default_factory=list)
    under_way: int = 0
    begun: deque[float] = field(default_factory=deque)
    next_s: float = 0.0
    refusals: int = 0
    pauses: int = 0
    waited_s: float = 0.0
    turn: int = 0

    @property
    def waiting(self) -> int:
        """Items that are still to be asked for."""
        return len(self.queue) + len(self.later)

    def limit(self, per_host: int) -> float:
        """Sources that may be under way; fewer the more it refuses, one while it is tried out."""
        if self.name is None:
            return math.inf
        return 1 if self.pauses else max(1, per_host >> self.refusals)

    def may_ask_at(self, settings: Fetch, now: float) -> float | None:
        """When its next source may be asked for; None while nothing waits, or too much is under way."""
        if not self.waiting or self.under_way >= self.limit(settings.per_host):
            return None
        at = now if self.queue else self.later[0][0]
        if self.name is None:
            return at
        while self.begun and self.begun[0] <= now - 60:
            self.begun.popleft()
        full = self.begun[0] + 60 if len(self.begun) >= settings.per_minute else now
        return max(at, full, self.next_s)

    def take(self, now: float) -> Placed[Item]:
        """The item that stands first in the list, of those that may be asked for."""
        due = bool(self.later) and self.later[0][0] <= now
        if due and (not self.queue or self.later[0][1] < self.queue[0][0]):
            _, place, item = heapq.heappop(self.later)
            return place, item
        return self.queue.popleft()


class Hosts(Generic[Item]):
    """Hands out what may be asked for now; `see` must be called for each item that was handed out.

    Args:
        todo: in the order in which they should be asked for, where hosts allow it.
        settings: limits of the recipe.
        clock: seconds, never going back.
        say: hears each time that a breaker opens, half opens, closes or is given up.
    """

    def __init__(
        self,
        todo: Iterable[Item],
        settings: Fetch,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] = progress.say,
    ) -> None:
        self._settings, self._clock, self._say = settings, clock, say
        self._hosts: dict[str | None, _Host[Item]] = {}
        self._ready: list[tuple[int, int, str | None]] = []  # place of its first item, turn, host
        self._timed: list[tuple[float, int, str | None]] = []  # when it may be asked, turn, host
        self._under_way = 0
        self._behind: defaultdict[str, deque[Placed[Item]]] = defaultdict(deque)
        self._busy: set[str] = set()  # ranges of one video share a download: one at a time
        self._tries: Counter[str] = Counter()
        self._received: Counter[str] = Counter()
        self._places: dict[str, int] = {}
        self._left: list[tuple[Item, str]] = []
        self._through: SimpleQueue[str] = SimpleQueue()
        self._asking: dict[str, Item] = {}  # sources under way whose bytes are not all here
        for place, item in enumerate(todo):
            name = locations.host(item.source.location)
            self._places[item.source.video_id] = place
            self._hosts.setdefault(name, _Host(name)).queue.append((place, item))
        for host in self._hosts.values():
            self._enlist(host)

    def __iter__(self) -> Iterator[Item | None]:
        """The next item that may be asked for, None where none may be now; ends when none can come any more."""
        while True:
            item = self._next()
            if item is None and not self._under_way:
                waiting = [host for host in self._hosts.values() if host.waiting]
                if not waiting:
                    return
                if all(map(self._hopeless, waiting)):
                    for host in waiting:
                        self._give_up(host)
                    continue
            yield item

    def see(self, item: Item, kind: str | None, retry_after_s: float | None = None, received: int = 0) -> bool:
        """Learns how an item went.

        Args:
            kind: of the failure; None where it went well.
            retry_after_s: for how long the host asks to be left alone.
            received: bytes that lie unfinished; more than after any try before begins a new count of tries.

        Returns:
            Whether that is its outcome; False where it will be asked for again in this run.
        """
        source, now = item.source, self._clock()
        host = self._hosts[locations.host(source.location)]
        self._under_way -= 1
        self._let_go(source.video_id)
        if received > self._received[source.video_id]:
            self._received[source.video_id], self._tries[source.video_id] = received, 0
        tries = self._tries[source.video_id]
        again = kind in _PASSING and tries < self._settings.retries
        if again:
            self._tries[source.video_id] += 1
            at = now + max(wait_s(tries), retry_after_s or 0.0)
            heapq.heappush(host.later, (at, self._places[source.video_id], item))
        if host.name is not None:
            self._judge(host, kind, retry_after_s, now)
        self._enlist(host)
        return not again

    def left(self) -> list[tuple[Item, str]]:
        """What was given up for this run, each with the reason."""
        return self._left

    def fetched(self, video_id: str) -> None:
        """The bytes of a source are here, and its host may be asked for another; from any thread."""
        self._through.put(video_id)

    def paused(self) -> list[str]:
        """Hosts that are left alone while sources of theirs wait, each with the time for which it still is."""
        now = self._clock()
        paused = [host for host in self._hosts.values() if host.name and host.pauses and host.waiting]
        return sorted(f"{host.name} ({duration(max(0.0, host.next_s - now))})" for host in paused)

    def _next(self) -> Item | None:
        now = self._clock()
        while not self._through.empty():
            self._let_go(self._through.get())
        while self._timed and self._timed[0][0] <= now:
            _, turn, name = heapq.heappop(self._timed)
            if turn == self._hosts[name].turn:
                self._enlist(self._hosts[name])
        while self._ready:
            _, turn, name = heapq.heappop(self._ready)
            host = self._hosts[name]
            if turn != host.turn:
                continue
            place, item = host.take(now)
            location = item.source.location
            if location in self._busy:
                self._behind[location].append((place, item))
                self._enlist(host)
                continue
            self._begin(host, item, now)
            return item
        return None

    def _begin(self, host: _Host[Item], item: Item, now: float) -> None:
        host.under_way += 1
        self._under_way += 1
        self._asking[item.source.video_id] = item
        if not locations.is_local(item.source.location):
            self._busy.add(item.source.location)
        if host.name is not None:
            host.begun.append(now)
            host.next_s = now + self._settings.sleep_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            if host.pauses:
                self._say(f"{host.name}: asked again, for one source")
        self._enlist(host)

    def _let_go(self, video_id: str) -> None:
        """Its bytes are here, or will not come: its host, and other ranges of the same video, need wait no longer."""
        item = self._asking.pop(video_id, None)
        if item is None:
            return
        host = self._hosts[locations.host(item.source.location)]
        host.under_way -= 1
        self._busy.discard(item.source.location)
        host.queue.extendleft(reversed(self._behind.pop(item.source.location, deque())))
        self._enlist(host)

    def _enlist(self, host: _Host[Item]) -> None:
        """Puts a host where it belongs: among those that may be asked, or that may be at some time."""
        host.turn += 1
        now = self._clock()
        at = host.may_ask_at(self._settings, now)
        if at is not None and at <= now:
            first = host.queue[0][0] if host.queue else host.later[0][1]
            heapq.heappush(self._ready, (first, host.turn, host.name))
        elif at is not None:
            heapq.heappush(self._timed, (at, host.turn, host.name))

    def _judge(self, host: _Host[Item], kind: str | None, retry_after_s: float | None, now: float) -> None:
        """The breaker."""
        if kind not in _REFUSALS and not retry_after_s:
            if host.pauses and kind != ErrorKind.NETWORK:
                self._say(f"{host.name} answers again; {host.waiting:,} of its sources go on")
                host.pauses, host.waited_s = 0, 0.0
            host.refusals = 0 if kind != ErrorKind.NETWORK else host.refusals
            return
        host.refusals += 1
        if not (retry_after_s or host.pauses or host.refusals >= self._settings.stop_after):
            return
        pause = min(PAUSE_S * 2.0**host.pauses, LONGEST_PAUSE_S) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        pause = retry_after_s * random.uniform(1.0, 1.1) if retry_after_s else pause  # noqa: S311 - jitter
        if host.pauses and host.next_s > now:  # others that were under way say the same
            host.next_s = max(host.next_s, now + (retry_after_s or 0.0))
            return
        host.pauses += 1
        host.waited_s += pause
        host.next_s = now + pause
        asked = "asks to be left alone" if retry_after_s else f"refused {host.refusals} requests in a row"
        if host.waiting:
            waits = f"paused for {duration(pause)}; {host.waiting:,} of its sources wait"
            self._say(f"{host.name} {asked} ({kind}): {waits}")

    def _hopeless(self, host: _Host[Item]) -> bool:
        """Whether a host is paused for longer than a run waits that has nothing else to do."""
        return bool(host.pauses) and host.waited_s > self._settings.patience_s and host.next_s > self._clock()

    def _give_up(self, host: _Host[Item]) -> None:
        self._say(f"{host.name}: {host.waiting:,} of its sources wait for a later run")
        reason = f"not asked for: {host.name} refused again and again; run again later"
        self._left += [(item, reason) for _, item in host.queue] + [(item, reason) for _, _, item in host.later]
        host.queue.clear()
        host.later.clear()
