"""What a run reports while it goes: metrics.jsonl, and warnings with what helps."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from curate.errors import UnavailableError
from curate.pretrain.loggers import Logger, reached
from curate.pretrain.probe import ProbeResult
from curate.progress import say
from curate.storage import documents
from curate.storage.files import storage_error, write_bytes

STUCK_SHARE = 0.002
"""A loss so near to that of guessing, as a share of it, has learned nothing."""
STUCK_LINES = 20
"""So many log lines in a row must be that near."""
FLAT_RANK, FLAT_SPREAD = 2.0, 0.05
"""Features that use fewer dimensions, or lie closer together, have collapsed."""


class Metrics:
    """`metrics.jsonl`: one object a line, appended.

    Args:
        path: of the file.
        step: lines of later steps are dropped: a resumed run will write them again.
        loggers: take the numbers as well.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, step: int = 0, loggers: Sequence[Logger] = ()) -> None:
        self.path, self.loggers = path, list(loggers)
        kept = [line for line in read_metrics(path) if line["step"] <= step and step > 0]
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, line: dict[str, Any]) -> None:
        """Appends one line."""
        clean = {name: _plain(value) for name, value in line.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(clean) + "\n")
        except OSError as error:
            raise storage_error(self.path, error) from error
        numbers = {name: value for name, value in clean.items() if isinstance(value, int | float) and name != "step"}
        for logger in list(self.loggers) if numbers else ():
            self._try(logger, partial(logger.add, clean["step"], numbers))

    def close(self) -> None:
        """Ends the loggers."""
        for logger in list(self.loggers):
            self._try(logger, logger.close)

    def _try(self, logger: Logger, call: Callable[[], None]) -> None:
        """A server that fails must not end training of days: the logger is left out from there, and that is said."""
        try:
            with reached(logger.key):
                call()
        except UnavailableError as error:
            self.loggers.remove(logger)
            say(f"warning: {error}. It gets no more numbers of this run; {self.path} has them all")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; none if there is no file.

    Raises:
        UsageError: a line other than the last, which a kill may have cut off, is damaged.
    """
    if not path.exists():
        return []
    return list(documents.read_lines(path, _metric, "remove the line, or use another --out"))


def _metric(value: Any) -> dict[str, Any]:
    line = documents.mapping(value)
    if not isinstance(line.get("step"), int):
        raise ValueError("a line of metrics names its step")
    return line


class CollapseDetector:
    """Notices a loss that stays at that of guessing, and features that collapse; warns of each once.

    Args:
        chance: loss of a network that cannot tell anything apart; None where there is no such number.
        remedy: what helps when the loss stays there.
        free_steps: steps at the beginning in which it may stay there, as part of the head is frozen.
    """

    def __init__(self, chance: float | None, remedy: str, free_steps: int = 0) -> None:
        self.chance, self.remedy, self.free_steps = chance, remedy, free_steps
        self.losses: deque[float] = deque(maxlen=STUCK_LINES)
        self.said: set[str] = set()

    def loss(self, value: float, step: int) -> str | None:
        """A warning about the loss at a step, if there is one to give now."""
        if self.chance is None or step < self.free_steps:
            return None
        self.losses.append(value)
        full = len(self.losses) == STUCK_LINES
        if full and all(abs(x - self.chance) <= STUCK_SHARE * self.chance for x in self.losses):
            return self._once("stuck", f"the loss stays at {self.chance:.3f}, that of guessing: {self.remedy}")
        return None

    def features(self, result: ProbeResult) -> str | None:
        """A warning about the features, if there is one to give now."""
        if result.effective_rank < FLAT_RANK or result.spread < FLAT_SPREAD:
            text = f"features have collapsed (effective rank {result.effective_rank:.1f}, spread {result.spread:.3f})"
            return self._once("collapse", f"{text}: lower optimiser.lr, lengthen optimiser.warmup_epochs, larger batch")
        return None

    def _once(self, kind: str, text: str) -> str | None:
        if kind in self.said:
            return None
        self.said.add(kind)
        return text


def _plain(value: Any) -> Any:
    """Numbers that JSON knows; what is not finite is null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
