"""`curate status`: what a build is doing or did, from its ledger, while it runs or after it was killed."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.errors import ErrorKind, UsageError
from curate.progress import duration, rate
from curate.run.monitor import SLOW_S, UnderWay
from curate.storage.ledger import Ledger

State = Literal["collecting", "deciding", "finished", "stopped"]


@dataclass(frozen=True)
class BuildStatus:
    """How a build stands.

    Attributes:
        state: `collecting` (sources are worked on), `deciding` (the steps over all faces), `finished`, or `stopped`: it
            was killed or gave up, and the same command resumes it.
        sources: of the list; done: of them, well or not; faces: found so far.
        failures: kind -> sources that failed so.
        rate: videos a second of the run; left_s: seconds until all are done at that rate; None where unknown.
        paused: hosts that are not asked now.
        under_way: what workers are at, longest first; lost: sources that wait to be tried alone.
        noted_s: seconds since the run last said so.
    """

    state: State
    sources: int
    done: int
    faces: int
    failures: dict[str, int]
    rate: float
    left_s: float | None
    paused: list[str]
    under_way: list[UnderWay]
    lost: int
    noted_s: float
    where: str

    def lines(self) -> Iterator[str]:
        """It in words, a line each."""
        share = f" ({self.done / self.sources:.0%})" if self.sources else ""
        yield f"{self.state}: {self.done:,} of {self.sources:,} sources done{share}, {self.faces:,} faces"
        if self.state == "collecting":
            left = f", {duration(self.left_s)} left" if self.left_s is not None else ""
            yield f"  {rate(self.rate, 1, 'videos')}{left}; on {self.where}, noted {self.noted_s:.0f} s ago"
        if self.state == "stopped":
            yield f"  stopped {duration(self.noted_s)} ago on {self.where}; the same curate build resumes it"
        for kind, count in sorted(self.failures.items(), key=lambda item: (-item[1], item[0])):
            yield f"  failed: {count:,} {kind}: {ErrorKind(kind).fix}"
        for host in self.paused:
            yield f"  paused: {host} is not asked now"
        if self.lost:
            yield f"  lost: {self.lost:,} sources went down with their worker; they are tried again alone"
        if self.state == "collecting":
            for one in self.under_way:
                if one.seconds >= SLOW_S or one.quiet_s >= SLOW_S / 2:
                    yield f"  slow: {one.line}, worker {one.worker}"


def status(path: str | Path) -> BuildStatus:
    """How a build stands, while it runs or after it ended.

    Raises:
        UsageError: the folder is no build.
        BuildError: its ledger is damaged.
    """
    folder = Path(path)
    ledger_path = folder / "work" / "ledger.sqlite"
    if not ledger_path.is_file():
        raise UsageError(f"{folder}: no build was begun here (no work/ledger.sqlite); name a folder of curate build")
    with Ledger(ledger_path) as ledger:
        noted = ledger.noted() or {}
        done, faces = ledger.totals()
        return BuildStatus(
            _state(folder, noted),
            max(noted.get("total", done), done),
            done,
            faces,
            ledger.failures(),
            noted.get("rate", 0.0),
            noted.get("left_s"),
            noted.get("paused", []),
            [UnderWay(**one) for one in noted.get("under_way", [])],
            len(ledger.suspects()),
            max(0.0, time.time() - noted.get("noted", time.time())),
            f"{noted.get('host', 'this machine')} (process {noted.get('pid', '?')})",
        )


def _state(folder: Path, noted: dict[str, Any]) -> State:
    if _held(folder / "work" / "lock"):
        return "deciding" if noted.get("ended", True) else "collecting"
    finished = folder / "build.json"
    if "finished" in noted:
        return "finished" if noted["finished"] and finished.is_file() else "stopped"
    if finished.is_file() and noted.get("ended", True) and finished.stat().st_mtime >= noted.get("started", 0.0):
        return "finished"
    return "stopped"


def _held(lock: Path) -> bool:
    """Whether a process is at work there."""
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
