"""The one reader of a manifest: which faces, where their pictures lie, and what the manifest says of itself.

Manifest, build and faces may be local or anywhere that fsspec reaches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import locations
from curate.errors import UnavailableError, UsageError, one_line
from curate.storage.build import build_of
from curate.storage.parquet import METADATA

Redundancy = float | Literal["natural"]
"""What was asked for: a share in [0, 1), or a plain random sample, whatever its redundancy turns out to be."""

COLUMNS = ("face_id", "video_id", "cluster", "file", "row")


@dataclass(frozen=True)
class ManifestMetadata:
    """What a manifest says of itself, in its schema under the key `curate`.

    Attributes:
        size, unique: faces, and clusters that they fall into.
        redundancy: `1 - unique / size`.
        redundancy_target: what was asked for; None where redundancy decided nothing.
        space, threshold: embedding space, and cosine of the cover.
        build: content hash of the build.
        order: which clusters came first; balance: columns over whose bins they are spread, None: none.
        build_path: where the build lies, relative to the manifest's folder; None: the manifest lies inside.
        where, max_per_identity, identities_not_in, fps: the filters (`curate.manifests.filters`); None: not used.
        rule: how a study chose the faces, or `shared` (`curate build --from-manifest`); None: by size.
        decontamination: what the build was compared with (`curate.manifests.decontaminated`), and `left_out`, the faces
            that match; None: it never was.
    """

    size: int
    unique: int
    redundancy: float
    redundancy_target: Redundancy | None
    space: str
    threshold: float
    seed: int
    build: str
    order: str = "largest"
    balance: str | None = None
    build_path: str | None = None
    where: str | None = None
    max_per_identity: int | None = None
    identities_not_in: str | None = None
    fps: float | None = None
    rule: str | None = None
    decontamination: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ManifestMetadata:
        """Reads the JSON object; keys that this version does not know are passed over.

        Raises:
            ValueError: keys that every manifest has are missing; it names them.
        """
        if lacking := missing_keys(values):
            raise ValueError(f"says nothing of {', '.join(lacking)}")
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; what was not used is not in it."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in every.items() if value is not None or name == "redundancy_target"}


ALWAYS = tuple(field.name for field in fields(ManifestMetadata))[:8]
"""Keys of the metadata that every manifest has."""


def missing_keys(values: Mapping[str, Any]) -> list[str]:
    """What the metadata of a file lack to be those of a manifest."""
    return sorted(set(ALWAYS) - values.keys())


@dataclass(frozen=True)
class Manifest:
    """A manifest, read as far as training needs it: 16 bytes a face.

    Attributes:
        path: as the user gave it.
        sha256: of the file.
        metadata: what it says of itself; None where it was not cut by curate.
        build: folder or URL of the build that `files` are relative to.
        build_hash: content hash of that build, if the manifest says.
        files: distinct face files, in order of first use.
        file: int32 [n], index into `files`.
        row: int64 [n], row in that file.
    """

    path: str
    sha256: str
    metadata: ManifestMetadata | None
    build: str
    build_hash: str | None
    files: tuple[str, ...]
    file: NDArray[np.int32]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def column_names(self) -> list[str]:
        """Names of the manifest's columns."""
        with _reading(self.path) as file:
            return list(pq.read_schema(file).names)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the manifest, read when asked for.

        Raises:
            UsageError: there is no such column.
        """
        with _reading(self.path) as file:
            parquet = pq.ParquetFile(file)
            if name not in parquet.schema_arrow.names:
                raise UsageError(f"{self.path}: no column {name}; it has {', '.join(parquet.schema_arrow.names)}")
            return parquet.read([name]).column(name)

    def face_ids(self, positions: NDArray[np.int64]) -> list[str]:
        """Names of the faces at some positions."""
        return [str(name) for name in self.column("face_id").take(pa.array(positions)).to_pylist()]


def open_manifest(path: str | Path) -> Manifest:
    """Reads a manifest.

    Raises:
        UsageError: it is missing, no manifest, or empty.
    """
    path = str(path)
    with _reading(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        schema = pq.read_schema(file)
        missing = [name for name in COLUMNS if name not in schema.names]
        if missing:
            raise UsageError(f"{path}: no manifest (no column {missing[0]}); curate manifest writes one")
        file.seek(0)
        table = pq.ParquetFile(file, read_dictionary=["file"]).read(["file", "row"])
    if not table.num_rows:
        raise UsageError(f"{path}: the manifest has no faces; curate manifest cuts another")
    if table["file"].null_count or table["row"].null_count:
        raise UsageError(f"{path}: faces without a file or a row; cut the manifest again with curate manifest")
    values = _json(path, schema)
    files = table.column("file").cast(pa.string()).combine_chunks().dictionary_encode()
    return Manifest(
        path=path,
        sha256=sha256,
        metadata=None if missing_keys(values) else ManifestMetadata.from_dict(values),
        build=build_of(path, values),
        build_hash=values.get("build"),
        files=tuple(files.dictionary.to_pylist()),
        file=files.indices.to_numpy().astype(np.int32),
        row=table.column("row").to_numpy().astype(np.int64),
    )


def read_metadata(path: str | Path) -> ManifestMetadata:
    """What a manifest says of itself, without its faces.

    Raises:
        UsageError: it is missing, or no manifest that curate cut.
    """
    path = str(path)
    with _reading(path) as file:
        schema = pq.read_schema(file)
    try:
        return ManifestMetadata.from_dict(_json(path, schema))
    except ValueError as error:
        raise UsageError(f"{path}: {error}; cut it again with curate manifest") from None


@contextmanager
def _reading(path: str) -> Iterator[BufferedReader]:
    """A manifest, opened; whatever keeps it from being read is one line."""
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such manifest; curate manifest writes one") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as a manifest ({one_line(error, 120)})") from None


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


def _json(path: str, schema: pa.Schema) -> dict[str, Any]:
    try:
        return dict(json.loads((schema.metadata or {}).get(METADATA, b"{}")))
    except (ValueError, TypeError):
        raise UsageError(f"{path}: its metadata are no JSON; cut the manifest again with curate manifest") from None
