"""`DIR/results.jsonl`: the lines of curate evaluate, each with the columns that say which cell of the study it is.

A line has every field of `curate.evaluate.Result` and, beside them, `COLUMNS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.evaluate import Result
from curate.evaluate.results import append as append_lines
from curate.evaluate.results import of as result_of
from curate.storage.documents import read_lines
from curate.storage.files import write_bytes

NAME = "results.jsonl"
COLUMNS = {
    "cell": "key of the measurement",
    "title": "the task's name in the recipe",
    "training": "the method's name in the recipe, or the backbone's",
    "budget": "how long the run trained, in words",
    "build": "the build's name in the recipe",
    "rule": "how faces were chosen; null for a backbone that the study did not train",
    "size": "faces asked for; null: all that the rule keeps",
    "redundancy": "redundancy asked for; null where the rule has none",
    "space": "embedding space; null where the rule looks at no vectors",
    "threshold": "cosine of near-duplicates; null where the rule has none",
    "fps": "frames a second; null: the build's",
    "order": "which clusters come first; null where the rule has none",
    "faces": "faces of the manifest",
    "unique": "clusters that they fall into",
    "redundancy_measured": "1 - unique / faces",
    "kept_share": "faces of the manifest as a share of its build's",
    "train_images": "pictures that the run saw, repeats counted",
    "train_seconds": "of the run; probes and pauses are not counted",
}
"""The columns of a study and what they mean: the one list, from which docs/study.md has its table."""


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
    """A line from its JSON object; see `curate.evaluate.results.of`."""
    return Line(result_of(values), {name: values.get(name) for name in COLUMNS})


def read(path: Path) -> list[Line]:
    """Every measurement of a study; of repeated ones the last stands.

    Raises:
        UsageError: the file is missing, or a line other than the last is no measurement.
    """
    found: dict[tuple[str, str, str], Line] = {}
    for line in read_lines(path, _measurement, "remove the line"):
        found[line.columns["cell"], line.result.split, line.result.metric] = line
    return list(found.values())


def _measurement(values: Any) -> Line:
    try:
        return of(values)
    except (ValueError, AttributeError):
        raise ValueError("no measurement of curate study") from None


def repair(path: Path) -> None:
    """Takes out a last line that a kill has cut off; any other that is no measurement is left for `read` to name."""
    if not path.exists():
        return
    head, end, last = path.read_bytes().rpartition(b"\n")
    if last and not _sound(last):
        write_bytes(path, head + end)


def append(path: Path, lines: list[Line]) -> None:
    """Appends lines in one write."""
    append_lines(path, lines)  # type: ignore[arg-type]  # only `line()` is asked of them


def _sound(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
