"""Looking around in a folder that should hold a data set: what is missing is named, with where to ask for it."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from curate.errors import UsageError, one_line
from curate.evaluate.pictures import SUFFIXES
from curate.evaluate.samples import TEST, TRAIN, VALIDATION


@dataclass(frozen=True)
class Folder:
    """The user's folder of one data set.

    Attributes:
        root: what `--data` names.
        name: of the data set.
        ask: where its owners give it out.
    """

    root: Path
    name: str
    ask: str

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UsageError(f"--data {self.root}: there is no such folder ({self.name}: {self.ask})")

    def find(self, *alternatives: str) -> Path | None:
        """The first of these relative paths that exists; patterns are allowed."""
        for alternative in alternatives:
            if any(c in alternative for c in "*?["):
                found = sorted(self.root.glob(alternative))
                if found:
                    return found[0]
            elif (self.root / alternative).exists():
                return self.root / alternative
        return None

    def need(self, *alternatives: str) -> Path:
        """The first of these relative paths that exists.

        Raises:
            UsageError: none does.
        """
        path = self.find(*alternatives)
        if path is None:
            raise UsageError(f"{self.root}: {self.name} needs {' or '.join(alternatives)}; {self.ask}")
        return path

    def id_of(self, path: Path) -> str:
        """The path relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def splits(self) -> dict[str, Path]:
        """`train/` and `test/`, and `val/` where there is one.

        Raises:
            UsageError: one of the first two is missing.
        """
        needed = {split: self.need(split) for split in (TRAIN, TEST)}
        validation = self.root / VALIDATION
        return needed | ({VALIDATION: validation} if validation.is_dir() else {})

    def pictures(self, below: str = ".") -> list[Path]:
        """Every picture file below a sub-folder, sorted by its path."""
        return [path for path in pictures_of(files_below(self.root / below)) if path.is_file()]

    def wrong(self, file: Path, line: int, problem: str) -> UsageError:
        """The error for one line of an annotation file."""
        return UsageError(f"{file}:{line}: {one_line(problem)}")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = defaultdict(list)
        for path in self.pictures():
            index[path.name].append(path)
        return index

    def picture(self, name: str, file: Path, line: int) -> Path:
        """The picture that an annotation names: by relative path, else by file name anywhere below the root.

        Raises:
            UsageError: there is none, there are several, or the path leads out of the folder.
        """
        relative = PurePosixPath(name.strip().replace("\\", "/"))
        if not name.strip() or relative.is_absolute() or ".." in relative.parts:
            raise self.wrong(file, line, f"{name!r} is no path inside {self.root}")
        if (self.root / relative).is_file():
            return self.root / relative
        found = self._by_name.get(relative.name, [])
        if len(relative.parts) > 1:
            found = [path for path in found if path.as_posix().endswith("/" + relative.as_posix())]
        if not found:
            raise self.wrong(file, line, f"there is no picture {name} below {self.root}")
        if len(found) > 1:
            raise self.wrong(
                file, line, f"{name} is ambiguous: {self.id_of(found[0])} and {self.id_of(found[1])}; write the path"
            )
        return found[0]


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by its path; linked folders are looked into, each once."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, below_it, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above would go round for ever
            below_it.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names]
    return sorted(found)


def pictures_of(files: Iterable[Path]) -> list[Path]:
    """Those whose names are a picture's, in their order."""
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def with_beside(part: Path, suffix: str, ask: str) -> list[Path]:
    """Pictures below a folder that have a file of their stem beside them, sorted.

    Raises:
        UsageError: there is none.
    """
    files = files_below(part)
    beside = _stems(files, suffix)
    pictures = [path for path in pictures_of(files) if path.with_suffix("") in beside]
    if not pictures:
        raise UsageError(f"{part}: no picture has a {suffix} file beside it; {ask}")
    return pictures


def without_picture(parts: Iterable[Path], suffix: str) -> tuple[str, ...]:
    """A note with the number of annotations of this suffix that have no picture beside them; none if all have."""
    lost = 0
    for part in parts:
        files = files_below(part)
        lost += len(_stems(files, suffix) - {path.with_suffix("") for path in pictures_of(files)})
    return (f"{lost} {suffix} files without a picture of the same stem beside them left out",) if lost else ()


def _stems(files: Iterable[Path], suffix: str) -> set[Path]:
    return {path.with_suffix("") for path in files if path.suffix == suffix}


def table(
    path: Path, needed: Sequence[str], renamed: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers, keyed by header.

    Args:
        needed: columns that must be there.
        renamed: other names of columns to the one that is used here.

    Raises:
        UsageError: it cannot be read, a needed column is missing, or a row has too few fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [(renamed or {}).get(name.strip(), name.strip()) for name in next(reader, [])]
            missing = [name for name in needed if name not in header]
            if missing:
                raise UsageError(f"{path}:1: no column {missing[0]}; the first line must name {','.join(needed)}")
            for row in reader:
                if not row:
                    continue
                if len(row) < len(header):
                    raise UsageError(
                        f"{path}:{reader.line_num}: {len(row)} fields, but the first line names {len(header)}"
                    )
                yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV ({one_line(error)})") from None


def number(text: str, path: Path, line: int, column: str) -> float:
    """A field as a finite number; empty is NaN.

    Raises:
        UsageError: it is neither.
    """
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if value in (float("inf"), float("-inf")) or (value != value and text.lower() != "nan"):
        raise UsageError(f"{path}:{line}: {column} = {one_line(text, 40)!r} is no number")
    return value


def integer(text: str, path: Path, line: int, column: str) -> int:
    """A field as a whole number.

    Raises:
        UsageError: it is none, or empty.
    """
    value = number(text, path, line, column)
    if not value.is_integer():
        raise UsageError(f"{path}:{line}: {column} = {one_line(text, 40)!r} is no whole number")
    return int(value)


def lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The words of every line that is not blank, with its number.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            for count, line in enumerate(file, 1):
                if line.strip():
                    yield count, line.split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({one_line(error)})") from None
