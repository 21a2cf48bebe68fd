"""Looking around in a folder that should hold a data set: what is missing is named, with where to ask for it."""

from __future__ import annotations

import csv
import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from curate.errors import UsageError, one_line
from curate.evaluate.pictures import SUFFIXES
from curate.evaluate.samples import TEST, TRAIN, VALIDATION
from curate.storage.files import files_below


class MissingPartError(UsageError):
    """A folder is not the data set: none of the paths `alternatives` is in it."""

    def __init__(self, message: str, alternatives: tuple[str, ...]) -> None:
        super().__init__(message)
        self.alternatives = alternatives


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
            message = f"{self.root}: {self.name} needs {' or '.join(alternatives)}; {self.ask}"
            raise MissingPartError(message, alternatives)
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
        return pictures_of(files_below(self.root / below))

    def wrong(self, file: Path, line: int, problem: str) -> UsageError:
        """The error for one line of an annotation file."""
        return UsageError(f"{file}:{line}: {one_line(problem)}")

    def inside(self, name: str, file: Path, line: int, start: Path | None = None) -> Path:
        """The path that an annotation writes, as seen from `start` (a folder below the root; None: the root).

        What is written decides, not where links lead: data that lie on another disk are inside.

        Raises:
            UsageError: the written path is empty or leads out of the folder.
        """
        text = name.strip().replace("\\", "/")
        root = str(self.root.absolute())
        below = os.path.normpath((start or self.root).absolute() / text)  # as text: links are not resolved
        if not text or "\0" in text or os.path.commonpath([root, below]) != root or below == root:
            raise self.wrong(file, line, f"{name!r} is no path inside {self.root}")
        return self.root / os.path.relpath(below, root)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = defaultdict(list)
        for path in self.pictures():
            index[path.stem].append(path)
        return index

    def picture(self, name: str, file: Path, line: int) -> Path:
        """The picture that an annotation names: by relative path, else by file name anywhere below the root.

        One that was converted, so that only its suffix is another, is taken.

        Raises:
            UsageError: there is none, there are several, or the path leads out of the folder.
        """
        path = converted(self.inside(name, file, line))
        if path.is_file():
            return path
        relative = PurePosixPath(self.id_of(path))
        found = self._by_stem.get(relative.stem, [])
        found = [p for p in found if p.name == relative.name] or found
        if len(relative.parts) > 1:
            tail = "/" + relative.with_suffix("").as_posix()
            found = [path for path in found if path.with_suffix("").as_posix().endswith(tail)]
        if not found:
            raise self.wrong(file, line, f"there is no picture {name} below {self.root}")
        if len(found) > 1:
            raise self.wrong(
                file, line, f"{name} is ambiguous: {self.id_of(found[0])} and {self.id_of(found[1])}; write the path"
            )
        return found[0]


def converted(path: Path) -> Path:
    """The picture at a path or, where there is none, the only one beside it that differs in its suffix alone."""
    if path.is_file() or not path.parent.is_dir():
        return path
    found = [other for other in pictures_of(path.parent.glob(f"{glob.escape(path.stem)}.*")) if other.stem == path.stem]
    return found[0] if len(found) == 1 else path


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


def counts(found: Mapping[str, int], expected: Mapping[str, int]) -> tuple[str, ...]:
    """A note with what is not as many as the owners give out; none if all are."""
    apart = [f"{found[name]:,} {name} ({count:,} expected)" for name, count in expected.items() if found[name] != count]
    return (f"not the whole data set as its owners give it out: {', '.join(apart)}",) if apart else ()


def dangling(root: Path) -> tuple[str, ...]:
    """A note with the links below a folder that lead nowhere, such as to a disk that is not mounted; none if all do."""
    lost = [path for path in files_below(root) if path.is_symlink() and not path.exists()]
    if not lost:
        return ()
    return (f"{len(lost)} links below {root} lead nowhere, the first is {lost[0].relative_to(root).as_posix()}",)


def in_range(value: float, low: float, high: float, where: str, code: str = "leave what is not coded empty") -> float:
    """The value itself, where it is unknown (NaN) or within the scale.

    Args:
        where: file, line and column, for the error.
        code: what to write for an unknown label.

    Raises:
        UsageError: it is outside the scale, so it is no label.
    """
    if not (np.isnan(value) or low <= value <= high):
        raise UsageError(f"{where} = {value:.10g} is outside the scale {low:g} to {high:g}; {code}")
    return value


def numbered(paths: Sequence[Path]) -> dict[int, Path]:
    """Files by the number in their names: the last one that is different in each (`face_0012_0.png` is 12).

    Raises:
        UsageError: there is none: a name is without a number, or two files have the same.
    """
    digits = [[int(word) for word in re.findall(r"\d+", path.stem)] for path in paths]
    for place in range(1, min((len(words) for words in digits), default=0) + 1):
        found = {words[-place]: path for words, path in zip(digits, paths, strict=True)}
        if len(found) == len(paths):
            return found
    bare = next((path for path, words in zip(paths, digits, strict=True) if not words), None)
    if bare is not None:
        raise UsageError(f"{bare}: there is no frame number in the name")
    numbers = [words[-1] for words in digits]
    again = next(i for i, number in enumerate(numbers) if number in numbers[:i])
    raise UsageError(f"{paths[again]}: there is another file with the number {numbers[again]}; keep one of them")


def unmatched(what: str, of_clip: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """A note with how many frames have no partner, and the first of them by clip; none if there are none."""
    clips = {clip: frames for clip, frames in of_clip.items() if frames}
    if not clips:
        return ()
    shown = [
        f"{clip}: {', '.join(map(str, frames[:3]))}{', ...' * (len(frames) > 3)}" for clip, frames in clips.items()
    ]
    more = f"; and {len(shown) - 3} more clips" if len(shown) > 3 else ""
    return (f"{sum(map(len, clips.values())):,} {what} ({'; '.join(shown[:3])}{more})",)


def text_lines(path: Path) -> list[str]:
    """The lines of a text file, without a byte order mark.

    Raises:
        UsageError: it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({one_line(error)})") from None


def _stems(files: Iterable[Path], suffix: str) -> set[Path]:
    return {path.with_suffix("") for path in files if path.suffix == suffix}


UNKNOWN = frozenset({"", "nan", "na", "n/a", "null"})
"""Fields that say that nothing is known, lower case: what tables are written with."""


def table(
    path: Path, needed: Sequence[str], renamed: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers, keyed by header.

    Args:
        needed: columns that must be there.
        renamed: other names of columns to the one that is used here.

    Raises:
        UsageError: it cannot be read, a needed column is missing, one is named twice, or a row has too few fields or
            too many.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [(renamed or {}).get(name.strip(), name.strip()) for name in next(reader, [])]
            _check_header(path, header, needed)
            for row in reader:
                if not row:
                    continue
                if len(row) < len(header) or any(row[len(header) :]):
                    raise UsageError(
                        f"{path}:{reader.line_num}: {len(row)} fields, but the first line names {len(header)} (a comma "
                        "within a field needs quotes around it; decimals need a point)"
                    )
                yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=False))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no UTF-8 text; save it as CSV in UTF-8") from None
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV ({one_line(error)})") from None


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        other = next((mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]), None)
        fix = f"the first line must name {','.join(needed)}" + (f", with commas, not {other!r}" if other else "")
        raise UsageError(f"{path}:1: no column {missing[0]}; {fix}")
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise UsageError(f"{path}:1: two columns are named {twice[0]}; remove one")


def number(text: str, path: Path, line: int, column: str) -> float:
    """A field as a finite number; NaN where it is empty or one of `UNKNOWN`.

    Raises:
        UsageError: it is neither.
    """
    if text.lower() in UNKNOWN:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if value != value or value in (float("inf"), float("-inf")):
        raise UsageError(f"{path}:{line}: {column} = {one_line(text, 40)!r} is no number; leave what is unknown empty")
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
    for count, line in enumerate(text_lines(path), 1):
        if line.strip():
            yield count, line.split()
