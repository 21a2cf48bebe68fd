"""What comes back from the workers, and what it means: written down, left for later, or tried again alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from curate import locations
from curate.errors import BuildError, CurateError, ErrorKind, UsageError, one_line
from curate.run import cluster
from curate.run.hosts import Hosts
from curate.run.media import MediaStore
from curate.run.monitor import Monitor
from curate.run.supervise import FileToPack, Pending, Report
from curate.run.video import VideoTask, failed
from curate.run.watched_child import Ended, Unfit, Verdict
from curate.stages import fetch
from curate.storage.files import write_bytes
from curate.storage.ledger import Done, Ledger

BLAMED = 2
"""So often a source must take its process down, alone, before it is to blame."""


class Packer(Protocol):
    """What packs meanwhile: `curate.run.early.EarlyPacking`."""

    by_workers: Callable[[], bool] | None

    @property
    def waits(self) -> bool:
        """Whether there are files that no worker has been given yet."""

    def see(self, done: Done) -> None:
        """A source is in the ledger."""

    def before(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, after the files that wait to be packed by workers."""

    def takes(self, item: object, found: object) -> bool:
        """Whether an outcome is that of a file that was to be packed."""


@dataclass(frozen=True)
class Outcomes:
    """Writes outcomes down.

    Attributes:
        deaths: sources that were lost with their process -> how often each took it down while nothing else ran.
        again: sources that failed for a passing reason -> how, until they are tried again.
        spent: seconds by stage, over all sources.
    """

    ledger: Ledger
    task: VideoTask
    monitor: Monitor
    media: MediaStore
    deaths: dict[str, int]
    packing: Packer
    again: dict[str, Done] = field(default_factory=dict)
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def put(self, item: Pending, done: Done) -> None:
        """A source is done."""
        for stage, seconds in done.seconds.items():
            self.spent[stage] += seconds
        self.ledger.put(done)
        self.packing.see(done)
        self.monitor.count(done)
        self.media.settle(item.source, good=done.record.status != "failed")
        self.again.pop(item.source.video_id, None)

    def leave(self, item: Pending, reason: str) -> None:
        """A source is given up for this run, because of its host."""
        self.put(item, self.again.get(item.source.video_id) or self._failed(item, ErrorKind.RATE_LIMITED, reason))

    def packed(self, item: Pending | FileToPack, outcome: object) -> bool:
        """Whether an outcome is that of a file that was to be packed."""
        self.monitor.came_back(item.name)
        found = _answer(outcome)
        if not self.packing.takes(item, found):
            return False
        self.spent["packing"] += getattr(found, "seconds", 0.0)
        return True

    def heard(self, outcome: object) -> object:
        """What a worker answered.

        Raises:
            CurateError: what ends the run.
        """
        found = _answer(outcome)
        if isinstance(found, CurateError):
            raise found
        if isinstance(found, Unfit):  # this machine, which loaded the same before
            raise BuildError(f"a worker cannot load what it needs: {found.reason}; run the same command again to go on")
        return found

    def lost(self, item: Pending, outcome: object, hosts: Hosts[Pending]) -> bool:
        """Whether a source was lost with its worker; else it is done, or left until its host may be asked again."""
        done = self.outcome(item, outcome, alone=False)
        if done is None:
            hosts.see(item, None)
            return True
        if hosts.see(item, done.record.error_kind, done.retry_after_s, received(outcome, item, self.task)):
            self.put(item, done)
        else:
            self.again[item.source.video_id] = done
        return False

    def outcome(self, item: Pending, outcome: object, *, alone: bool) -> Done | None:
        """What came of a source; None where it was lost and has to be tried (again) alone."""
        self.monitor.came_back(item.name)
        found = self.heard(outcome)
        if isinstance(outcome, Report):
            for name, data in outcome.pieces.items():
                write_bytes(self.task.pieces / name, data)
        if isinstance(found, Done):
            return found
        if isinstance(found, Verdict):
            return self._failed(item, found.kind, found.message)
        if isinstance(found, Ended) or cluster.died(found):
            reason = found.reason if isinstance(found, Ended) else cluster.LOST
            video_id = item.source.video_id
            self.deaths[video_id] = self.deaths.get(video_id, 0) + alone
            if self.deaths[video_id] >= BLAMED:
                return self._failed(item, ErrorKind.OTHER, f"{reason}, {BLAMED} times while nothing else ran")
            self.ledger.suspect(video_id, self.deaths[video_id])
            return None
        if isinstance(found, ImportError):
            raise UsageError(f"a worker has no curate that can be used ({one_line(found)}); install this version there")
        return self._failed(item, ErrorKind.OTHER, f"{type(found).__name__}: {found}")

    def _failed(self, item: Pending, kind: ErrorKind, message: str) -> Done:
        message = one_line(locations.without_credentials(message))
        return Done(failed(item.source, kind, message), item.stamp, self.task.key)


def _answer(outcome: object) -> object:
    """What a worker answered, without the pieces that came with it; else what Dask says of it."""
    return outcome.outcome if isinstance(outcome, Report) else outcome


def received(outcome: object, item: Pending, task: VideoTask) -> int:
    """Bytes that lie unfinished after a failure of the network; what was ended because it hung made no progress."""
    found = _answer(outcome)
    failed_so = isinstance(found, Done) and found.record.error_kind == ErrorKind.NETWORK
    return fetch.received(item.source, task.media) if failed_so else 0


def refused(outcome: object) -> tuple[str, str] | None:
    """Which worker of a cluster turned out not to be fit, and why; the source is another's."""
    found = _answer(outcome)
    return (found.worker, found.reason) if isinstance(found, Unfit) else None
