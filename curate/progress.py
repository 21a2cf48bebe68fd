"""How long work shows itself: bars on a terminal; elsewhere plain lines, when something changed and ever less often.

One protocol for the whole tree: `stage(name, total, unit)` opens a stage and yields `advance(count, note)`, which is
called with the items done since its last call. A function of the library that a program may want quiet takes
`progress: Progress = silent`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TextIO

from rich import progress as bars
from rich.console import Console


class Advance(Protocol):
    """What a stage yields."""

    def __call__(self, count: int, note: str = "") -> None:
        """Takes how many items were done since the last call, and a short note (counts so far)."""


class Progress(Protocol):
    """How stages are shown: `stage` or `silent`."""

    def __call__(self, name: str, total: int | None, unit: str = "") -> AbstractContextManager[Advance]:
        """Opens a stage of long work: its name, the number of items (None: unknown) and what an item is."""


PLAIN_EVERY_S = 10.0
"""Seconds from one plain line to the next at the beginning of a stage."""
PLAIN_SHARE = 0.05
"""Share of the time that a stage has taken so far, which passes before its next plain line: about 80 lines in the first
hour, 440 in a week."""
PLAIN_LATEST_S = 1800.0
"""Seconds after which a line comes again although nothing changed, so that it shows that the work is alive."""


class Pace:
    """When the next plain line of long work is due.

    Args:
        said: what the reader knows already.
    """

    def __init__(self, said: object = None) -> None:
        self._started = self._shown = time.monotonic()
        self._said = said

    def due(self, state: object) -> bool:
        """Whether to say `state` now; if so, it counts as said."""
        now = time.monotonic()
        wait = max(PLAIN_EVERY_S, min(PLAIN_SHARE * (now - self._started), PLAIN_LATEST_S))
        if now - self._shown < (wait if state != self._said else PLAIN_LATEST_S):
            return False
        self._shown, self._said = now, state
        return True


@contextmanager
def stage(name: str, total: int | None, unit: str = "", stream: TextIO | None = None) -> Iterator[Advance]:
    """One stage of long work.

    Args:
        name: what is being done.
        total: number of items; None where it is not known.
        unit: what an item is, for the rate.
        stream: where to show it; stderr by default.

    Yields:
        A function to call as items are done.
    """
    stream = stream or sys.stderr
    console = Console(file=stream)
    with _bar(console, name, total, unit) if console.is_terminal else _lines(stream, name, total, unit) as advance:
        yield advance


def silent(name: str, total: int | None, unit: str = "") -> AbstractContextManager[Advance]:  # noqa: ARG001
    """A stage that shows nothing, for callers that want none."""
    return nullcontext(_unshown)


def _unshown(count: int, note: str = "") -> None:
    del count, note


def say(text: str, stream: TextIO | None = None) -> None:
    """One plain line about what is going on."""
    print(text, file=stream or sys.stderr, flush=True)


@contextmanager
def _bar(console: Console, name: str, total: int | None, unit: str) -> Iterator[Advance]:
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}", markup=False),
    )
    started = time.monotonic()
    with bars.Progress(*columns, console=console, transient=False) as shown:
        task = shown.add_task(name, total=total, note="", rate="")

        def advance(count: int, note: str = "") -> None:
            done = shown.tasks[0].completed + count
            shown.update(task, advance=count, note=note, rate=rate(done, time.monotonic() - started, unit))

        yield advance


@contextmanager
def _lines(stream: TextIO, name: str, total: int | None, unit: str) -> Iterator[Advance]:
    started = time.monotonic()
    pace = Pace((0, ""))
    done, last_note = 0, ""

    def advance(count: int, note: str = "") -> None:
        nonlocal done, last_note
        done += count
        last_note = note
        if pace.due((done, note)):
            taken = time.monotonic() - started
            left = f", {duration((total - done) * taken / done)} left" if total and done else ""
            say(f"{name}: {_of(done, total)} {rate(done, taken, unit)}{left}{_noted(note)}", stream)

    yield advance
    say(f"{name}: {_of(done, total)} in {time.monotonic() - started:.1f} s{_noted(last_note)}", stream)


def duration(seconds: float) -> str:
    """A length of time as people say it: the two largest of days, hours, minutes and seconds."""
    left = round(seconds)
    parts = []
    for name, size in (("day", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:,} {name}{'s' if name == 'day' and count > 1 else ''}")
        elif parts:
            break  # 2 days, not 2 days 5 min
    return " ".join(parts[:2]) or "0 s"


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"


def rate(done: float, seconds: float, unit: str) -> str:
    """How many a second; where that is less than one, a minute or an hour."""
    if seconds <= 0 or not unit:
        return ""
    spans = (("s", 1), ("min", 60))
    name, length = next((span for span in spans if done * span[1] >= seconds or not done), ("h", 3600))
    return f"{done * length / seconds:,.1f} {unit}/{name}"


def _noted(note: str) -> str:
    return f" ({note})" if note else ""
