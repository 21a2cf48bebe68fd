"""Vectors for faces that are packed already: a changed space needs no video, only the stored crops."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from curate import progress
from curate.calibration.calibrate import Vectors
from curate.hardware import limit_threads
from curate.run import cluster, collect, pack
from curate.run.cluster import Executor
from curate.run.pieces import piece, vectors_table
from curate.run.spaces.builtin import IDENTITY
from curate.run.spaces.builtin import vectors as vectors_of
from curate.run.video import VideoTask, loaded_backend
from curate.stages import align
from curate.stages.template import Templates
from curate.storage import schemas
from curate.storage.files import atomic_write
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done
from curate.storage.parquet import parquet_writer


def rows_of(done: Done, space: SpaceInfo) -> pack.VideoRows:
    """The vectors of a source in a space, for packing."""
    return pack.VideoRows(done.record.video_id, f"{collect.faces_key(done)}.{space.key[:16]}", done.record.faces)


def missing_vectors(
    out: Path, space: SpaceInfo, pieces: Path, done: Collection[Done]
) -> list[tuple[pack.RowGroups, Path]]:
    """The sources whose vectors are neither there nor packed: where their faces lie, and the piece to be written."""
    there = pack.index_rows(out / "embeddings" / space.name)
    faces = pack.index_rows(out / "faces")
    missing = []
    for one in done:
        rows = rows_of(one, space)
        path = piece(pieces, rows.video_id, space.key, space.name)
        if not path.is_file() and (rows.video_id, rows.key) not in there:
            missing.append((faces[(rows.video_id, collect.faces_key(one))], path))
    return missing


def embed_missing(out: Path, space: SpaceInfo, task: VideoTask, done: Collection[Done], executor: Executor) -> None:
    """Writes the pieces of `space` that are neither there nor packed, from the packed crops."""
    missing = missing_vectors(out, space, task.pieces, done)
    if not missing:
        return
    shown = progress.stage(f"embedding {space.name}", None, "faces")
    with executor.connect(len(missing)) as client, shown as advance:
        for _, outcome in cluster.stream(client, _embed, missing, space, task):
            if isinstance(outcome, BaseException):
                raise outcome
            advance(outcome, "")


def _embed(item: tuple[pack.RowGroups, Path], space: SpaceInfo, task: VideoTask) -> int:
    """Embeds one video's stored crops; the same groups of rows as when they were first embedded."""
    limit_threads(1)
    backend = loaded_backend(task.recipe, task.device)
    templates = Templates() if space.name == IDENTITY else None
    return write_vectors(
        *item, space.dimension, lambda crops: vectors_of(space.name, crops, backend, task.recipe), templates
    )


def write_vectors(
    place: pack.RowGroups, path: Path, dimension: int, vectors: Vectors, templates: Templates | None = None
) -> int:
    """Writes the piece of one video's vectors, whole or not at all.

    Args:
        templates: draws the vectors of a track together; None: each face is described by itself.

    Returns:
        Faces embedded.
    """
    count = 0
    schema = schemas.embeddings(dimension)
    with atomic_write(path) as temporary, parquet_writer(temporary, schema) as writer:
        for rows in pack.row_groups(place, ["face_id", "track", "image"]):
            jpegs = rows["image"].combine_chunks().field("bytes").to_pylist()
            crops = np.stack([align.decode(jpeg) for jpeg in jpegs])
            made = vectors(crops)
            if templates is not None:
                made = templates.add(rows["track"].to_pylist(), made)
            writer.write_table(vectors_table(rows["face_id"].to_pylist(), made))
            count += len(jpegs)
    return count


def pack_vectors(out: Path, space: SpaceInfo, pieces: Path, done: Collection[Done]) -> None:
    """Moves the pieces of a space into `embeddings/<space>/`, in list order.

    Args:
        done: the sources with faces.
    """
    pack.pack(
        out,
        f"embeddings/{space.name}",
        pack.plan([rows_of(one, space) for one in done]),
        schemas.embeddings(space.dimension),
        lambda rows: piece(pieces, rows.video_id, space.key, space.name),
        lambda _: None,
    )
