"""Joins the pieces of videos into the files of a build: whole videos in list order, small ones sharing a file.

Row groups are copied as they are (`curate.storage.row_groups`), and hashed on the way.

A file is named by its place and by a digest of what it holds, `part-000002-5f0c91d2a7e4.parquet`, so that what is
already right is kept, what is new is written beside it, and a kill in between loses nothing: rows of a video come from
its piece or from any older file that still holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.hardware import cores
from curate.storage.files import atomic_write, digest
from curate.storage.hashes import remember
from curate.storage.parquet import completed, damage_named, metadata_of, open_parquet, with_metadata
from curate.storage.row_groups import JoinedFile, read_footer

PART_ROWS = 8192
"""A file is closed once it holds so many faces: about 120 MB of pictures."""


@dataclass(frozen=True)
class VideoRows:
    """The rows of one video.

    Attributes:
        key: digest of everything that decided them.
    """

    video_id: str
    key: str
    rows: int


@dataclass(frozen=True)
class Shard:
    """One file to be: whole videos, in order."""

    place: int
    held: tuple[VideoRows, ...]

    @property
    def name(self) -> str:
        """Name of the file; tells its place and what it holds."""
        return f"part-{self.place:06d}-{digest([[h.video_id, h.key] for h in self.held])[:12]}.parquet"


class Shards:
    """Divides videos, which come in list order, into files."""

    def __init__(self) -> None:
        self._place, self._rows = 0, 0
        self._held: list[VideoRows] = []

    def add(self, video: VideoRows) -> Shard | None:
        """Takes the next video; the file that it completes."""
        self._held.append(video)
        self._rows += video.rows
        return self.rest() if self._rows >= PART_ROWS else None

    def rest(self) -> Shard | None:
        """The file that is not full, if any video is in it."""
        if not self._held:
            return None
        shard = Shard(self._place, tuple(self._held))
        self._place, self._rows, self._held = self._place + 1, 0, []
        return shard


def plan(videos: Iterable[VideoRows]) -> list[Shard]:
    """Divides videos, in list order, into files; a longer list leaves all but the last file as they were."""
    shards = Shards()
    parts = [shards.add(video) for video in videos]
    return [part for part in (*parts, shards.rest()) if part is not None]


@dataclass(frozen=True)
class RowGroups:
    """Where one video's rows lie: whole row groups of a file."""

    path: Path
    groups: range


def index_rows(folder: Path) -> dict[tuple[str, str], RowGroups]:
    """(video_id, key) -> where its rows lie in the files of `folder`."""
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        layout = open_parquet(path).metadata
        group = 0
        for video_id, key, rows in metadata_of(path).get("videos", []):
            first = group
            while rows > 0:
                rows -= layout.row_group(group).num_rows
                group += 1
            found[(video_id, key)] = RowGroups(path, range(first, group))
    return found


def pack(
    out: Path,
    kind: str,
    parts: list[Shard],
    schema: pa.Schema,
    piece: Callable[[VideoRows], Path],
    advance: Callable[[int], None],
) -> list[str]:
    """Makes a folder of a build hold exactly `parts`.

    Args:
        out: folder of the build; `kind`: of the files, below it.
        piece: where a video's piece lies, if it still has one; packed pieces are removed.
        advance: called with the number of rows of each file that is done.

    Returns:
        Names of the files that were written.
    """
    folder = out / kind
    older = index_rows(folder)

    def work(part: Shard) -> str | None:
        path = folder / part.name
        return None if path.is_file() else write_part(path, part, schema, piece, older)

    written = {}
    with ThreadPoolExecutor(cores()) as pool:  # what takes time is done without Python's lock
        for part, fresh in zip(parts, pool.map(work, parts), strict=True):
            if fresh:
                written[part.name] = fresh
            for held in part.held:
                piece(held).unlink(missing_ok=True)
            advance(sum(held.rows for held in part.held))
    wanted = {part.name for part in parts}
    for path in folder.glob("*.parquet"):
        if path.name not in wanted:
            path.unlink()
    remember(out, {f"{kind}/{name}": sha256 for name, sha256 in written.items()})
    return list(written)


def write_part(
    path: Path,
    part: Shard,
    schema: pa.Schema,
    piece: Callable[[VideoRows], Path],
    older: dict[tuple[str, str], RowGroups],
) -> str:
    """Writes one file, whole or not at all, over whatever is there; returns its sha256."""
    about = {"videos": [[h.video_id, h.key, h.rows] for h in part.held]}
    with atomic_write(path) as temporary, JoinedFile(temporary, with_metadata(schema, about)) as joined:
        for held in part.held:
            _append(joined, held, piece(held), older, schema)
    return joined.sha256


@dataclass(frozen=True)
class Packing:
    """One file, with all that another process needs to know to write it.

    Attributes:
        path: where it is written, over whatever is there.
        pieces: of each video of the shard: where its piece lies, if it still has one.
        older: where rows lie that have no piece.
    """

    path: Path
    shard: Shard
    schema: pa.Schema
    pieces: tuple[Path, ...]
    older: dict[tuple[str, str], RowGroups]

    @property
    def whole(self) -> bool:
        """Whether the rows of all its videos are there."""
        rows = zip(self.shard.held, self.pieces, strict=True)
        return all((held.video_id, held.key) in self.older or piece.is_file() for held, piece in rows)

    def write(self) -> str | None:
        """Writes it, whole or not at all; returns its sha256, None where rows of a video are not there."""
        if not self.whole:
            return None
        pieces = dict(zip(self.shard.held, self.pieces, strict=True))
        return write_part(self.path, self.shard, self.schema, pieces.__getitem__, self.older)


def row_groups(place: RowGroups, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """One video's rows, a few dozen at a time, in the groups in which they were first written."""
    file = open_parquet(place.path)
    for group in place.groups:
        yield file.read_row_group(group, columns=columns)


def _append(
    joined: JoinedFile,
    held: VideoRows,
    piece: Path,
    older: dict[tuple[str, str], RowGroups],
    schema: pa.Schema,
) -> None:
    """Appends a video's rows to a file, from its piece or from an older file."""
    there = piece.is_file()
    path = piece if there else older[(held.video_id, held.key)].path
    with damage_named(path), path.open("rb") as file:
        footer = read_footer(file)
        groups = range(len(footer.groups)) if there else older[(held.video_id, held.key)].groups
        if joined.fits(footer):
            joined.copy(file, footer.groups[groups.start : groups.stop])
            return
    for table in row_groups(RowGroups(path, groups)):
        joined.write(completed(table, schema))
