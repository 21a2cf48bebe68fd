from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.run.videos import _Frames, _older
from curate.storage import schemas
from curate.storage.build import open_build
from curate.storage.parquet import write_batches
from tests.builds import write_info


def test_whole_frames_are_read_where_a_version_kept_them_and_others_are_counted(tmp_path: Path) -> None:
    """Three files: of an older version; joined from older and newer rows; of this version."""
    write_info(tmp_path)

    def rows(first: int, count: int) -> pa.Table:
        known = {
            "face_id": [f"f{first + k}" for k in range(count)],
            "scene": [bytes([first + k] * 4) for k in range(count)],
        }
        return pa.table({f.name: pa.array(known[f.name], f.type) if f.name in known else pa.nulls(count, f.type)
                         for f in schemas.FACES}, schema=schemas.FACES)  # fmt: skip

    folder, older = tmp_path / "faces", list(schemas.LATER)
    old = pa.schema([field for field in schemas.FACES if field.name not in older])
    write_batches(folder / "part-0.parquet", old, [rows(0, 3).drop_columns(older)])
    write_batches(folder / "part-1.parquet", schemas.FACES, [rows(3, 2).drop_columns(older), rows(5, 2), rows(7, 2)])
    write_batches(folder / "part-2.parquet", schemas.FACES, [rows(9, 3)])
    built = open_build(tmp_path)
    assert _older(built) == 5
    frames = _Frames(built)

    def read(start: int, stop: int) -> list[int] | None:
        views = frames.of(slice(start, stop))
        found = views() if views else None
        return None if found is None else np.asarray(found)[:, 0].tolist()

    assert [read(0, 3), read(3, 5), read(5, 9), read(9, 12), read(12, 12)] == [
        None,
        None,
        [5, 6, 7, 8],
        [9, 10, 11],
        None,
    ]
