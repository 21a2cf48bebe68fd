"""What a run says of itself while it goes: metrics.jsonl, progress, warnings with their mend."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from curate.errors import UnavailableError
from curate.pretrain.config import Recipe
from curate.pretrain.probe import Sight
from curate.storage.files import storage_error, write_bytes

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines where there is no terminal."""
STUCK_SHARE = 0.002
"""A loss so near to that of blind guessing, as a share of it, has learned nothing."""
STUCK_LINES = 20
"""So many log lines in a row must be that near."""
FLAT_RANK, FLAT_SPREAD = 2.0, 0.05
"""Features that use fewer dimensions, or lie closer together, have collapsed."""


class Metrics:
    """`metrics.jsonl`: one object a line, appended; TensorBoard beside it on demand.

    Args:
        path: of the file.
        step: lines of later steps are dropped: a run that goes on will write them again.
        tensorboard: folder for events; None for none.

    Raises:
        UnavailableError: TensorBoard is asked for and not installed.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, step: int = 0, tensorboard: Path | None = None) -> None:
        self.path = path
        kept = [line for line in read_lines(path) if line["step"] <= step and step > 0]
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._events = _tensorboard(tensorboard, step) if tensorboard else None

    def write(self, line: dict[str, Any]) -> None:
        """Appends one line."""
        clean = {name: _plain(value) for name, value in line.items()}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(clean) + "\n")
        except OSError as error:
            raise storage_error(self.path, error) from error
        if self._events is not None:
            for name, value in clean.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(name, value, clean["step"])

    def close(self) -> None:
        """Ends the event file."""
        if self._events is not None:
            self._events.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file that are whole; none if there is no file."""
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines


class Watch:
    """Notices a loss that stays at that of blind guessing, and features that collapse; says each once.

    Args:
        recipe: names the mend.
        blind: loss of a network that cannot tell anything apart; None where there is no such number.
    """

    def __init__(self, recipe: Recipe, blind: float | None) -> None:
        self.recipe, self.blind = recipe, blind
        self.losses: deque[float] = deque(maxlen=STUCK_LINES)
        self.said: set[str] = set()

    def loss(self, value: float, step: int) -> str | None:
        """A warning about the loss at a step, if there is one to give now."""
        if self.blind is None or step < self._free_from():
            return None
        self.losses.append(value)
        full = len(self.losses) == STUCK_LINES
        if full and all(abs(x - self.blind) <= STUCK_SHARE * self.blind for x in self.losses):
            return self._once("stuck", f"the loss stays at {self.blind:.3f}, that of guessing: {self._unstick()}")
        return None

    def sight(self, sight: Sight) -> str | None:
        """A warning about the features, if there is one to give now."""
        if sight.effective_rank < FLAT_RANK or sight.spread < FLAT_SPREAD:
            text = f"features have collapsed (effective rank {sight.effective_rank:.1f}, spread {sight.spread:.3f})"
            return self._once("collapse", f"{text}: lower optimiser.lr, lengthen optimiser.warmup_epochs, larger batch")
        return None

    def _free_from(self) -> int:
        return self.recipe.swav.freeze_prototypes_steps if self.recipe.method == "swav" else 0

    def _unstick(self) -> str:
        if self.recipe.method == "swav":
            return (
                "set swav.epsilon=0.03, raise swav.freeze_prototypes_steps, or use a smaller swav.queue or a later "
                "swav.queue_from_epoch"
            )
        if self.recipe.method == "dino":
            return "lower dino.teacher_temperature or lengthen dino.teacher_warmup_epochs, or lower optimiser.lr"
        return "lower optimiser.lr or lengthen optimiser.warmup_epochs"

    def _once(self, kind: str, text: str) -> str | None:
        if kind in self.said:
            return None
        self.said.add(kind)
        return text


def blind_loss(recipe: Recipe, classes: int) -> float | None:
    """The loss of a network that finds all its choices equally likely."""
    choices = {
        "swav": recipe.swav.prototypes,
        "dino": recipe.dino.prototypes,
        "simclr": 2 * recipe.batch - 1,
        "moco": 1 + max(recipe.batch, recipe.moco.queue - recipe.moco.queue % recipe.batch),
    }.get(recipe.method)
    if recipe.method == "supervised" and recipe.supervised.loss == "softmax":
        choices = classes
    return math.log(choices) if choices and choices > 1 else None


class Show(Protocol):
    """Shows progress to a person."""

    def update(self, done: int, text: str) -> None:
        """So many are `done`; `text` says how it goes."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def __enter__(self) -> Show: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def show(name: str, total: int, first: bool, stream: TextIO | None = None) -> Show:
    """A bar on a terminal, a plain line now and then elsewhere, nothing in processes other than the first.

    Args:
        name: what is counted.
        total: how many there are.
        first: whether this process is the first.
        stream: where to show it; stderr by default.
    """
    stream = stream or sys.stderr
    if not first:
        return _Silent()
    return _Bar(name, total, stream) if stream.isatty() else _Lines(name, total, stream)


class _Silent:
    def update(self, done: int, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def __enter__(self) -> Show:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Lines(_Silent):
    def __init__(self, name: str, total: int, stream: TextIO) -> None:
        self.name, self.total, self.stream = name, total, stream
        self.begun: tuple[float, int] | None = None
        self.last = 0.0

    def update(self, done: int, text: str) -> None:
        now = time.monotonic()
        begin, first = self.begun = self.begun or (now, done)
        if now - self.last >= PLAIN_EVERY_S or done == self.total:
            self.last = now
            left = f", {(now - begin) / (done - first) * (self.total - done):.0f} s left" if done > first else ""
            self.say(f"{self.name} {done} of {self.total}, {text}{left}")

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class _Bar(_Silent):
    def __init__(self, name: str, total: int, stream: TextIO) -> None:
        self.progress = Progress(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self.task = self.progress.add_task("", total=total)

    def update(self, done: int, text: str) -> None:
        self.progress.update(self.task, completed=done, description=text)

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Show:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()


def _plain(value: Any) -> Any:
    """Numbers that JSON knows; what is not finite is null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UnavailableError("log.tensorboard: TensorBoard is not installed; pip install tensorboard") from None
    return SummaryWriter(str(folder), purge_step=step)
