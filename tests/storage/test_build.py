from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.storage import schemas
from curate.storage.build import Build, build_of


@pytest.mark.parametrize(
    ("inside", "manifest"),
    [
        (".", "build/manifests/m.parquet"),
        ("build", "manifests/m.parquet"),
        ("build", "./manifests/m.parquet"),
        ("build/manifests", "m.parquet"),
        ("build/manifests", "./m.parquet"),
        ("build/manifests/deep", "../m.parquet"),
        ("build/faces", "../manifests/m.parquet"),
        ("build/manifests", "deep/../m.parquet"),
    ],
)
def test_a_build_is_found_from_its_manifest_wherever_the_command_runs(
    inside: str, manifest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("build/manifests/deep", "build/faces"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / inside)
    assert Path(build_of(manifest, {})).resolve() == tmp_path / "build"
    assert Path(build_of(str(Path(manifest).absolute()), {})).resolve() == tmp_path / "build"


def test_a_manifest_may_say_where_its_build_lies() -> None:
    assert build_of("cuts/m.parquet", {"build_path": "../build"}) == "cuts/../build"
    assert build_of("m.parquet", {"build_path": "s3://bucket/build"}) == "s3://bucket/build"
    assert build_of("s3://bucket/build/manifests/m.parquet", {}) == "s3://bucket/build"


def test_pictures_come_from_the_row_groups_that_hold_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{row}".encode() for row in range(40)]
    kind = schemas.FACES.field("image").type
    for part in range(2):
        own = pa.array([{"bytes": name, "path": None} for name in names[20 * part : 20 * part + 20]], kind)
        path = tmp_path / "faces" / f"part-{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": own}), path, row_group_size=8)
    read = []
    real = pq.ParquetFile.read_row_group
    counted = lambda file, group, **options: (read.append(group), real(file, group, **options))[1]  # noqa: E731
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    build = Build(tmp_path)
    for rows, groups in (
        ([], []),
        ([0], [0]),
        ([7, 8, 39], [0, 1, 2]),
        ([20, 27, 36], [0, 2]),
        (range(40), [0, 1, 2] * 2),
    ):
        read.clear()
        assert list(build.pictures(np.array(rows, np.int64))) == [names[row] for row in rows]
        assert read == groups


def test_columns_and_vectors_are_those_of_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 4)).astype(np.float16)

    def write(part: int, quality: float) -> None:
        rows = range(10 * part, 10 * part + 10)
        faces = {"face_id": [f"f{row}" for row in rows], "quality": [quality] * 10, "yaw": [float(row) for row in rows]}
        own = pa.FixedSizeListArray.from_arrays(pa.array(vectors[rows.start : rows.stop].reshape(-1)), 4)
        for folder, table in (("faces", pa.table(faces)), ("embeddings/appearance", pa.table({"vector": own}))):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, tmp_path / folder / f"part-{part}.parquet", row_group_size=3)

    for part in range(3):
        write(part, 0.5)
    build = Build(tmp_path)
    for columns in (["yaw", "face_id"], ["face_id"], ["quality", "face_id", "yaw"], None):
        faces = build.faces(columns)
        assert faces.column_names == (columns or ["face_id", "quality", "yaw"])
        assert faces["face_id"].to_pylist() == [f"f{row}" for row in range(30)]
        assert "yaw" not in faces.column_names or faces["yaw"].to_pylist() == list(range(30))
    rows = np.array([0, 9, 10, 29])
    assert (build.vectors_of(rows) == vectors[rows]).all() and (build.vectors() == vectors).all()
    write(1, 0.75)  # a file that was written again is read again
    assert build.faces(["quality"])["quality"].to_pylist() == [0.5] * 10 + [0.75] * 10 + [0.5] * 10


def test_a_column_that_came_later_is_null_where_a_file_lacks_it(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    pq.write_table(pa.table({"face_id": ["a"], "eyes_open": [0.5]}), tmp_path / "faces" / "part-0.parquet")
    pq.write_table(pa.table({"face_id": ["b"]}), tmp_path / "faces" / "part-1.parquet")
    faces = Build(tmp_path).faces(["eyes_open", "face_id"])
    assert faces.to_pydict() == {"eyes_open": [0.5, None], "face_id": ["a", "b"]}
