"""The file of a list, text or table, read into entries and the list's own columns.

What people's editors, spreadsheets and browsers leave in a cell is understood: byte order marks and zero-width
characters are taken away, any of the usual delimiters is found, cells may be as long as they like. What cannot be
understood is named by its line. Columns keep the types that the list gives them.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import UsageError, one_line

SOURCE = "source"
_DELIMITERS = ",;\t|"
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that show nothing: soft hyphens, zero-width ones, marks of direction and byte order."""


@dataclass(frozen=True)
class Rows:
    """What stands in a list.

    Attributes:
        entries: the sources, one a row, with nothing invisible at their ends.
        numbers: of the line, or of the row of a Parquet table, that each stands in.
        columns: the other columns, in the types of the list; one row an entry.
        name: of the list, for messages.
        unit: what stands between name and number in messages; empty where there is but one entry.
    """

    entries: list[str]
    numbers: list[int]
    columns: pa.Table
    name: str
    unit: str = ":"

    def where(self, index: int) -> str:
        """Where an entry stands, for messages."""
        return f"{self.name}{self.unit}{self.numbers[index]}" if self.unit else self.name


def read(data: bytes, suffix: str, name: str) -> Rows:
    """Reads the bytes of a list.

    Args:
        suffix: ending of its name, which tells a table from a text.
        name: of the list, for messages.

    Raises:
        UsageError: it is no such list, or nothing is in it.
    """
    if suffix == ".parquet":
        rows = _of_parquet(data, name)
    elif suffix in (".csv", ".tsv"):
        rows = _of_csv(_text(data, name), name)
    else:
        rows = _of_text(_text(data, name), name)
    if not rows.entries:
        raise UsageError(f"{name}: no source in this list; write one a line, or a column `{SOURCE}`")
    return rows


def visible(text: str) -> str:
    """`text` without what shows nothing: spaces of any kind at its ends, and invisible characters anywhere."""
    return _INVISIBLE.sub("", text).strip()


def trimmed(text: str) -> str:
    """`text` without spaces and invisible characters at its ends."""
    end = f"(?:\\s|{_INVISIBLE.pattern})+"
    return re.sub(f"^{end}|{end}$", "", text)


def _text(data: bytes, name: str) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}:{line}: this is no text; a list holds one source a line, in UTF-8") from None


def _of_text(text: str, name: str) -> Rows:
    lines = [(number, trimmed(line)) for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1)]
    kept = [(number, line) for number, line in lines if line and not line.startswith("#")]
    entries = [line for _, line in kept]
    return Rows(entries, [number for number, _ in kept], no_columns(len(entries)), name)


def _of_csv(text: str, name: str) -> Rows:
    csv.field_size_limit(sys.maxsize)  # a transcript is a cell like any other
    table = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [visible(column) for column in next(table, [])]
        check_header(header, name)
        rows = list(_csv_rows(table, header, name))
    except csv.Error as error:
        raise UsageError(f"{name}:{table.line_num}: no valid CSV ({one_line(error)})") from None
    source = header.index(SOURCE)
    own = {
        column: pa.array([cells[place] or None for _, cells in rows], pa.string())
        for place, column in enumerate(header)
        if column and place != source
    }
    entries = [trimmed(cells[source]) for _, cells in rows]
    columns = pa.table(own) if own else no_columns(len(entries))
    return Rows(entries, [number for number, _ in rows], columns, name)


def _csv_rows(table: Iterator[list[str]], header: list[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, each with its line, as wide as the header."""
    for cells in table:
        line = table.line_num  # type: ignore[attr-defined]  # a reader of csv knows its line
        if any(map(trimmed, cells[len(header) :])):
            raise UsageError(f"{name}:{line}: more cells than the header has columns; quote cells that hold a comma")
        if any(map(trimmed, cells)):  # spreadsheets leave rows of nothing
            yield line, [*cells, *[""] * (len(header) - len(cells))]


def _delimiter(text: str) -> str:
    """The first of the usual delimiters that gives the header a column `source`; a comma where none does."""
    first = text.split("\n", 1)[0].rstrip("\r")
    for delimiter in _DELIMITERS:
        if SOURCE in [visible(cell.strip('"')) for cell in first.split(delimiter)]:
            return delimiter
    return ","


def _of_parquet(data: bytes, name: str) -> Rows:
    try:
        table = pq.read_table(pa.BufferReader(data), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{name}: no readable Parquet file ({one_line(error, 120)})") from None
    check_header(table.column_names, name)
    try:
        entries = pc.cast(table[SOURCE], pa.large_string()).to_pylist() if _is_text(table[SOURCE].type) else []
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: column {SOURCE} is no text ({one_line(error, 80)}); write it in UTF-8") from None
    if table.num_rows and not entries:
        raise UsageError(
            f"{name}: row 1: {SOURCE} is {table[SOURCE][0].as_py()!r}, not text; give a path or a URL in each row"
        )
    for number, entry in enumerate(entries, 1):
        if entry is None:
            raise UsageError(f"{name}: row {number}: {SOURCE} is None, not text; give a path or a URL, or drop the row")
    own = [column for column in table.column_names if column != SOURCE and not column.startswith("__index_level_")]
    columns = table.select(own).replace_schema_metadata(None) if own else no_columns(len(entries))
    return Rows([trimmed(entry) for entry in entries], list(range(1, len(entries) + 1)), columns, name, ": row ")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def check_header(columns: list[str], name: str) -> None:
    """Refuses names of columns without a `source`, or with one twice.

    Raises:
        UsageError: says what columns there are.
    """
    if SOURCE not in columns:
        has = one_line(", ".join(column or "(unnamed)" for column in columns), 200) or "none"
        raise UsageError(f"{name}: no column `{SOURCE}`; it has {has}")
    doubled = [column for column, count in Counter(columns).items() if count > 1 and column]
    if doubled:
        raise UsageError(f"{name}: column {one_line(doubled[0])} stands there twice; rename one")


def no_columns(rows: int) -> pa.Table:
    """A table of so many rows and no column."""
    return pa.table({"": pa.nulls(rows)}).select([])
