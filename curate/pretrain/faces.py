"""Faces to learn from, wherever they lie: a manifest of a build, or pictures of any other kind (`picture_sets`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import locations
from curate.errors import UsageError
from curate.pretrain.labels import labels_of
from curate.storage.manifest import Manifest, open_file, open_manifest

Positions = NDArray[np.int64]
ROWS_AT_ONCE = 256
READ_BUFFER = 4 << 20
"""Bytes of a column that are read at once: row groups are streamed, never held."""


class Faces(Protocol):
    """Faces to learn from; each has a position, from 0.

    Attributes:
        path: as the user gave it.
        sha256: of what decides which pictures these are.
        build: folder or URL of the build that they are of; None: of none.
        build_hash: content hash of that build, if it is known.
    """

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def build(self) -> str | None: ...  # noqa: D102
    @property
    def build_hash(self) -> str | None: ...  # noqa: D102

    def __len__(self) -> int: ...

    def face_ids(self, positions: Positions) -> list[str]:
        """Names of the faces at some positions."""

    def labels(self, name: str) -> tuple[Positions, list[str]]:
        """What each face is labelled: int64 [n], indices into the distinct labels, -1 where a face has none; and these.

        Raises:
            UsageError: nothing of that name is there.
        """

    def people(self) -> Positions | None:
        """Who each face is: int64 [n], -1 where that is not known; None: of nobody."""

    def clips(self) -> Positions:
        """Of which clip each face is: int64 [n]."""

    def near_duplicates(self) -> Positions:
        """Faces that are near-duplicates share a number: int64 [n]."""

    def pictures(self) -> Iterator[tuple[Positions, list[bytes]]]:
        """Positions and their pictures' bytes, in whatever order they are read fastest, a few hundred at once.

        Raises:
            UsageError: what should hold them is missing or damaged.
        """

    def subset(self, positions: Positions) -> Faces:
        """The faces at some positions alone."""


@dataclass(frozen=True)
class ManifestFaces:
    """The faces of a manifest; see `Faces`."""

    manifest: Manifest

    @property
    def path(self) -> str:
        """Of the manifest."""
        return self.manifest.path

    @property
    def sha256(self) -> str:
        """Of the manifest's bytes."""
        return self.manifest.sha256

    @property
    def build(self) -> str | None:
        """Folder or URL of its build."""
        return self.manifest.build

    @property
    def build_hash(self) -> str | None:
        """Content hash of its build, if the manifest says."""
        return self.manifest.build_hash

    def __len__(self) -> int:
        return len(self.manifest)

    def face_ids(self, positions: Positions) -> list[str]:
        """Names of the faces at some positions."""
        return self.manifest.face_ids(positions)

    def labels(self, name: str) -> tuple[Positions, list[str]]:
        """Of a column of the manifest or the faces, or `identity`; see `labels_of`."""
        return labels_of(self.manifest, name)

    def people(self) -> Positions | None:
        """The build's identity clusters, if it has any."""
        try:
            return self.labels("identity")[0]
        except UsageError:
            return None

    def clips(self) -> Positions:
        """Videos."""
        return self.labels("video_id")[0]

    def near_duplicates(self) -> Positions:
        """Clusters."""
        return np.asarray(self.manifest.column("cluster").to_numpy()).astype(np.int64)

    def subset(self, positions: Positions) -> ManifestFaces:
        """The rows at some positions alone (their names and labels stay those of the whole manifest)."""
        chosen = self.manifest
        return ManifestFaces(replace(chosen, file=chosen.file[positions], row=chosen.row[positions]))

    def pictures(self) -> Iterator[tuple[Positions, list[bytes]]]:
        """File by file and row by row."""
        manifest = self.manifest
        order = np.lexsort((manifest.row, manifest.file))
        bounds = np.searchsorted(manifest.file[order], np.arange(len(manifest.files) + 1))
        for index, relative in enumerate(manifest.files):
            path = locations.join(manifest.build, relative)
            here = order[bounds[index] : bounds[index + 1]]
            if not len(here):
                continue
            try:
                with open_file(path) as file:
                    parquet = pq.ParquetFile(file, buffer_size=READ_BUFFER)
                    yield from _of_file(manifest, path, parquet, here)
            except FileNotFoundError:
                raise UsageError(
                    f"{path}: this file of the build, named by {manifest.path}, is missing; --build says where it is"
                ) from None
            except pa.ArrowException as error:
                raise UsageError(f"{path}: damaged ({str(error).splitlines()[0]}); run curate verify") from None


def open_faces(
    manifest: str | None, data: str | None, labels: str, side: int | None, build: str | None = None
) -> Faces:
    """The faces of a manifest, or of any other pictures.

    Args:
        manifest: path or URL of a manifest; None: `data` is given.
        data: folder or URL of pictures; see `curate.pretrain.picture_sets`.
        labels, side, build: `data.labels`, `data.side` and `data.build` of the recipe.

    Raises:
        UsageError: both are given or none, or there are no faces.
    """
    from curate.pretrain.picture_sets import open_pictures  # what it needs loads only when it is used

    if (manifest is None) == (data is None):
        raise UsageError("give one of --manifest F.parquet and --data DIR")
    if manifest is not None:
        found = open_manifest(manifest)
        return ManifestFaces(found if build is None else replace(found, build=build))
    return open_pictures(str(data), labels, side)


def _of_file(
    manifest: Manifest, path: str, file: pq.ParquetFile, positions: Positions
) -> Iterator[tuple[Positions, list[bytes]]]:
    """Positions and pictures of one file; `positions` are sorted by row."""
    rows = manifest.row[positions]
    if rows[0] < 0 or rows[-1] >= file.metadata.num_rows:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise UsageError(f"{manifest.path}: row {wrong} of {path}, which has {file.metadata.num_rows} rows")
    begin = 0
    for group in range(file.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        if np.searchsorted(rows, begin) < np.searchsorted(rows, end):
            place = begin
            for batch in file.iter_batches(
                ROWS_AT_ONCE, row_groups=[group], columns=["image.bytes"], use_threads=False
            ):
                low, high = np.searchsorted(rows, (place, place + batch.num_rows))
                images = batch.column("image").field("bytes")
                yield positions[low:high], [images[int(row - place)].as_py() or b"" for row in rows[low:high]]
                place += batch.num_rows
        begin = end
