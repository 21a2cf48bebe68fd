"""Row groups of Parquet files, moved as they are: their bytes are copied, and only a new footer is written.

Of what a footer says of a row group (parquet.thrift of github.com/apache/parquet-format) only offsets and its ordinal
depend on where the group stands. So a file of copied groups is, to the byte, the one that the same version of Arrow
makes of the same tables. Groups of another version, or of another schema, are read and written as tables.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from curate.heartbeat import PACK, beat
from curate.storage import thrift
from curate.storage.parquet import parquet_writer

MAGIC = b"PAR1"
BLOCK = 1 << 20
"""Bytes that are copied at once."""
TAIL = 1 << 14
"""Bytes of a file that are read first: the footer of a short video."""
VERSION, SCHEMA, ROWS, GROUPS, ABOUT, WRITER, ORDERS = range(1, 8)
"""Fields of a footer."""
ROW_GROUP: thrift.Wanted = {
    1: {2: "offset", 3: {9: "offset", 10: "offset", 11: "offset", 14: "elsewhere"}, 4: "elsewhere", 6: "elsewhere"},
    3: "rows",
    5: "start",
    6: "size",
    7: "ordinal",
}
"""Integers of a row group; field 1 are its columns, field 3 of a column its metadata."""


@dataclass(frozen=True)
class Group:
    """A row group.

    Attributes:
        said: what the footer says of it; `integers` are those in it that may change.
        start, size: of its bytes in the file.
    """

    said: bytes
    integers: list[thrift.Integer]
    start: int
    size: int
    rows: int

    @classmethod
    def of(cls, said: bytes, integers: list[thrift.Integer]) -> Group:
        """The group that a footer describes so.

        Raises:
            ValueError: its bytes do not stand together.
        """
        named = {name: value for _, _, value, name in integers}
        if not named.get("start") or not named.get("size") or named.get("elsewhere"):
            raise ValueError("a row group that does not stand together")
        return cls(said, integers, named["start"], named["size"], named["rows"])

    def moved(self, shift: int, ordinal: int) -> bytes:
        """What a footer says of it where it stands `shift` bytes further on, as number `ordinal`."""
        parts, done = [], 0
        for start, stop, value, name in self.integers:
            if name in ("offset", "start") and value:  # 0: nothing is said
                parts += [self.said[done:start], thrift.integer(value + shift)]
            elif name == "ordinal":
                parts += [self.said[done:start], thrift.integer(ordinal)]
            else:
                continue
            done = stop
        return b"".join((*parts, self.said[done:]))


@dataclass(frozen=True)
class Footer:
    """The end of a file.

    Attributes:
        data: its bytes; `places` are those of its fields, start and stop.
    """

    data: bytes
    places: dict[int, tuple[int, int]]
    groups: list[Group]

    @property
    def maker(self) -> tuple[bytes, ...]:
        """Version, schema, writer and orders of columns; that curate compresses as it does, goes without saying."""
        return tuple(self.data[slice(*self.places[field])] for field in (VERSION, SCHEMA, WRITER, ORDERS))

    def with_groups(self, rows: int, groups: list[bytes]) -> bytes:
        """It, of other row groups."""
        (rows_start, rows_stop), (start, stop) = self.places[ROWS], self.places[GROUPS]
        data = self.data
        listed = thrift.list_head(len(groups), thrift.STRUCT) + b"".join(groups)
        return data[:rows_start] + thrift.integer(rows) + data[rows_stop:start] + listed + data[stop:]


def read_footer(file: BinaryIO) -> Footer:
    """The footer of an opened file.

    Raises:
        ValueError: it is cut off or damaged, or its row groups do not stand together.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL))
    tail = file.read()
    length = int.from_bytes(tail[-8:-4], "little")
    if tail[-4:] != MAGIC or length + 8 > size:
        raise ValueError("no Parquet footer")
    if length + 8 > len(tail):
        file.seek(size - length - 8)
        tail = file.read()
    try:
        return _footer(tail[-8 - length : -8])
    except (IndexError, KeyError):
        raise ValueError("a damaged Parquet footer") from None


def _footer(data: bytes) -> Footer:
    places: dict[int, tuple[int, int]] = {}
    groups: list[Group] = []
    number = at = 0
    while data[at]:
        number, kind, start = thrift.field(data, at, number)
        if number == GROUPS:
            groups, at = _groups(data, start)
        else:
            at = thrift.skip(data, start, kind)
        places[number] = start, at
    footer = Footer(data, places, groups)
    _ = footer.maker
    return footer


def _groups(data: bytes, at: int) -> tuple[list[Group], int]:
    """The row groups in a footer, and where they stop."""
    count, _, at = thrift.elements(data, at)
    found = []
    for _ in range(count):
        integers: list[thrift.Integer] = []
        stop = thrift.integers(data, at, ROW_GROUP, integers)
        found.append(Group.of(data[at:stop], [(a - at, b - at, value, name) for a, b, value, name in integers]))
        at = stop
    return found, at


class JoinedFile:
    """A Parquet file that is made of row groups of others, and of tables.

    Args:
        path: of the file.
        schema: of all.

    Attributes:
        sha256: hex digest of its bytes, once it is closed.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema, self._frame = schema, _empty(schema)
        self._groups: list[bytes] = []
        self._rows = self._size = 0
        self._hash = hashlib.sha256()
        self.sha256 = ""
        self._file = path.open("wb")
        self._put(MAGIC)

    def __enter__(self) -> JoinedFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                footer = self._frame.with_groups(self._rows, self._groups)
                self._put(footer + len(footer).to_bytes(4, "little") + MAGIC)
                self.sha256 = self._hash.hexdigest()

    def fits(self, footer: Footer) -> bool:
        """Whether row groups are those that would be written here."""
        return footer.maker == self._frame.maker

    def copy(self, file: BinaryIO, groups: list[Group]) -> None:
        """Copies row groups that fit, of an opened file."""
        for group in groups:
            self._groups.append(group.moved(self._size - group.start, len(self._groups)))
            self._rows += group.rows
            file.seek(group.start)
            left = group.size
            while left:
                data = file.read(min(left, BLOCK))
                if not data:
                    raise ValueError("a row group that is cut off")
                self._put(data)
                left -= len(data)
                beat(PACK, bytes=len(data))

    def write(self, table: pa.Table) -> None:
        """Writes a table as a row group."""
        file = BytesIO()
        with parquet_writer(file, self._schema) as writer:
            writer.write_table(table)
        self.copy(file, read_footer(file).groups)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


def _empty(schema: pa.Schema) -> Footer:
    """The footer of a file without row groups."""
    file = BytesIO()
    parquet_writer(file, schema).close()
    return read_footer(file)
