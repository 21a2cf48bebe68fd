"""Pieces of a source without the faces that were taken down (`forgotten.json`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.run.video import piece
from curate.storage.forgotten import Forgotten, ForgottenFace
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done
from curate.storage.parquet import open_parquet, write_batches


def stripped(done: Done, forgotten: Forgotten, spaces: Sequence[SpaceInfo], pieces: Path) -> Done:
    """Takes forgotten faces out of a source's pieces, and says so in its row; a source without pieces stays as it is.

    Doing it twice is doing it once: the row follows from what the pieces hold then.
    """
    faces = forgotten.of_video(done.record.video_id)
    path = piece(pieces, done.record.video_id, done.key, "faces")
    if not faces or not path.is_file():
        return done
    left = 0
    for space in [*spaces, None]:  # the faces last: the vectors are cut by them
        own = path if space is None else piece(pieces, done.record.video_id, space.key, space.name)
        if own.is_file():
            left = _strip(own, path, faces)
    status = done.record.status if left else "no_faces"
    if not left:
        for empty in pieces.glob(f"{done.record.video_id}.*.parquet"):
            empty.unlink()
    record = replace(done.record, faces=left, status=status)
    return replace(done, record=record, forgotten=sorted(face.face_id for face in faces))


def _strip(path: Path, faces_path: Path, forgotten: Sequence[ForgottenFace]) -> int:
    """Rewrites a piece without the rows of forgotten faces, its groups of rows as they were; returns what is left."""
    keep = dict(zip(*_kept(faces_path, forgotten), strict=True))
    file = open_parquet(path)
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    tables = []
    for table in groups:
        rows = [keep.get(name, True) for name in table["face_id"].to_pylist()]
        tables.append(table.filter(pa.array(rows, pa.bool_())))
    write_batches(path, file.schema_arrow, [table for table in tables if table.num_rows])
    return sum(table.num_rows for table in tables)


def _kept(path: Path, forgotten: Sequence[ForgottenFace]) -> tuple[list[str], list[bool]]:
    """Names of a piece's faces, and which of them stay."""
    table = open_parquet(path).read(["face_id", "time_s", "bbox"])
    times: NDArray[np.float64] = table["time_s"].to_numpy()
    names, boxes = table["face_id"].to_pylist(), table["bbox"].to_pylist()
    rows = zip(names, times.tolist(), boxes, strict=True)
    return names, [not any(face.is_face(*row) for face in forgotten) for row in rows]
