"""`DIR/results.jsonl`: the lines of curate evaluate, each with the columns that say which cell of the study it is.

A line has every field of `curate.evaluate.Result` and, beside them: `cell` (key of the measurement), `title` (the
task's name in the recipe), `training`, `budget`, `build`, `rule`, `size`, `redundancy`, `space`, `threshold`, `fps`,
`order` (as asked for; null where the rule has none), `faces`, `unique`, `redundancy_measured`, `kept_share` (of the
manifest), `train_images`, `train_seconds` (of the run).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import UsageError, one_line
from curate.evaluate import Result
from curate.evaluate.results import append as append_lines
from curate.evaluate.results import of as result_of
from curate.storage.files import write_bytes

NAME = "results.jsonl"
ASKED = ("build", "rule", "size", "redundancy", "space", "threshold", "fps", "order")
COLUMNS = (
    "cell", "title", "training", "budget", *ASKED, "faces", "unique", "redundancy_measured", "kept_share",
    "train_images", "train_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One measurement with the cell that it belongs to."""

    result: Result
    columns: dict[str, Any]

    def line(self) -> str:
        """JSON in one line."""
        return json.dumps(json.loads(self.result.line()) | self.columns, ensure_ascii=False, allow_nan=False)

    def column(self, name: str) -> Any:
        """A column of the study or a field of the result."""
        return self.columns[name] if name in self.columns else getattr(self.result, name)


def of(values: dict[str, Any]) -> Line:
    """A line from its JSON object; null values are NaN, fields that are not known are left out."""
    return Line(result_of(values), {name: values.get(name) for name in COLUMNS})


def read(path: Path) -> list[Line]:
    """Every measurement of a study; of repeated ones the last stands.

    Raises:
        UsageError: the file is missing, or a line other than the last is no measurement.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as results ({one_line(error)})") from None
    found: dict[tuple[str, str, str], Line] = {}
    for number, text in enumerate(lines, 1):
        try:
            line = of(json.loads(text))
        except (ValueError, TypeError, AttributeError):
            if number == len(lines):
                break  # cut off by a kill
            raise UsageError(f"{path}:{number}: no measurement of curate study; remove the line") from None
        found[line.columns["cell"], line.result.split, line.result.metric] = line
    return list(found.values())


def mend(path: Path) -> None:
    """Takes out a last line that a kill has cut off."""
    if not path.exists():
        return
    whole = [text for text in path.read_bytes().splitlines() if _sound(text)]
    data = b"".join(text + b"\n" for text in whole)
    if data != path.read_bytes():
        write_bytes(path, data)


def append(path: Path, lines: list[Line]) -> None:
    """Appends lines in one write."""
    append_lines(path, lines)  # type: ignore[arg-type]  # only `line()` is asked of them


def _sound(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
