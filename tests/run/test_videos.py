from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.run import videos
from curate.run.videos import _Frames, _read
from curate.storage import schemas, vectors
from curate.storage.build import open_build
from curate.storage.parquet import write_batches
from tests.builds import write_info


def test_whole_frames_are_read_where_a_version_kept_them_and_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr(videos, "FILES", 1)
    gc.collect()
    gc.disable()  # what files say of their row groups goes by itself, not once the collector comes by
    try:
        frames = _Frames(built)
        assert not [one for one in gc.get_objects() if type(one) is pq.FileMetaData]
    finally:
        gc.enable()
    assert frames.older == 5

    def read(start: int, stop: int) -> list[int] | None:
        views = frames.of(slice(start, stop))
        found = views() if views else None
        return None if found is None else np.asarray(found)[:, 0].tolist()

    assert len(frames._stored._open) == 0 and read(9, 12) == [9, 10, 11]
    assert [read(0, 3), read(3, 5), read(5, 9), read(9, 12), read(12, 12)] == [
        None,
        None,
        [5, 6, 7, 8],
        [9, 10, 11],
        None,
    ]
    assert len(frames._stored._open) == 1


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_times_tracks_and_places_are_read_file_by_file(
    in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "IN_MEMORY", in_memory)
    write_info(tmp_path)
    rng = np.random.default_rng(0)
    marks = rng.uniform(0, 100, (7, 10)).astype(np.float32)
    columns = {"time_s": np.arange(7) / 5, "track": pa.array(range(7), pa.int32()), "landmarks": marks.tolist()}
    table = pa.table(
        {
            f.name: pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(7, f.type)
            for f in schemas.FACES
        },
        schema=schemas.FACES,
    )
    write_batches(tmp_path / "faces" / "part-0.parquet", schemas.FACES, [table[:3]])
    write_batches(tmp_path / "faces" / "part-1.parquet", schemas.FACES, [table[3:5], table[5:]])
    times, tracks, places = _read(open_build(tmp_path), 7)
    assert times.tolist() == columns["time_s"].tolist() and tracks.tolist() == list(range(7))  # type: ignore[attr-defined]
    eyes, mouth = (marks.reshape(7, 5, 2)[:, part].mean(axis=1) for part in (slice(0, 2), slice(3, 5)))
    assert places.tolist() == np.concatenate([eyes, mouth], axis=1).tolist()
