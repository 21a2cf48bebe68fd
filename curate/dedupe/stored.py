"""The cover of a build's space on disk, made from scratch or grown from the one that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.dedupe.covers import Cover, cover
from curate.dedupe.extend import extend
from curate.dedupe.order import priority
from curate.errors import UsageError
from curate.storage import schemas
from curate.storage.parquet import metadata_of, read_table, write_table
from curate.storage.vectors import let_go

BLOCK = 65536
"""Rows that are hashed one kind after another: ids, qualities, vectors."""

READ = 8192
"""Rows of vectors that are read at once."""


def write_cover(path: Path, faces: pa.Table, vectors: NDArray[np.float16], threshold: float, device: str) -> bool:
    """Writes `clusters/<space>.parquet`.

    The file says what it follows from. If the one that is there follows from the first faces as they still are, it is
    grown, which gives the same bytes as starting over.

    Args:
        faces: columns `face_id`, `quality`.
        vectors: float16 [faces, D].
        threshold: cosine of the cover.
        device: a torch device.

    Returns:
        Whether it was grown.
    """
    earlier = _earlier(path, faces, vectors, threshold)
    if earlier is None:
        found = cover(vectors, threshold, priority(faces), device=device)
    else:
        found = extend(earlier, vectors, threshold, priority(faces))
    columns = [faces["face_id"], *map(pa.array, found)]  # in chunks: Arrow joins at most 2 GB of text
    metadata = {"threshold": threshold, "follows_from": _digest(faces, vectors, len(vectors))}
    write_table(path, pa.table(columns, schema=schemas.CLUSTERS), metadata)
    return earlier is not None


def cover_of(table: pa.Table) -> Cover:
    """The cover in a table with the columns of `clusters/<space>.parquet`."""
    return Cover(
        table["cluster"].to_numpy(),
        table["representative"].to_numpy(zero_copy_only=False),
        table["similarity"].to_numpy(),
    )


def _earlier(path: Path, faces: pa.Table, vectors: NDArray[np.float16], threshold: float) -> Cover | None:
    """The cover that is there, if it is that of the first faces; None where there is none, or of something else."""
    try:
        metadata = metadata_of(path)
        if metadata.get("threshold") != threshold:
            return None
        table = read_table(path)
    except (UsageError, OSError):
        return None
    count = table.num_rows
    if not 0 < count <= len(vectors) or metadata.get("follows_from") != _digest(faces, vectors, count):
        return None
    return cover_of(table)


def _digest(faces: pa.Table, vectors: NDArray[np.float16], count: int) -> str:
    """sha256 of the first faces: ids, qualities, vectors."""
    found = hashlib.sha256()
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        for place, chunk in enumerate(chunk for chunk in faces["face_id"][start:stop].chunks if len(chunk)):
            found.update((b"\n" if place else b"") + _lines(chunk))
        found.update(b"\0")
        found.update(np.ascontiguousarray(faces["quality"][start:stop].to_numpy()).tobytes())
        for at in range(start, stop, READ):
            found.update(np.ascontiguousarray(vectors[at : min(at + READ, stop)]).data)
            let_go(vectors)
    return found.hexdigest()


def _lines(ids: pa.Array) -> bytes:
    """The ids, a line each."""
    whole = pa.ListArray.from_arrays(pa.array([0, len(ids)], pa.int32()), ids)
    return bytes(pc.binary_join(whole, "\n")[0].as_buffer())
