"""The one door to Dask: a cluster of single-threaded processes, local or one that exists."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Security, get_worker
from distributed.comm import connect
from distributed.utils import silence_logging_cmgr

from curate import progress
from curate.errors import BuildError, UsageError, one_line
from curate.hardware import cores
from curate.run import (
    fork_server,
    steady,  # noqa: F401 - Dask's messages must not wait for a clock that is set back
)
from curate.run.workforce import Check, Refused, Workforce, results

Item = TypeVar("Item")

LOST = "the worker process died on it (out of memory, or a crash in a decoder)"
SILENT_S = 120
"""Seconds of silence after which a local worker is ended and its items are given to others; noticed every so often."""
GREETED_S = 10
"""Seconds in which a scheduler must answer at first."""
TOPIC = "curate"
"""Under which workers say what they are doing."""


@dataclass(frozen=True)
class Executor:
    """Where work runs.

    Attributes:
        workers: local processes, one thread each; None for one a core.
        scheduler: address of a cluster that exists (`tcp://host:8786`).
    """

    workers: int | None = None
    scheduler: str | None = None

    def local(self, items: int | None = None, each: int = 1) -> int:
        """Local processes for so many items; 0 where a cluster that exists does the work.

        Args:
            each: processes for each of `workers`.
        """
        if self.scheduler:
            return 0
        count = (self.workers or cores()) * each
        return count if items is None else max(1, min(count, items))

    @contextmanager
    def connect(self, items: int | None = None, each: int = 1) -> Iterator[Client]:
        """A Dask client.

        Args:
            items: how many there are to work on; more local processes than that are not started.
            each: local processes for each of `workers`.

        Raises:
            UsageError: no scheduler answers at the address.
        """
        settings = {
            "distributed.scheduler.worker-ttl": SILENT_S,
            "distributed.worker.daemon": True,
            "distributed.worker.multiprocessing-method": fork_server.METHOD,
            "distributed.admin.log-format": "%(message)s",
            "logging.distributed": "critical",
        }
        count = self.local(items, each)
        with dask.config.set(settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if scheduler := self.scheduler:
                try:
                    with ThreadPoolExecutor(1) as apart:  # this one may be a notebook's, which runs a loop of its own
                        apart.submit(asyncio.run, _greet(scheduler)).result()
                    client = Client(scheduler, timeout=f"{GREETED_S}s", set_as_default=False)
                except (OSError, ValueError) as error:
                    reason = one_line(error) or "it takes connections, and says nothing"
                    raise UsageError(f"--scheduler {scheduler}: no Dask scheduler answers there ({reason})") from None
                with client, silence_logging_cmgr(logging.CRITICAL):  # what went wrong, the one line says
                    if link := _dashboard(client):
                        progress.say(f"dashboard: {link}")
                    yield client
                return
            fork_server.start()
            with (
                fork_server.without_main(),
                _local_cluster(count) as cluster,
                Client(cluster, timeout="10s", set_as_default=False) as client,
            ):
                yield client


async def _greet(scheduler: str) -> None:
    """Sees whether a scheduler answers, in time: Dask's client waits for ever for one that takes its connection.

    Raises:
        OSError: none does, a `TimeoutError` if something takes the connection; ValueError: that is no address.
    """
    settings = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(scheduler, timeout=GREETED_S, **settings), GREETED_S + 1)
    await comm.close()


def _local_cluster(count: int) -> LocalCluster:
    """So many workers on this machine.

    Raises:
        BuildError: the machine does not let them start.
    """
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=50,
            env=dict(os.environ),  # as it is now, and not when the fork server started
        )
    except (RuntimeError, OSError, MemoryError) as error:
        reason: BaseException = error
        while before := reason.__cause__ or reason.__context__:
            reason = before  # Dask wraps what went wrong, several times
        raise BuildError(
            f"the {count} worker processes cannot be started ({one_line(reason, 120) or type(reason).__name__}); see "
            "to the limits of this shell (ulimit -a) or take fewer with --workers"
        ) from None


LOCAL = Executor()
"""A process a core."""


def _dashboard(client: Client) -> str | None:
    try:
        return str(client.dashboard_link)
    except KeyError:  # a scheduler without one
        return None


@dataclass(frozen=True)
class Flow:
    """How `stream` hands out items.

    Attributes:
        a_worker: items under way for each worker; more than one, so that none waits for the next.
        alone: one item at a time, on the whole cluster.
        tick: called about once a second.
        check: says what makes a worker unfit, see `curate.run.workforce`.
        refused: of a result that says that its worker is not fit: the worker's address, and why; None: of any other.
        where: addresses of the workers that an item should go to while they are there; None: any.
    """

    a_worker: int = 3
    alone: bool = False
    tick: Callable[[], object] = lambda: None
    check: Check | None = None
    refused: Refused = lambda _: None
    where: Callable[[Any], list[str] | None] = lambda _: None


def stream(
    client: Client,
    function: Callable[..., Any],
    items: Iterable[Item | None],
    *arguments: Any,
    flow: Flow = Flow(),
) -> Iterator[tuple[Item, Any]]:
    """Runs `function(item, *arguments)` on the workers; yields each item with its result as it is done.

    At most a few items a worker are under way, so that ten million of them do not fill the scheduler; workers that come
    later get theirs, and what was lost with a connection is handed out again.

    Args:
        items: may give None where there is none to be had now: it is asked again at the next tick.

    Yields:
        The item, and its result: what the function returned, the exception that it raised, or a `KilledWorker` where
        process after process died on it.

    Raises:
        BuildError: the scheduler or all workers are gone; UsageError: no worker is fit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workforce = Workforce(client, flow.check)
        target = (lambda: 1) if flow.alone else (lambda: flow.a_worker * workforce.count)

        def submit(item: Item) -> Future:
            places = flow.where(item)
            chosen = {"workers": places, "allow_other_workers": True} if places else {}
            return client.submit(function, item, *arguments, pure=False, **chosen)

        yield from results(workforce, submit, items, target, flow.tick, flow.refused)


def worker_name() -> object:
    """Name of the worker that runs the calling function; local ones are numbered from 0."""
    return get_worker().name


def worker_address() -> str:
    """Address of the worker that runs the calling function."""
    return str(get_worker().address)


def say_from_worker(message: dict[str, Any]) -> None:
    """Tells the driver something, from inside a task; see `hear`."""
    get_worker().log_event(TOPIC, message)


def hear(client: Client, handler: Callable[[dict[str, Any]], None]) -> None:
    """Calls `handler`, in a thread of its own, with what workers say."""
    client.subscribe_topic(TOPIC, lambda event: handler(event[1]))


def died(error: object) -> bool:
    """Whether a result of `stream` says that the worker's process died."""
    return isinstance(error, KilledWorker)
