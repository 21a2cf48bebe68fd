"""Labels of the faces of a manifest: a column of it, a column of the face files, or the people of the build."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import locations
from curate.errors import UsageError
from curate.storage.manifest import Manifest, open_file


def labels_of(manifest: Manifest, name: str) -> tuple[NDArray[np.int64], list[str]]:
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
        column = manifest.column(name) if name in manifest.column_names else _face_column(manifest, name)
    values = pc.cast(column, pa.string())
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    names = sorted(text for text in pc.unique(values).to_pylist() if text is not None)
    index = pc.index_in(values, pa.array(names, pa.string()))
    return pc.fill_null(index, -1).to_numpy(zero_copy_only=False).astype(np.int64), names


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
