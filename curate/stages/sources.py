"""The user's list, read into `Source` records: the first stage, and the one where a user's mistakes are reported.

A list is a text file (one source a line), a CSV or Parquet table with a column `source`, a folder, one video, or one
URL. Whatever it is, each entry becomes one `Source`, in order; nothing is opened yet, so a file that is missing becomes
a failed row of the build later, not an error here.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa

from curate import locations, progress
from curate.errors import UsageError, one_line
from curate.records import Source
from curate.stages import lists, ranges
from curate.stages.folders import VIDEO_SUFFIXES, videos_below
from curate.stages.ranges import Range
from curate.storage.schemas import VIDEOS

LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv", ".tsv", ".parquet")
"""A URL whose path ends so is a list; any other is a source by itself."""

FETCHED_COLUMNS = frozenset({"title", "uploader", "license", "webpage_url"})
"""Columns of `videos.parquet` that a list may fill where fetching does not."""

OWN_COLUMNS = frozenset(VIDEOS.names) - FETCHED_COLUMNS - {"source"}
"""Columns that only the build may fill; a list's column of that name is carried as `source_<name>`."""

START, END = "start", "end"
"""Columns of a list that choose a range of each source."""
_LIKE_RANGES = frozenset({"start_time", "end_time", "start_sec", "end_sec", "start_s", "end_s", "begin", "stop"})
"""What others call such columns; they are carried along, and a note says that they choose nothing."""

_OTHER_SCHEME = re.compile(
    r"(?:(?:java|vb)script:|data:[\w/+.-]*[;,]|mailto:\S+@|about:\w+$|blob:\w+://|tel:[+\d]|magnet:\?)", re.IGNORECASE
)
_ALMOST_WEB = re.compile(r"https?(?::/?[^/]|/|;//)", re.IGNORECASE)
"""`http:/host`, `https:host`, `https//host`: a URL that lost a character."""
_HOST_FIRST = re.compile(
    r"(?://)?((?:www\.[^/\s]+|(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|int|info|biz|io|tv|be|me|ai|app|live|video|"
    r"de|uk|fr|jp|cn|kr|ru|br|in|it|es|nl|pl|se|ch|at|au|ca|eu|us|nz|cz|dk|no|fi|pt|gr|ie|tr|ua|mx|ar))(?::\d+)?/\S.*)$",
    re.IGNORECASE,
)
"""What a browser's address bar shows: a host and a path, without `https://`."""
_LONGEST_SOURCE = 65_536


@dataclass(frozen=True)
class SourceList:
    """A list, read.

    Attributes:
        sources: in the order of the list.
        columns: the list's own columns, in its types, one row a source. A column that `videos.parquet` fills itself
            (`OWN_COLUMNS`) is called `source_<name>` here.
        notes: what was left out or guessed, one line each.
    """

    sources: list[Source]
    columns: pa.Table
    notes: list[str]

    def table(self) -> pa.Table:
        """What the list says of each source: `source` as written, without passwords, and the list's own columns."""
        named = pa.array([source.source for source in self.sources], pa.string())
        return self.columns.append_column("source", named)


def read_sources(spec: str, say: Callable[[str], object] = progress.say) -> list[Source]:
    """The sources of a list; what was left out or guessed goes to `say`. See `read_list`."""
    listed = read_list(spec)
    for note in listed.notes:
        say(note)
    return listed.sources


def read_list(spec: str) -> SourceList:
    """Reads the argument of `--source`.

    * A text list has one source a line; blank lines and lines that begin with `#` are skipped. UTF-8, with or without
      a byte order mark, any line ends.
    * A CSV or Parquet table has a column `source`. Of its other columns `title`, `uploader`, `license` and
      `webpage_url` fill what fetching does not find out, and `start` and `end` choose a range of the source.
    * A folder gives its video files, those of its sub-folders too, sorted; a source is the path relative to the folder.

    Relative paths are relative to the list, and a leading `~` is the home folder. A fragment `#t=START,END` chooses a
    range, too. A source that is listed again is a further entry with an id of its own.

    Raises:
        UsageError: there is no such list, nothing is in it, or an entry cannot be a source.
    """
    if not locations.is_local(spec):
        return _read_url(spec)
    path = Path(on_disk(locations.local_path(spec)))
    suffix = path.suffix.lower()
    try:
        path = path.expanduser()
        if not path.exists() and (_HOST_FIRST.match(spec) or ranges.split(spec)[0] != spec):
            return _one(spec, Path.cwd())
        if path.is_dir():
            return _read_folder(path)
        if suffix in VIDEO_SUFFIXES:
            path.stat()
            return _one(str(path), Path.cwd())
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{one_line(spec)}: there is no such list, folder or video; check --source") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{one_line(spec)}: cannot be read ({one_line(error, 80)}); check --source") from None
    return _of_rows(lists.read(data, suffix, one_line(spec)), path.absolute().parent)


def video_id(source: str, part: Range | None = None, repeat: int = 1) -> str:
    """Names a source: the end of its path, made plain, and 16 hex digits of its SHA-256.

    Depends on nothing but the source as written (without its passwords), the range of it, and how many times the two
    stood in the list before; no other source has the same text to hash. Safe as a file name: [a-z0-9_-] only, at most
    41 characters, beginning with a letter or a digit.

    Args:
        part: the range of the video that is meant; None for all of it.
        repeat: 1 for the first time that this stands in the list, 2 for the second.
    """
    source = locations.without_credentials(source)
    more = ([str(part)] if part and str(part) else []) + ([f"#{repeat}"] if repeat > 1 else [])
    text = "\0".join([source, *more])  # no source holds this character
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    last = re.split(r"[/\\]", source.split("?")[0].rstrip("/\\"))[-1]
    stem = last.rsplit(".", 1)[0] or last
    plain = unicodedata.normalize("NFKD", unquote(stem)[:200]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", plain)[:24].strip("-_")
    return f"{slug or 'video'}-{hashed}"


def on_disk(path: str) -> str:
    """`path` as the disk spells it: accented letters may be one character there, or a letter and its accent."""
    if path.isascii() or os.path.lexists(path):
        return path
    found = ""
    for part in Path(path).parts:
        spelled = (os.path.join(found, form) for form in (part, *_normal_forms(part)))  # noqa: PTH118 - any text
        there = next((place for place in spelled if os.path.lexists(place)), None)
        if there is None:
            return path
        found = there
    return found


def _normal_forms(name: str) -> Iterator[str]:
    yield unicodedata.normalize("NFC", name)
    yield unicodedata.normalize("NFD", name)


def _read_url(spec: str) -> SourceList:
    """A URL is a list if its path ends like one, else a source by itself."""
    suffix = locations.suffix(spec)
    shown = one_line(locations.without_credentials(spec))
    if suffix not in LIST_SUFFIXES:
        return _one(spec, Path.cwd())
    try:
        with fsspec.open(spec, "rb") as file:
            data = file.read()
    except Exception as error:  # every filesystem of fsspec has errors of its own
        why = one_line(locations.without_credentials(str(error)), 120)
        raise UsageError(f"{shown}: the list cannot be read ({why})") from None
    return _of_rows(lists.read(data, suffix, shown), locations.parent(spec))


def _read_folder(folder: Path) -> SourceList:
    files, notes = videos_below(folder)
    named = [f"{one_line(folder)}: {note}" for note in notes]
    if not files:
        raise UsageError(
            "; ".join([f"{one_line(folder)}: no video in this folder", *notes])
            + "; give a folder with videos, or a list of sources"
        )
    # A name that is no UTF-8 could not be written to Parquet; it is escaped there, and still found on disk.
    names = [os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace") for path in files]
    base = folder.resolve()
    ids = _Ids()
    sources = [Source(ids.next(name, Range()), name, str(base / path)) for name, path in zip(names, files, strict=True)]
    return SourceList(sources, lists.no_columns(len(sources)), named)


def _one(source: str, base: Path) -> SourceList:
    """One video or URL, as if it stood alone in a list."""
    return _of_rows(lists.Rows([source], [1], lists.no_columns(1), "--source", ""), base)


def _of_rows(rows: lists.Rows, base: Path | str) -> SourceList:
    """Checks entries, numbers repeats, chooses ranges and resolves locations."""
    guesses = _Guesses(rows)
    parts = _ranges(rows)
    ids = _Ids()
    sources = []
    for index, written in enumerate(rows.entries):
        entry = guesses.readable(index, written, base)
        _check(entry, rows.where(index))
        plain, part = _without_range(entry, parts[index], rows.where(index), base)
        location = locations.resolve(plain, base)
        if locations.is_local(location):
            location = on_disk(location)
        shown = locations.without_credentials(entry)
        sources.append(Source(ids.next(plain, part), shown, location, part.start_s, part.end_s))
    whole = {one.location for one in sources if one.start_s is None and one.end_s is None}
    sources = [replace(one, part=one.location not in whole) for one in sources]
    return SourceList(sources, _renamed(rows), guesses.notes() + _unused(rows))


class _Ids:
    """Gives ids to sources in the order of the list."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def next(self, source: str, part: Range) -> str:
        """The id of the next source."""
        key = (locations.without_credentials(source), str(part))
        self._seen[key] += 1
        return video_id(source, part, self._seen[key])


class _Guesses:
    """Reads entries that are not quite what they should be, and remembers which."""

    def __init__(self, rows: lists.Rows) -> None:
        self._rows = rows
        self._found: dict[str, list[int]] = {}

    def readable(self, index: int, entry: str, base: Path | str) -> str:
        """An entry of the list as it is meant: a file that is there as written, else what it looks like."""
        plain = lists.visible(entry)
        if not locations.is_url(plain) and not _there(plain, base):
            plain = re.sub(r"\s", " ", plain)  # spaces that do not break lines look like others
        if plain != entry and (locations.is_url(plain) or (not _there(entry, base) and _there(plain, base))):
            self._found.setdefault("held invisible characters, and is read without them", []).append(index)
            entry = plain
        host_first = _HOST_FIRST.match(entry)
        if host_first and not locations.is_url(entry) and not _there(entry, base):
            self._found.setdefault("had no scheme, and is taken for https://", []).append(index)
            entry = f"https://{host_first[1]}"
        return entry

    def notes(self) -> list[str]:
        """One line for each kind of guess."""
        return [
            f"{self._rows.where(places[0])}: {one_line(self._rows.entries[places[0]], 60)!r} {what}"
            + (f"; so are {len(places) - 1:,} more" if len(places) > 1 else "")
            for what, places in self._found.items()
        ]


def _there(entry: str, base: Path | str) -> bool:
    """Whether a file lies where an entry says; nobody is asked for what lies elsewhere."""
    location = locations.resolve(entry, base)
    return locations.is_local(location) and os.path.lexists(on_disk(location))


def _check(entry: str, where: str) -> None:
    """Refuses what cannot be a source.

    Raises:
        UsageError: it is empty, far too long, holds control characters, or has a scheme that nothing here can read.
    """
    shown = repr(one_line(locations.without_credentials(entry), 60))
    if not entry:
        raise UsageError(f"{where}: the source is empty; give a path or a URL, or delete the row")
    if len(entry) > _LONGEST_SOURCE:
        raise UsageError(f"{where}: {len(entry)} characters are no source; write one a line")
    if any(unicodedata.category(character) == "Cc" for character in entry):
        raise UsageError(f"{where}: {shown} holds control characters; a source is a path or a URL")
    if _OTHER_SCHEME.match(entry):
        raise UsageError(f"{where}: {shown} is no source; give a path or an http(s) or fsspec URL")
    wrong = locations.problem(entry)
    if not wrong and not locations.is_url(entry) and _ALMOST_WEB.match(entry):
        wrong = "looks like a URL, and is none; write https://host/path, or ./ before the name of a file"
    if wrong:
        raise UsageError(f"{where}: {shown}: {wrong}")


def _ranges(rows: lists.Rows) -> list[Range]:
    """The range that the columns `start` and `end` choose, for each row."""
    parts = []
    for index, (start, end) in enumerate(zip(_times(rows, START), _times(rows, END), strict=True)):
        try:
            parts.append(ranges.of_cells(start, end))
        except ValueError as error:
            raise UsageError(f"{rows.where(index)}: {error}") from None
    return parts


def _times(rows: lists.Rows, name: str) -> list[Any]:
    """The cells of a column of times; Python knows no nanoseconds."""
    if name not in rows.columns.column_names:
        return [None] * len(rows.entries)
    column = rows.columns[name]
    finer = {pa.duration("ns"): pa.duration("us"), pa.time64("ns"): pa.time64("us")}
    return list(column.cast(finer.get(column.type, column.type), safe=False).to_pylist())


def _without_range(entry: str, of_cells: Range, where: str, base: Path | str) -> tuple[str, Range]:
    """A source without `#t=START,END`, and the range that it or the columns choose."""
    try:
        plain, part = ranges.split(entry)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if part == Range() or _there(entry, base):  # a file may have such a name
        return entry, of_cells
    if of_cells not in (Range(), part):
        raise UsageError(f"{where}: {part} and the columns {START} and {END} choose different ranges; keep one")
    return plain, part


def _renamed(rows: lists.Rows) -> pa.Table:
    """The list's own columns under names that do not clash with those of the build."""
    names: list[str] = []
    for column in rows.columns.column_names:
        name = column
        while name in OWN_COLUMNS or name in names or (name != column and name in rows.columns.column_names):
            name = f"source_{name}"
        names.append(name)
    return rows.columns.rename_columns(names)


def _unused(rows: lists.Rows) -> list[str]:
    """Says of columns that look like a range that they choose none."""
    alike = [name for name in rows.columns.column_names if name.lower() in _LIKE_RANGES | {START, END} - {name}]
    if not alike or {START, END} & set(rows.columns.column_names):
        return []
    return [
        f"{rows.name}: {', '.join(alike)} carried along, whole videos read; columns {START} and {END} choose ranges"
    ]
