"""Vectors for faces that are packed already: a changed space needs no video, only the stored crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from curate import progress
from curate.calibration.calibrate import Vectors
from curate.hardware import limit_threads
from curate.run import cluster, collect, pack
from curate.run.spaces import Space
from curate.run.spaces import vectors as vectors_of
from curate.run.video import VideoTask, loaded_backend, piece, vectors_table
from curate.stages import align
from curate.storage import schemas
from curate.storage.files import atomic_write
from curate.storage.ledger import Done


def held(done: Done, space: Space) -> pack.Held:
    """The vectors of a source in a space, for packing."""
    return pack.Held(done.record.video_id, f"{collect.faces_key(done)}.{space.key[:16]}", done.record.faces)


def wanted(out: Path, space: Space, pieces: Path, done: list[Done]) -> list[tuple[pack.Place, Path]]:
    """The sources whose vectors are neither there nor packed: where their faces lie, and the piece to be written."""
    there = pack.holdings(out / "embeddings" / space.name)
    faces = pack.holdings(out / "faces")
    missing = []
    for one in done:
        rows = held(one, space)
        path = piece(pieces, rows.video_id, space.key, space.name)
        if not path.is_file() and (rows.video_id, rows.key) not in there:
            missing.append((faces[(rows.video_id, collect.faces_key(one))], path))
    return missing


def embed_missing(
    out: Path, space: Space, task: VideoTask, done: list[Done], workers: int | None, scheduler: str | None
) -> None:
    """Writes the pieces of `space` that are neither there nor packed, from the packed crops."""
    missing = wanted(out, space, task.pieces, done)
    if not missing:
        return
    shown = progress.stage(f"embedding {space.name}", None, "faces")
    with cluster.connect(workers, scheduler, len(missing)) as client, shown as advance:
        for _, outcome in cluster.stream(client, _embed, missing, space, task):
            if isinstance(outcome, BaseException):
                raise outcome
            advance(outcome, "")


def _embed(item: tuple[pack.Place, Path], space: Space, task: VideoTask) -> int:
    """Embeds one video's stored crops; the same groups of rows as when they were first embedded."""
    limit_threads(1)
    backend = loaded_backend(task.recipe, task.device)
    margin = task.recipe.crop.margin
    return write_vectors(*item, space.dimension, lambda crops: vectors_of(space.name, crops, backend, margin))


def write_vectors(place: pack.Place, path: Path, dimension: int, vectors: Vectors) -> int:
    """Writes the piece of one video's vectors, whole or not at all.

    Returns:
        Faces embedded.
    """
    count = 0
    schema = schemas.embeddings(dimension)
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for rows in pack.row_groups(place, ["face_id", "image"]):
            jpegs = rows["image"].combine_chunks().field("bytes").to_pylist()
            crops = np.stack([align.decode(jpeg) for jpeg in jpegs])
            writer.write_table(vectors_table(rows["face_id"].to_pylist(), vectors(crops)))
            count += len(jpegs)
    return count
