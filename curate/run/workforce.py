"""The workers of a cluster as they come and go, and the results of what they are given."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from curate import progress
from curate.errors import BuildError, UsageError, one_line

Check = Callable[[Client, str], str | None]
"""Of a client and the address of a worker: what makes it unfit, with the fix; None where it is fit."""

Refused = Callable[[Any], tuple[str, str] | None]
"""Of a result: the address of its worker, and what makes that unfit, with the fix; None of any other result."""

TICK_S = 1.0
SAID_S = 3.0
"""Seconds without any worker, or any answer of the scheduler, after which a line says so."""
LOST_IN_A_ROW = 200
"""Results without any that comes back after which the cluster is not believed in any more."""
GATHER_S = 60
"""Seconds in which a result must come from its worker."""
GIVEN_UP_S = 30.0
"""Seconds without any worker, or any answer of the scheduler, after which the run ends."""
ANSWER_S = 15.0
"""Seconds in which a worker that is looked at must answer."""


class Workforce:
    """The fit workers of a cluster.

    Args:
        check: run once for each worker, also for those that come later.
    """

    def __init__(self, client: Client, check: Check | None) -> None:
        self.client, self._check = client, check
        self._known: dict[str, bool] = {}
        self._missed_since: float | None = None
        self._said = False
        self.refresh()

    @property
    def connected(self) -> bool:
        """Whether the scheduler answers."""
        return bool(self.client.status == "running")

    @property
    def count(self) -> int:
        """How many fit workers there are."""
        return sum(self._known.values())

    def refresh(self) -> None:
        """Looks who is there, and checks who is new.

        Raises:
            BuildError: the scheduler is gone, or has not answered for a while, or there has been no worker for a while.
            UsageError: there are workers, and none is fit.
        """
        if self.client.status in ("closed", "closing", "newly-created"):
            raise BuildError(
                f"the Dask scheduler at {_address(self.client)} is gone; start it and run the same command again: what "
                "was done stays done"
            )
        if not self.connected:  # the client is trying
            return
        addresses = self._addresses()
        if addresses is None:
            self._miss("has not answered", "see to it", "does not answer; waiting for it")
            return
        self._known = {address: fit for address, fit in self._known.items() if address in addresses}
        unfit = []
        for address in sorted(addresses - self._known.keys()):
            reason = self._check(self.client, address) if self._check else None
            self._known[address] = reason is None
            if reason is not None:
                unfit.append(f"worker {address}: {reason}")
        self._let_go(unfit)
        if self._known:
            self._missed_since, self._said = None, False
        else:
            self._miss("has had no workers", "start some (docs/cluster.md)", "has no workers; waiting for some")

    def refuse(self, address: str, reason: str) -> None:
        """Gives a worker no more work: what it made of some showed that it is not fit.

        Raises:
            UsageError: no other one is fit.
        """
        if self._known.get(address):  # else it has gone, or was refused for what it had got before
            self._known[address] = False
            self._let_go([f"worker {address}: {reason}"])

    def _let_go(self, unfit: list[str]) -> None:
        """Says which workers are not fit, and takes them out of the cluster."""
        if not unfit:
            return
        for line in unfit:
            progress.say(f"{line}; it gets no work")
        if not self.count:
            raise UsageError(unfit[0])
        with suppress(TimeoutError):  # one that hangs does not let go either
            unfit_ones = [address for address, fit in self._known.items() if not fit]
            self.client.retire_workers(unfit_ones, callback_timeout=ANSWER_S)

    def _addresses(self) -> set[str] | None:
        """Of all workers that the scheduler knows; None where it does not answer."""
        asked = time.monotonic()
        try:
            found = self.client.sync(lambda: self.client.scheduler.identity(n_workers=-1), callback_timeout=SAID_S)
        except (OSError, TimeoutError):
            self._missed_since = self._missed_since or asked
            return None
        return set(found["workers"])

    def _miss(self, lacks: str, fix: str, waits: str) -> None:
        """Says after a while what is missing, and gives up after another."""
        now = time.monotonic()
        self._missed_since = self._missed_since or now
        missed = now - self._missed_since
        where = f"the Dask scheduler at {_address(self.client)}"
        if missed > GIVEN_UP_S:
            raise BuildError(
                f"{where} {lacks} for {GIVEN_UP_S:g} s; {fix} and run the same command again: what was done stays done"
            )
        if missed > SAID_S and not self._said:
            self._said = True
            progress.say(f"{where} {waits} for {GIVEN_UP_S:g} s")


def results(
    workforce: Workforce,
    submit: Callable[[Any], Future],
    items: Iterable[Any],
    target: Callable[[], int],
    tick: Callable[[], object],
    refused: Refused,
) -> Iterator[tuple[Any, Any]]:
    """Keeps `target()` items under way and yields each with its outcome; see `curate.run.cluster.stream`.

    Args:
        submit: hands an item out.
    """
    rest = iter(items)
    waiting: dict[str, tuple[Future, Any]] = {}
    again: list[Any] = []
    lost = 0
    finished: SimpleQueue[str] = SimpleQueue()
    ready: deque[tuple[Any, Any]] = deque()
    exhausted, ticked = False, time.monotonic()
    while True:
        while workforce.connected and len(waiting) < target() and not (exhausted and not again):
            item = again.pop() if again else next(rest, finished)
            if item is finished:
                exhausted = True
            elif item is None:
                break
            else:
                future = submit(item)
                waiting[future.key] = (future, item)
                future.add_done_callback(lambda future: finished.put(future.key))
        if exhausted and not waiting and not again and not ready:
            return
        if time.monotonic() - ticked >= TICK_S:
            ticked = time.monotonic()
            workforce.refresh()
            tick()
        if not ready:
            keys = _all_of(finished)
            futures, came = zip(*map(waiting.pop, keys), strict=True) if keys else ((), ())
            ready.extend(zip(came, _outcomes(workforce.client, futures), strict=True))
            continue  # the next are handed out before these are looked at
        item, outcome = ready.popleft()
        if refusal := refused(outcome):
            workforce.refuse(*refusal)
            again.append(item)
            continue
        if outcome is not NEVER_CAME:
            lost = 0
            yield item, outcome
            continue
        again.append(item)
        lost += 1
        if lost > LOST_IN_A_ROW:
            raise BuildError(
                f"{lost} results in a row never came back from the workers of {_address(workforce.client)}; read their "
                "logs and run the same command again: what was done stays done"
            )


def _all_of(finished: SimpleQueue[str]) -> list[str]:
    """What has come by now; waits a little for the first."""
    found: list[str] = []
    with suppress(Empty):
        found.append(finished.get(timeout=TICK_S / 4))
        while True:
            found.append(finished.get_nowait())
    return found


NEVER_CAME = object()


def _outcomes(client: Client, futures: Sequence[Future]) -> list[Any]:
    """What futures came to; those that ended well are brought together, which costs hardly more than one."""
    well = [future for future in futures if future.status == "finished"]
    brought: dict[str, Any] = {}
    if len(well) > 1:
        with suppress(Exception):  # one of their workers has gone since: one by one it shows which
            values = client.sync(lambda: client.gather(well, asynchronous=True), callback_timeout=GATHER_S)
            brought = {future.key: value for future, value in zip(well, values, strict=True)}
    return [brought[future.key] if future.key in brought else _outcome(future) for future in futures]


def _outcome(future: Future) -> Any:
    """What a future came to; `NEVER_CAME` where it was lost on the way and has to be handed out again."""
    status = future.status
    if status not in ("finished", "error"):
        return NEVER_CAME
    try:
        return future.result(timeout=GATHER_S) if status == "finished" else future.exception(timeout=GATHER_S)
    except Exception:  # the worker that held the result has gone since, or the scheduler with it
        return NEVER_CAME


def _address(client: Client) -> str:
    scheduler = client.scheduler
    return one_line(scheduler.address if scheduler is not None else client._start_arg, 80)
