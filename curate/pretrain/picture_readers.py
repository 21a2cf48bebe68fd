"""Pictures in files of three kinds, listed and read: pictures themselves, tar files of WebDataset, tables."""

from __future__ import annotations

import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate import locations
from curate.errors import UsageError
from curate.storage.manifest import open_file

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
AT_ONCE = 64
"""Pictures that are read together."""


@dataclass(frozen=True)
class Entry:
    """A picture.

    Attributes:
        label: None: it has none.
        file: which holds it; `number`: how many pictures are before it there.
        member: of a tar file.
    """

    name: str
    label: str | None
    file: str
    number: int = 0
    member: str = ""


class Reader(ABC):
    """How pictures of one kind are listed and read."""

    @abstractmethod
    def entries(self, files: list[str], labels: str) -> list[Entry]:
        """The pictures in some files, in their order; `labels` is the name under which labels are stored."""

    @abstractmethod
    def read(self, file: str, entries: list[Entry]) -> Iterator[bytes]:
        """The bytes of some pictures of one file, which are given in the order of the file."""


class Files(Reader):
    """Pictures that are files."""

    def __init__(self, root: str) -> None:
        self.root = root

    def entries(self, files: list[str], labels: str) -> list[Entry]:
        """The first folder below the root is the label."""
        del labels
        found = []
        for file in files:
            name = relative(file, self.root)
            parts = PurePosixPath(name).parts
            found.append(Entry(name, parts[0] if len(parts) > 1 else None, file))
        return found

    def read(self, file: str, entries: list[Entry]) -> Iterator[bytes]:
        """The file is the picture."""
        with open_file(file) as opened:
            yield from [opened.read()] * len(entries)


class Shards(Reader):
    """Tar files of WebDataset: members of one key are one sample."""

    def entries(self, files: list[str], labels: str) -> list[Entry]:
        """Labels are in members `cls` or `txt`, or under a key of `json`."""
        found = []
        for file in files:
            pictures: dict[str, str] = {}
            label_of: dict[str, str] = {}
            for member, content in _members(file, labels=True):
                key, _, suffix = member.rpartition("/")[2].partition(".")
                key = member.removesuffix("." + suffix)
                if f".{suffix.lower().rpartition('.')[2]}" in SUFFIXES:
                    pictures.setdefault(key, member)
                elif content is not None:
                    text = _label(suffix.lower(), content, labels)
                    label_of |= {} if text is None else {key: text}
            stem = PurePosixPath(file).stem
            found += [
                Entry(f"{stem}/{key}", label_of.get(key), file, number, member)
                for number, (key, member) in enumerate(pictures.items())
            ]
        return found

    def read(self, file: str, entries: list[Entry]) -> Iterator[bytes]:
        """In one pass over the tar file."""
        names = [entry.member for entry in entries]
        place = 0
        for name, content in _members(file, only=set(names)):
            if place < len(names) and name == names[place]:
                yield content or b""
                place += 1


class Tables(Reader):
    """Arrow and Parquet files with a column of pictures, as Hugging Face's `datasets` stores them."""

    def entries(self, files: list[str], labels: str) -> list[Entry]:
        """Labels are a column of that name, or `label`."""
        found = []
        for file in files:
            with open_file(file) as opened:
                schema, batches = _batches(file, opened, None)
                column = next((name for name in (labels, "label") if name in schema.names), None)
                _picture_column(file, schema)
                stem, row = PurePosixPath(file).stem, 0
                for batch in batches:
                    values = batch.column(column).to_pylist() if column else [None] * batch.num_rows
                    for value in values:
                        found.append(Entry(f"{stem}/{row}", None if value is None else str(value), file, row))
                        row += 1
        return found

    def read(self, file: str, entries: list[Entry]) -> Iterator[bytes]:
        """Batch by batch."""
        wanted = iter(entries)
        entry = next(wanted, None)
        with open_file(file) as opened:
            schema, batches = _batches(file, opened, None)
            column, begin = _picture_column(file, schema), 0
            for batch in batches:
                values = batch.column(column)
                while entry is not None and entry.number < begin + batch.num_rows:
                    value = values[entry.number - begin].as_py()
                    yield (value.get("bytes") if isinstance(value, dict) else value) or b""
                    entry = next(wanted, None)
                begin += batch.num_rows


def relative(file: str, root: str) -> str:
    """A file's name below a folder or URL."""
    base = locations.local_path(root).rstrip("/")
    return file.removeprefix(base).lstrip("/") if file.startswith(base) else PurePosixPath(file).name


def _members(file: str, only: set[str] | None = None, labels: bool = False) -> Iterator[tuple[str, bytes | None]]:
    """Names of a tar file's members; contents of those in `only` or, with `labels`, of those that may be labels."""
    with open_file(file) as opened, tarfile.open(fileobj=opened, mode="r|*") as tar:
        for member in tar:
            if not member.isfile():
                continue
            label = labels and member.name.endswith((".cls", ".txt", ".json"))
            wanted = label if only is None else member.name in only
            content = tar.extractfile(member) if wanted else None
            if only is None or wanted:
                yield member.name, content.read() if content is not None else None


def _label(suffix: str, content: bytes, name: str) -> str | None:
    """What a member that may be a label says."""
    text = content.decode("utf-8", "replace").strip()
    if suffix != "json":
        return text or None
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    found = value.get(name, value.get("label")) if isinstance(value, dict) else None
    return None if found is None else str(found)


def _batches(file: str, opened: Any, columns: list[str] | None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the record batches of an Arrow or Parquet file."""
    if locations.suffix(file) == ".parquet":
        parquet = pq.ParquetFile(opened)
        return parquet.schema_arrow, parquet.iter_batches(AT_ONCE, columns=columns)
    try:
        stream = pa.ipc.open_stream(opened)
        return stream.schema, iter(stream)
    except pa.ArrowInvalid:
        opened.seek(0)
        whole = pa.ipc.open_file(opened)
        return whole.schema, (whole.get_batch(number) for number in range(whole.num_record_batches))


def _picture_column(file: str, schema: pa.Schema) -> str:
    """The first column that holds pictures: a struct with bytes, or bytes."""
    for field in schema:
        struct = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        if struct or (field.name in ("image", "img", "jpg", "picture") and pa.types.is_binary(field.type)):
            return str(field.name)
    raise UsageError(f"{file}: no column of pictures; it has {', '.join(schema.names)}")
