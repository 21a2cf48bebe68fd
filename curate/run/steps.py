"""Steps over the whole build: each runs only if what it depends on has changed since it last ended well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.storage.documents import mapping, read_json, write_json
from curate.storage.files import digest
from curate.storage.vectors import release_memory


@dataclass
class Steps:
    """The memory of finished steps, in `BUILD/work/steps.json`; a step is written down after its files are.

    Attributes:
        ran: names of the steps that ran this time, in order.
    """

    path: Path
    ran: list[str] = field(default_factory=list)
    _done: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Steps:
        """Reads what earlier runs finished.

        Raises:
            UsageError: the file is damaged.
        """
        fix = "delete it and run the same command again, which redoes the steps over the whole build"
        return cls(path, _done=read_json(path, _finished, fix) if path.exists() else {})

    def run(self, name: str, depends: Any, outputs: list[Path], work: Callable[[], Any]) -> Any:
        """Runs `work` unless it was done for the same `depends` and its `outputs` are there in the size they had.

        Args:
            depends: a JSON value that says what the outcome follows from.
            outputs: files that the step leaves behind.

        Returns:
            What `work` returned, now or then (a JSON value).
        """
        key = digest(depends)
        done = self._done.get(name)
        sizes = _sizes(outputs)
        if done and done["key"] == key and -1 not in sizes and done.get("sizes", sizes) == sizes:
            return done["value"]
        started = time.perf_counter()
        value = work()
        release_memory()  # what one step has freed, the next need not have on top of its own
        self._done[name] = {"key": key, "value": value, "seconds": time.perf_counter() - started}
        self._done[name]["sizes"] = _sizes(outputs)
        self.ran.append(name)
        write_json(self.path, self._done)
        return value

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time of what is done inside to that of a part that is no step; runs that resume add theirs."""
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Adds to the time of a part that is no step."""
        before = self._done.get(name, {"seconds": 0.0})["seconds"]
        self._done[name] = {"key": "", "value": None, "seconds": before + seconds}

    def forget(self, name: str) -> None:
        """Makes a step run again: what it left is not whole any more."""
        self._done.pop(name, None)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step took when it last ran, and other parts in all runs."""
        return {name: done["seconds"] for name, done in self._done.items()}

    def names(self) -> list[str]:
        """Names of all steps that are done."""
        return sorted(self._done)

    def key(self, name: str) -> str:
        """What a finished step depended on, as a digest."""
        return str(self._done[name]["key"])


def _sizes(paths: list[Path]) -> list[int]:
    """Bytes of each file; -1 where there is none."""
    return [path.stat().st_size if path.is_file() else -1 for path in paths]


def _finished(value: Any) -> dict[str, dict[str, Any]]:
    for step in mapping(value).values():
        _ = step["key"], step["value"], step["seconds"]
    return mapping(value)
