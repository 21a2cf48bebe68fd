"""Steps over the whole build: each runs only if what it depends on has changed since it last ended well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.storage.files import digest, write_json


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
        """Reads what earlier runs finished; a damaged memory is forgotten, which only costs time."""
        try:
            done = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            done = {}
        return cls(path, _done=done if isinstance(done, dict) else {})

    def run(self, name: str, depends: Any, outputs: list[Path], work: Callable[[], Any]) -> Any:
        """Runs `work` unless it was done for the same `depends` and its `outputs` are still there.

        Args:
            depends: a JSON value that says what the outcome follows from.
            outputs: files that the step leaves behind.

        Returns:
            What `work` returned, now or then (a JSON value).
        """
        key = digest(depends)
        done = self._done.get(name)
        if done and done["key"] == key and all(path.is_file() for path in outputs):
            return done["value"]
        started = time.perf_counter()
        value = work()
        self._done[name] = {"key": key, "value": value, "seconds": time.perf_counter() - started}
        self.ran.append(name)
        write_json(self.path, self._done)
        return value

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step took when it last ran."""
        return {name: done["seconds"] for name, done in self._done.items()}

    def names(self) -> list[str]:
        """Names of all steps that are done."""
        return sorted(self._done)

    def key(self, name: str) -> str:
        """What a finished step depended on, as a digest."""
        return str(self._done[name]["key"])
