"""A finished build, read lazily: `curate.open_build("BUILD")`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import locations
from curate.errors import UsageError
from curate.storage.documents import mapping, read_json
from curate.storage.info import BuildInfo
from curate.storage.parquet import damage_named, open_parquet, read_rows, read_table, read_tables
from curate.storage.remote import remote_build
from curate.storage.vectors import read_vectors

KEPT = frozenset({"face_id", "video_id", "track", "time_s", "quality"})
"""Columns of faces that stay in memory once they were read, some 60 bytes a face: step after step wants them."""
PICTURES = ("image", "scene")
"""Columns of faces that hold pixels."""
WRITTEN_AGAIN = "delete it and run the same curate build again, which writes it"


@dataclass(frozen=True)
class Build:
    """One build on disk.

    Attributes:
        path: its folder.
    """

    path: Path

    @cached_property
    def info(self) -> BuildInfo:
        """`build.json`: recipe, versions, models, counts, content hash.

        Raises:
            UsageError: it is missing or damaged.
        """
        return read_json(self.path / "build.json", BuildInfo.from_dict, WRITTEN_AGAIN)

    @property
    def videos(self) -> pa.Table:
        """`videos.parquet`, one row a source, in the order of the list."""
        return read_table(self.path / "videos.parquet")

    def face_files(self) -> list[Path]:
        """The files of `faces/`, in build order."""
        return sorted((self.path / "faces").glob("*.parquet"))

    def faces(self, columns: list[str] | None = None) -> pa.Table:
        """Faces in build order; without `columns` all but the pictures (`image` and `scene`).

        Ask for `image` by name, or go through `pictures` or `batches`, to see pictures: they are by far the most of a
        build.
        """
        names, files = columns or self.face_columns(pictures=False), self.face_files()
        state = tuple(_state(files))
        if state not in self._columns:
            self._columns.clear()
        known = self._columns.setdefault(state, {})
        found = {name: known[name] for name in names if name in known}
        if unread := [name for name in names if name not in found]:
            table = read_tables(files, unread)
            found |= {name: (table.schema.field(name), table[name]) for name in unread}
        known |= {name: found[name] for name in KEPT.intersection(unread)}
        return pa.table([found[name][1] for name in names], schema=pa.schema([found[name][0] for name in names]))

    @cached_property
    def _columns(self) -> dict[tuple[Any, ...], dict[str, tuple[pa.Field, pa.ChunkedArray]]]:
        """Files of faces as they were -> the columns of `KEPT` that were read."""
        return {}

    def face_columns(self, pictures: bool = True) -> list[str]:
        """Names of the columns of `faces/*.parquet`."""
        names = list(open_parquet(self.face_files()[0]).schema_arrow.names)
        return names if pictures else [name for name in names if name not in PICTURES]

    def batches(self, columns: list[str], rows: int = 1024) -> Iterator[pa.RecordBatch]:
        """Faces in build order, at most `rows` at a time, so that pictures need not fit into memory."""
        for path in self.face_files():
            with damage_named(path):
                yield from open_parquet(path).iter_batches(batch_size=rows, columns=columns)

    def pictures(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """The stored pictures of some faces, in order; of the files only the row groups that hold them are read.

        Args:
            rows: int64, rows of the faces in the build, ascending.
        """
        for table in _rows_of(self.face_files(), rows, "image"):
            yield from (image["bytes"] for image in table["image"].to_pylist())

    @property
    def spaces(self) -> list[str]:
        """Names of the embedding spaces that are there."""
        folder = self.path / "embeddings"
        return sorted(f.name for f in folder.iterdir() if f.is_dir()) if folder.is_dir() else []

    def embeddings(self, space: str = "appearance") -> pa.Table:
        """`face_id`, `vector` (float16, unit length) of a space, in build order.

        Raises:
            UsageError: the build has no such space.
        """
        return self._table(f"embeddings/{self._known(space)}", None)

    def vectors(self, space: str = "appearance") -> NDArray[np.float16]:
        """float16 [faces, D], unit rows, in build order; read once, read-only, many are a memory map.

        Raises:
            UsageError: the build has no such space.
        """
        files = sorted((self.path / "embeddings" / self._known(space)).glob("*.parquet"))
        state = _state(files)
        held = self._held.get(space)
        if held is None or held[0] != state:
            held = self._held[space] = state, read_vectors(files, self.path / "work")
        return held[1]

    def vectors_of(self, rows: NDArray[np.int64], space: str = "appearance") -> NDArray[np.float16]:
        """float16 [n, D], unit rows: those of some faces; of the files only the row groups that hold them are read.

        Args:
            rows: int64, rows of the faces in the build, ascending, at least one.
        """
        files = sorted((self.path / "embeddings" / self._known(space)).glob("*.parquet"))
        tables = list(_rows_of(files, rows, "vector"))
        width = tables[0].schema.field("vector").type.list_size
        return np.concatenate([np.asarray(t["vector"].combine_chunks().flatten()) for t in tables]).reshape(-1, width)

    @cached_property
    def _held(self) -> dict[str, tuple[list[tuple[Path, int, int]], NDArray[np.float16]]]:
        """Space -> its files as they were, and its vectors, once they were asked for."""
        return {}

    def clusters(self, space: str = "appearance") -> pa.Table:
        """`face_id`, `cluster`, `representative`, `similarity`, in build order.

        Raises:
            UsageError: the build has no such space, or the space has no clusters.
        """
        path = self.path / "clusters" / f"{self._known(space)}.parquet"
        if not path.is_file():
            raise UsageError(f"{path}: the space {space} has no clusters here; run curate build again")
        return read_table(path)

    def manifest(self, name: str) -> pa.Table:
        """One manifest by its name in `manifests/index.json`.

        Raises:
            UsageError: there is none of that name.
        """
        path = self.path / "manifests" / f"{Path(name).name.removesuffix('.parquet')}.parquet"
        if not path.is_file():
            there = ", ".join(sorted(f.stem for f in path.parent.glob("*.parquet"))) or "none"
            raise UsageError(f"{name}: no such manifest; there are: {there}")
        return read_table(path)

    @property
    def manifests(self) -> list[dict[str, Any]]:
        """The entries of `manifests/index.json`."""
        return read_json(self.path / "manifests" / "index.json", lambda value: list(value["manifests"]), WRITTEN_AGAIN)

    def redundancy(self, space: str = "appearance") -> dict[str, Any]:
        """`redundancy.json`, or its like of the space of a trained backbone (see `curate.dedupe.curve.measure`).

        Raises:
            UsageError: it is not there, or damaged.
        """
        return read_json(self.path / redundancy_file(space), mapping, WRITTEN_AGAIN)

    def _known(self, space: str) -> str:
        if space not in self.spaces:
            raise UsageError(f"{space}: no such space in {self.path}; there are: {', '.join(self.spaces) or 'none'}")
        return space

    def _table(self, folder: str, columns: list[str] | None) -> pa.Table:
        files = sorted((self.path / folder).glob("*.parquet"))
        return read_tables(files, columns)


def _rows_of(files: list[Path], rows: NDArray[np.int64], column: str) -> Iterator[pa.Table]:
    """One column of some rows, ascending, of files that follow each other."""
    first = 0
    for path in files:
        last = first + open_parquet(path).metadata.num_rows
        here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
        if len(here):
            yield from read_rows(path, here - first, [column])
        first = last


def _state(files: list[Path]) -> list[tuple[Path, int, int]]:
    """By which it is seen that files were written again."""
    return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def redundancy_file(space: str) -> str:
    """Name of the file that holds the redundancy curve of a space."""
    return "redundancy.json" if space == "appearance" else f"redundancy-{space}.json"


def build_of(manifest: str, metadata: dict[str, Any]) -> str:
    """Folder or URL of the build that a manifest was cut from.

    Args:
        manifest: path or URL of the manifest.
        metadata: its metadata; they say where the build lies, relative to the manifest's folder. Else it is the folder
            above `manifests/`.
    """
    folder = locations.parent(manifest)
    stated = metadata.get("build_path")
    if isinstance(stated, str):
        return locations.join(folder, stated)
    above = posixpath.basename(folder) in (".", "..")
    return locations.join(folder, "..") if above else locations.parent(folder)


def open_build(path: str | Path) -> Build:
    """Opens a finished build.

    Args:
        path: its folder, or its URL (see `curate.storage.remote`).

    Raises:
        UsageError: the folder is missing, is no build, or its build was never finished.
    """
    if locations.is_local(str(path)):
        folder = Path(locations.local_path(str(path)))
    else:
        remote = remote_build(str(path))
        remote.refresh()
        folder = remote.path
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; make a build with curate build --out {folder}")
    if not (folder / "build.json").is_file():
        unfinished = (folder / "work").is_dir()
        fix = "run the same curate build again to finish it" if unfinished else "name a folder that curate build wrote"
        raise UsageError(f"{folder}: not a finished build (no build.json); {fix}")
    build = Build(folder)
    _ = build.info
    return build
