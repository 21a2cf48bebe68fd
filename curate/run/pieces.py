"""Pieces: Parquet files of one video's faces, or of its vectors in one space, until `run.pack` joins them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.records import Face
from curate.storage import schemas
from curate.storage.files import atomic_write
from curate.storage.forgotten import Forgotten, ForgottenFace
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done
from curate.storage.parquet import open_parquet, parquet_writer, write_batches

FACES_AT_ONCE = 64
"""Faces that are described and written together."""


def piece(folder: Path, video_id: str, key: str, kind: str) -> Path:
    """Where the piece of one kind (`faces`, or the name of a space) of a video lies."""
    return folder / f"{video_id}.{key[:16]}.{kind}.parquet"


class Pieces:
    """The pieces of one video, written as faces come; they appear whole when the block ends well."""

    def __init__(self, folder: Path, video_id: str, keys: dict[str, str], part: str = "") -> None:
        """Begins them.

        Args:
            folder: of all pieces.
            keys: `faces`, or the name of a space -> digest of everything that decides it.
            part: names a part of the video, whose identity vectors are kept to the last bit.
        """
        self.video_id, self._folder, self._keys, self._part = video_id, folder, keys, part
        self._stack = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Pieces:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]  # the three of the protocol, passed through

    def write(self, faces: list[Face], vectors: dict[str, NDArray[np.float32]]) -> None:
        """Takes faces, and their vectors in each space."""
        ids = [face.face_id for face in faces]
        tables = {space: vectors_table(ids, vectors[space], exact=bool(self._part)) for space in vectors}
        self.write_rows({"faces": faces_table(faces)} | tables)

    def write_rows(self, tables: dict[str, pa.Table]) -> None:
        """Takes the next rows of each piece."""
        for kind, table in tables.items():
            if kind not in self._writers:
                path = piece(self._folder, self.video_id, self._keys[kind], f"{self._part}{kind}")
                writer = parquet_writer(self._stack.enter_context(atomic_write(path)), table.schema)
                self._writers[kind] = self._stack.enter_context(writer)
            self._writers[kind].write_table(table)


def faces_table(faces: list[Face]) -> pa.Table:
    """Rows of `faces/*.parquet`; the picture's `path` names it as `<face_id>.jpg`."""
    columns = {name: [getattr(face, name) for face in faces] for name in schemas.FACES.names if name != "image"}
    columns["landmarks"] = [face.landmarks.reshape(10) for face in faces]
    columns["crop_matrix"] = [face.crop_matrix.reshape(6) for face in faces]
    columns["image"] = [{"bytes": face.jpeg, "path": f"{face.face_id}.jpg"} for face in faces]
    return pa.table(columns, schema=schemas.FACES)


def vectors_table(face_ids: list[str], vectors: NDArray[np.floating], *, exact: bool = False) -> pa.Table:
    """Rows of `embeddings/<space>/*.parquet`; `exact`: in float32, for what is not finished."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32 if exact else np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    if exact:
        return pa.table({"face_id": pa.array(face_ids, pa.string()), "vector": column})
    return pa.table([pa.array(face_ids, pa.string()), column], schema=schemas.embeddings(rows.shape[1]))


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
