from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import UsageError
from curate.pretrain.labels import labels_of
from curate.storage.files import sha256_file
from curate.storage.manifest import open_manifest
from curate.storage.parquet import metadata_of, read_table, write_table


def test_reads_what_training_needs(manifest: Path) -> None:
    read = open_manifest(str(manifest))
    table = read_table(manifest)
    assert len(read) == 64
    assert read.sha256 == sha256_file(manifest)
    assert read.build_hash == "b" * 64
    assert [read.files[i] for i in read.file] == table["file"].to_pylist()
    assert read.row.tolist() == table["row"].to_pylist()
    assert read.face_ids(np.array([5, 3])) == [table["face_id"][5].as_py(), table["face_id"][3].as_py()]


@pytest.mark.parametrize("name", ["identity", "video_id"])
def test_labels_follow_the_faces(manifest: Path, name: str) -> None:
    labels, names = labels_of(open_manifest(str(manifest)), name)
    faces = read_table(manifest)["face_id"].to_pylist()
    people = [int(face[4:]) // 8 for face in faces]
    videos = [(person, int(face[4:]) % 2) for person, face in zip(people, faces, strict=True)]
    numbers = {video: number for number, video in enumerate(sorted(set(videos)))}
    assert labels.tolist() == (people if name == "identity" else [numbers[video] for video in videos])
    assert len(names) == (8 if name == "identity" else 16)


def test_labels_from_a_column_of_the_faces(manifest: Path) -> None:
    for number, path in enumerate(sorted((manifest.parent.parent / "faces").glob("*.parquet"))):
        table = pq.read_table(path)
        values = [None if i == 0 else f"{number}:{i}" for i in range(table.num_rows)]
        pq.write_table(table.append_column("emotion", pa.array(values)), path)
    read = open_manifest(str(manifest))
    labels, names = labels_of(read, "emotion")
    numbers = [int(Path(path).stem[-5:]) for path in read.files]
    expected = [None if row == 0 else f"{numbers[f]}:{row}" for f, row in zip(read.file, read.row, strict=True)]
    assert [names[i] if i >= 0 else None for i in labels] == expected


def test_remote_manifest(manifest: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(manifest.parent.parent) + "/", "/far/", recursive=True)
    near, far = open_manifest(str(manifest)), open_manifest("memory://far/manifests/all.parquet")
    assert far.sha256 == near.sha256
    assert far.build == "memory://far"
    assert labels_of(far, "identity")[0].tolist() == labels_of(near, "identity")[0].tolist()


def test_build_elsewhere(manifest: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere/cut.parquet"
    write_table(moved, read_table(manifest), metadata_of(manifest) | {"build_path": "../build"})
    assert Path(open_manifest(str(moved)).build).resolve() == (tmp_path / "build").resolve()


def test_says_what_is_wrong(manifest: Path, tmp_path: Path, make_build: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="there is no such manifest"):
        open_manifest(str(tmp_path / "none.parquet"))
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(UsageError, match=r"text\.parquet: cannot be read as a manifest"):
        open_manifest(str(tmp_path / "text.parquet"))
    with pytest.raises(UsageError, match="no manifest \\(no column cluster\\)"):
        open_manifest(str(sorted((manifest.parent.parent / "faces").glob("*.parquet"))[0]))
    write_table(tmp_path / "empty.parquet", read_table(manifest).slice(0, 0))
    with pytest.raises(UsageError, match="has no faces"):
        open_manifest(str(tmp_path / "empty.parquet"))
    with pytest.raises(UsageError, match=r"data\.labels = emotion: no such column"):
        labels_of(open_manifest(str(manifest)), "emotion")
    (manifest.parent.parent / "clusters/identity.parquet").unlink()
    with pytest.raises(UsageError, match=r"no identity clusters; use --set data\.labels"):
        labels_of(open_manifest(str(manifest)), "identity")
