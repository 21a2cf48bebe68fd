"""What pre-training needs to know of a manifest: which faces, where their pictures lie, and what they are called.

Manifest, build and faces may be local or anywhere that fsspec reaches.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import locations
from curate.errors import UnavailableError, UsageError
from curate.storage.build import build_of
from curate.storage.parquet import METADATA

COLUMNS = ("face_id", "video_id", "cluster", "file", "row")


@dataclass(frozen=True)
class Manifest:
    """A manifest, read as far as training needs it: 16 bytes a face.

    Attributes:
        path: as the user gave it.
        sha256: of the file.
        build: folder or URL of the build that `files` are relative to.
        build_hash: content hash of that build, if the manifest says.
        files: distinct face files, in order of first use.
        file: int32 [n], index into `files`.
        row: int64 [n], row in that file.
    """

    path: str
    sha256: str
    build: str
    build_hash: str | None
    files: tuple[str, ...]
    file: NDArray[np.int32]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the manifest, read when asked for.

        Raises:
            UsageError: there is no such column.
        """
        with open_file(self.path) as file:
            parquet = pq.ParquetFile(file)
            if name not in parquet.schema_arrow.names:
                raise UsageError(f"{self.path}: no column {name}; it has {', '.join(parquet.schema_arrow.names)}")
            return parquet.read([name]).column(name)

    def face_ids(self, positions: NDArray[np.int64]) -> list[str]:
        """Names of the faces at some positions."""
        return [str(name) for name in self.column("face_id").take(pa.array(positions)).to_pylist()]


def read(path: str) -> Manifest:
    """Reads a manifest.

    Raises:
        UsageError: it is missing, no manifest, or empty.
    """
    try:
        with open_file(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            schema = pq.read_schema(file)
            missing = [name for name in COLUMNS if name not in schema.names]
            if missing:
                raise UsageError(f"{path}: no manifest (no column {missing[0]}); curate manifest writes one")
            file.seek(0)
            table = pq.ParquetFile(file, read_dictionary=["file"]).read(["file", "row"])
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such manifest; curate manifest writes one") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{path}: cannot be read as a manifest ({str(error).splitlines()[0]})") from None
    if not table.num_rows:
        raise UsageError(f"{path}: the manifest has no faces; curate manifest cuts another")
    metadata = _metadata(path, schema)
    column = table.column("file")
    files = column.cast(pa.string()).combine_chunks().dictionary_encode()
    return Manifest(
        path=path,
        sha256=sha256,
        build=build_of(path, metadata),
        build_hash=metadata.get("build"),
        files=tuple(files.dictionary.to_pylist()),
        file=files.indices.to_numpy().astype(np.int32),
        row=table.column("row").to_numpy().astype(np.int64),
    )


def labels(manifest: Manifest, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """What each face of a manifest is labelled.

    Args:
        manifest: whose faces.
        name: a column of the manifest, `identity` for the build's identity clusters, or a column of the face files.

    Returns:
        int64 [n], indices into the sorted distinct labels, -1 where a face has none; and these labels as text.

    Raises:
        UsageError: nothing of that name is there.
    """
    if name == "identity":
        column = _identities(manifest)
    else:
        with open_file(manifest.path) as file:
            known = pq.ParquetFile(file).schema_arrow.names
        column = manifest.column(name) if name in known else _face_column(manifest, name)
    values = pc.cast(column, pa.string())
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    names = sorted(text for text in pc.unique(values).to_pylist() if text is not None)
    index = pc.index_in(values, pa.array(names, pa.string()))
    return pc.fill_null(index, -1).to_numpy(zero_copy_only=False).astype(np.int64), names


def open_file(path: str) -> BufferedReader:
    """A local path or fsspec URL, opened for reading.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read.
        UnavailableError: nothing installed here can reach it.
    """
    if locations.is_local(path):
        return Path(locations.local_path(path)).open("rb")
    try:
        file: BufferedReader = fsspec.open(path, "rb").open()
    except (ImportError, ValueError) as error:  # a protocol that fsspec does not know, or whose package is missing
        raise UnavailableError(f"{path}: cannot be reached ({error})") from None
    return file


def _metadata(path: str, schema: pa.Schema) -> dict[str, Any]:
    try:
        return dict(json.loads((schema.metadata or {}).get(METADATA, b"{}")))
    except ValueError:
        raise UsageError(f"{path}: its metadata are no JSON; cut the manifest again with curate manifest") from None


def _identities(manifest: Manifest) -> pa.Array:
    path = locations.join(manifest.build, "clusters/identity.parquet")
    try:
        with open_file(path) as file:
            table = pq.ParquetFile(file).read(["face_id", "cluster"])
    except FileNotFoundError:
        raise UsageError(
            f"{path}: the build has no identity clusters; use --set data.labels=COLUMN, for example video_id"
        ) from None
    place = pc.index_in(manifest.column("face_id"), table.column("face_id").combine_chunks())
    return table.column("cluster").take(place)


def _face_column(manifest: Manifest, name: str) -> pa.Array:
    """A column of the face files at the manifest's rows."""
    pieces, places = [], []
    for index, relative in enumerate(manifest.files):
        path = locations.join(manifest.build, relative)
        here = np.flatnonzero(manifest.file == index)
        try:
            with open_file(path) as file:
                parquet = pq.ParquetFile(file)
                if name not in parquet.schema_arrow.names:
                    raise UsageError(
                        f"data.labels = {name}: no such column in {manifest.path} or {path}; "
                        "use one of theirs, or identity"
                    )
                pieces.append(parquet.read([name]).column(name).take(pa.array(manifest.row[here])))
        except FileNotFoundError:
            raise UsageError(f"{path}: this file of the build, named by {manifest.path}, is missing") from None
        places.append(here)
    merged = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks])
    return merged.take(pa.array(np.argsort(np.concatenate(places), kind="stable")))
