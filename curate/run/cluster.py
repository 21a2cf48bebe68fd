"""The one door to Dask: a cluster of single-threaded processes, local or one that exists."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker

from curate.errors import UsageError
from curate.hardware import cores

Item = TypeVar("Item")

LOST = "the worker process died on it (out of memory, or a crash in a decoder)"


@dataclass(frozen=True)
class Executor:
    """Where work runs.

    Attributes:
        workers: local processes, one thread each; None for one a core.
        scheduler: address of a cluster that exists (`tcp://host:8786`); its workers must see the same files.
    """

    workers: int | None = None
    scheduler: str | None = None

    @contextmanager
    def connect(self, items: int | None = None) -> Iterator[Client]:
        """A Dask client.

        Args:
            items: how many there are to work on; more local processes than that are not started.

        Raises:
            UsageError: no scheduler answers at the address.
        """
        settings = {
            "distributed.scheduler.allowed-failures": 1,
            "distributed.worker.daemon": True,
            "distributed.admin.log-format": "%(message)s",
            "logging.distributed": "critical",
        }
        count = self.workers or cores()
        if items is not None:
            count = max(1, min(count, items))
        with dask.config.set(settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if scheduler := self.scheduler:
                try:
                    client = Client(scheduler, timeout="10s", set_as_default=False)
                except (OSError, ValueError) as error:
                    raise UsageError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from None
                with client:
                    yield client
                return
            with (
                LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=0,
                    silence_logs=50,
                ) as cluster,
                Client(cluster, set_as_default=False) as client,
            ):
                yield client


LOCAL = Executor()
"""A process a core."""


def stream(
    client: Client, function: Callable[..., Any], items: Iterable[Item], *arguments: Any
) -> Iterator[tuple[Item, Any]]:
    """Runs `function(item, *arguments)` on the workers; yields each item with its result as it is done.

    At most a few items a worker are under way, so that ten million of them do not fill the scheduler. The result is
    the exception where one was raised, and a `KilledWorker` where the process died twice.
    """
    rest = iter(items)
    waiting: dict[Any, Item] = {}
    queue = as_completed(loop=client.loop)

    def submit() -> bool:
        for item in rest:
            future = client.submit(function, item, *arguments, pure=False)
            waiting[future] = item
            queue.add(future)
            return True
        return False

    window = 3 * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    for _ in range(window):
        if not submit():
            break
    for future in queue:
        item = waiting.pop(future)
        error = future.exception()
        yield item, error if error is not None else future.result()
        submit()


def worker_name() -> object:
    """Name of the worker that runs the calling function; local ones are numbered from 0."""
    return get_worker().name


def died(error: object) -> bool:
    """Whether a result of `stream` says that the worker's process died."""
    return isinstance(error, KilledWorker)


def over(client: Client) -> Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]:
    """Maps a function over tasks on the workers, in order: what `curate.dedupe.shards.cover_sharded` runs on."""

    def run(function: Callable[[Any], Any], tasks: Iterable[Any]) -> list[Any]:
        # Scattered first, since tasks may be large: those that travel with the call pass through the scheduler.
        held = client.scatter(list(tasks), hash=False)
        found: list[Any] = client.gather(client.map(function, held, pure=False))
        return found

    return run
