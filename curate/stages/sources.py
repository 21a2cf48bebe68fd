"""The user's list, read into `Source` records: the first stage, and the one where a user's mistakes are told.

A list is a text file (one source a line), a CSV or Parquet table with a column `source`, a folder, one video, or one
URL. Whatever it is, each entry becomes one `Source`, in order; nothing is opened yet, so a file that is missing becomes
a failed row of the build later, not an error here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from curate import locations
from curate.errors import UsageError, one_line
from curate.records import Scalar, Source
from curate.storage.schemas import VIDEOS

VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v",
    ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu",
    ".ogm", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""Files with these endings are videos: what a folder is searched for, and what is not taken for a text list."""

LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv", ".tsv", ".parquet")
"""A URL whose path ends so is a list; any other is a source by itself."""

FETCHED_COLUMNS = frozenset({"title", "uploader", "license", "webpage_url"})
"""Columns of `videos.parquet` that a list may fill where fetching does not."""

OWN_COLUMNS = frozenset(VIDEOS.names) - FETCHED_COLUMNS - {"source"}
"""Columns that only the build may fill; a list's column of that name is carried as `source_<name>`."""

_OTHER_SCHEME = re.compile(
    r"(?:(?:java|vb)script:|data:[\w/+.-]*[;,]|mailto:\S+@|about:\w+$|blob:\w+://|tel:[+\d]|magnet:\?)", re.IGNORECASE
)
_LONGEST_SOURCE = 65_536


def read_sources(spec: str) -> list[Source]:
    """Reads the argument of `--source`.

    * A text list has one source a line; blank lines and lines that begin with `#` are skipped. UTF-8, with or without
      a byte order mark, any line ends.
    * A CSV or Parquet table has a column `source`. Its other columns are carried along in `Source.extra`: `title`,
      `uploader`, `license` and `webpage_url` fill what fetching does not find out; a column that `videos.parquet` fills
      itself (`OWN_COLUMNS`) is carried as `source_<name>`.
    * A folder gives its video files, those of its sub-folders too, sorted; a source is the path relative to the folder.

    Relative paths are relative to the list, and a leading `~` is the home folder. A source that is listed again is a
    further entry with an id of its own.

    Raises:
        UsageError: there is no such list, nothing is in it, or an entry cannot be a source.
    """
    if not locations.is_local(spec):
        return _read_url(spec)
    path = Path(locations.local_path(spec))
    suffix = path.suffix.lower()
    try:
        path = path.expanduser()
        if path.is_dir():
            return _read_folder(path)
        if suffix in VIDEO_SUFFIXES:
            path.stat()
            return _sources([(str(path), {})], Path.cwd())
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{one_line(spec)}: there is no such list, folder or video; check --source") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{one_line(spec)}: cannot be read ({one_line(error, 80)}); check --source") from None
    return _sources(_entries(data, suffix, spec), path.absolute().parent)


def video_id(source: str, repeat: int = 1) -> str:
    """Names a source: the end of its path, made plain, and 16 hex digits of its SHA-256.

    Depends on nothing but the source as written and on how many times it stood in the list before, and is safe as a
    file name: [a-z0-9_-] only, at most 41 characters, beginning with a letter or a digit.

    Args:
        repeat: 1 for the first time that this source stands in the list, 2 for the second.
    """
    text = source if repeat == 1 else f"{source}#{repeat}"
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    last = re.split(r"[/\\]", source.split("?")[0].rstrip("/\\"))[-1]
    stem = last.rsplit(".", 1)[0] or last
    plain = unicodedata.normalize("NFKD", unquote(stem)[:200]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", plain)[:24].strip("-_")
    return f"{slug or 'video'}-{hashed}"


Row = tuple[str, dict[str, Scalar]]


def _read_url(spec: str) -> list[Source]:
    """A URL is a list if its path ends like one, else a source by itself."""
    suffix = locations.suffix(spec)
    if suffix not in LIST_SUFFIXES:
        return _sources([(spec, {})], Path.cwd())
    try:
        with fsspec.open(spec, "rb") as file:
            data = file.read()
    except Exception as error:  # every filesystem of fsspec has errors of its own
        raise UsageError(f"{one_line(spec)}: the list cannot be read ({one_line(error, 120)})") from None
    return _sources(_entries(data, suffix, spec), locations.parent(spec))


def _read_folder(folder: Path) -> list[Source]:
    files = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise UsageError(
            f"{one_line(folder)}: no video in this folder; give a folder with videos, or a list of sources"
        )
    # A name that is no UTF-8 could not be written to Parquet; it is escaped there, and still found on disk.
    names = [os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace") for path in files]
    base = folder.resolve()
    return [Source(video_id(name), name, str(base / path)) for name, path in zip(names, files, strict=True)]


def _entries(data: bytes, suffix: str, spec: str) -> Iterable[Row]:
    name = one_line(spec)
    if suffix == ".parquet":
        rows = list(_parquet_rows(data, name))
    elif suffix in (".csv", ".tsv"):
        rows = list(_csv_rows(_text(data, name), name, "\t" if suffix == ".tsv" else ","))
    else:
        rows = list(_text_rows(_text(data, name), name))
    if not rows:
        raise UsageError(f"{name}: no source in this list; write one a line, or a column `source`")
    return rows


def _text(data: bytes, name: str) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}:{line}: this is no text; a list holds one source a line, in UTF-8") from None


def _text_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield _checked(entry, f"{name}:{number}"), {}


def _csv_rows(text: str, name: str, delimiter: str) -> Iterator[Row]:
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", strict=True)
    try:
        header = [column.strip() for column in table.fieldnames or []]
        _check_header(header, name)
        table.fieldnames = header
        for row in table:
            where = f"{name}:{table.line_num}"
            if "" in row and isinstance(row[""], list):
                raise UsageError(f"{where}: more cells than the header has columns; quote cells that hold a comma")
            extra = {key: value or None for key, value in row.items() if key and key != "source"}
            yield _checked((row["source"] or "").strip(), where), _carried(extra)
    except csv.Error as error:
        raise UsageError(f"{name}:{table.line_num}: no valid CSV ({one_line(error)})") from None


def _parquet_rows(data: bytes, name: str) -> Iterator[Row]:
    try:
        table = pq.read_table(pa.BufferReader(data), partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UsageError(f"{name}: no readable Parquet file ({one_line(error, 120)})") from None
    _check_header(table.column_names, name)
    for number, row in enumerate(table.to_pylist(), 1):
        source = row.pop("source")
        if not isinstance(source, str):
            raise UsageError(f"{name}: row {number}: source is {source!r}, not text; give a path or a URL")
        yield _checked(source.strip(), f"{name}: row {number}"), _carried(row)


def _check_header(columns: list[str], name: str) -> None:
    if "source" not in columns:
        has = one_line(", ".join(column or "(unnamed)" for column in columns), 200) or "none"
        raise UsageError(f"{name}: no column `source`; it has {has}")
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    if doubled:
        raise UsageError(f"{name}: column {one_line(doubled[0])} stands there twice; rename one")


def _carried(row: dict[str, Any]) -> dict[str, Scalar]:
    """The scalar cells of a row, under names that do not clash with the build's own columns."""
    return {
        f"source_{key}" if key in OWN_COLUMNS else key: _scalar(value)
        for key, value in row.items()
        if not isinstance(value, (list, dict, bytes)) and not key.startswith("__index_level_")
    }


def _scalar(value: Any) -> Scalar:
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _checked(entry: str, where: str) -> str:
    """`entry`, if it can be a source.

    Raises:
        UsageError: it is empty, far too long, holds control characters, or has a scheme that nothing here can read.
    """
    if not entry:
        raise UsageError(f"{where}: the source is empty; give a path or a URL, or delete the row")
    if len(entry) > _LONGEST_SOURCE:
        raise UsageError(f"{where}: {len(entry)} characters are no source; write one a line")
    if any(unicodedata.category(character) == "Cc" for character in entry):
        raise UsageError(f"{where}: {one_line(entry, 60)!r} holds control characters; a source is a path or a URL")
    if _OTHER_SCHEME.match(entry):
        raise UsageError(f"{where}: {one_line(entry, 60)!r} is no source; give a path or an http(s) or fsspec URL")
    wrong = locations.problem(entry)
    if wrong:
        raise UsageError(f"{where}: {one_line(entry, 60)!r}: {wrong}")
    return entry


def _sources(rows: Iterable[Row], base: Path | str) -> list[Source]:
    """Numbers repeats and resolves locations."""
    seen: Counter[str] = Counter()
    sources = []
    for entry, extra in rows:
        seen[entry] += 1
        sources.append(Source(video_id(entry, seen[entry]), entry, locations.resolve(entry, base), extra))
    return sources
