"""`verify` is silent about a sound build and names every damage."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import UsageError
from curate.manifests.candidates import Criteria, candidates
from curate.manifests.requested import cut_requested
from curate.manifests.verify import verify
from curate.storage.build import Build
from curate.storage.files import sealed
from curate.storage.parquet import metadata_of, write_table

from .conftest import finish


@pytest.fixture
def sound(build: Build) -> Build:
    """A build with manifests, of which `verify` finds nothing."""
    cut_requested(candidates(build), [40, 80], [0.0, 0.5])
    finish(build.path)
    candidates(build, Criteria(threshold=0.8)).cut(build.path / "manifests" / "later.parquet", 30, 0.2)
    return build


def edit(build: Build, name: str, column: str, row: int, value: object, forge: bool) -> None:
    """Changes one value of a Parquet file; with `forge`, whoever did it also mended the hashes."""
    path = build.path / name
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    values[row] = value
    metadata = metadata_of(path) or None
    fresh = table.set_column(
        table.schema.get_field_index(column), column, pa.array(values, table.schema.field(column).type)
    )
    write_table(path, fresh.cast(table.schema), metadata)
    if forge:
        from curate.manifests.index import write_index

        write_index(build)
        finish(build.path)


def test_a_sound_build_has_no_findings(sound: Build):
    said: list[str] = []
    assert verify(sound.path, said.append) == []
    assert said == [f"checking {name}" for name in ("files", "schemas", "faces", "covers", "manifests")]


@pytest.mark.parametrize("seed", range(25))
def test_any_flipped_byte_is_found_and_its_file_named(sound: Build, seed: int):
    draw = random.Random(seed)
    files = sorted(f for f in sound.path.rglob("*") if f.is_file() and f.name != "build.json")
    victim = files[seed % len(files)]
    data = bytearray(victim.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    victim.write_bytes(data)
    found = verify(sound.path)
    assert victim.relative_to(sound.path).as_posix() in {finding.where.split(" ")[0] for finding in found}


def test_flipped_bytes_of_build_json_are_found(sound: Build):
    path = sound.path / "build.json"
    data = path.read_bytes()
    for place in range(0, len(data), 97):
        flipped = bytearray(data)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            assert verify(sound.path), place
        except UsageError as error:
            assert "build.json" in str(error)


@pytest.mark.parametrize("forge", [False, True])
@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("clusters/appearance.parquet", "cluster", 3),
        ("clusters/appearance.parquet", "representative", "flip"),
        ("clusters/identity.parquet", "similarity", 0.93),
        ("embeddings/appearance/part-00000.parquet", "vector", "other"),
        ("faces/part-00000.parquet", "video_id", "v11"),
        ("faces/part-00001.parquet", "face_id", "stranger"),
        ("faces/part-00001.parquet", "quality", 1.5),
        ("videos.parquet", "faces", 7),
        ("manifests/40-r0.5.parquet", "face_id", "v00-0000003-00"),
        ("manifests/40-r0.5.parquet", "cluster", 2),
        ("manifests/40-r0.5.parquet", "representative", "flip"),
        ("manifests/40-r0.5.parquet", "row", 1),
        ("manifests/later.parquet", "cluster", 2),
        ("manifests/natural.parquet", "video_id", "v07"),
    ],
)
def test_any_edited_row_is_found_and_named(sound: Build, name: str, column: str, value: object, forge: bool):
    table = pq.read_table(sound.path / name, partitioning=None)
    old = table[column].to_pylist()
    row = next(i for i in range(4, len(old)) if old[i] != value)
    if value == "flip":
        value = not old[row]
    if value == "other":
        value = old[row + 60 if row + 60 < len(old) else 0]
    edit(sound, name, column, row, value, forge)
    found = verify(sound.path)
    assert found
    if not forge:
        assert any(finding.where == name for finding in found)
    else:
        named = " ".join(map(str, found))
        id_column = "video_id" if name == "videos.parquet" else "face_id"
        wanted = {str(table[id_column][row]), str(value) if column in ("face_id", "video_id") else "-"}
        assert any(word in named for word in wanted), named


@pytest.mark.parametrize("place", [0, 40, -70, -5, None])
def test_a_changed_report_is_found(sound: Build, place: int | None):
    page = sealed("<html>" + "what was found " * 9 + "</html>\n")
    (sound.path / "report.html").write_bytes(page)
    assert verify(sound.path) == []
    changed = bytearray(page)
    if place is None:
        changed = changed[:30]
    else:
        changed[place] ^= 4
    (sound.path / "report.html").write_bytes(changed)
    assert [finding.where for finding in verify(sound.path)] == ["report.html"]


@pytest.mark.parametrize("column", ["video_id", "cluster", "file"])
def test_rows_without_a_value_are_found(sound: Build, column: str):
    edit(sound, "manifests/later.parquet", column, 3, None, forge=True)
    assert "manifests/later.parquet: column " + column + " has rows without a value" in map(str, verify(sound.path))


def test_missing_and_foreign_files_are_named(sound: Build):
    (sound.path / "redundancy.json").write_text("{}")
    (sound.path / "clusters" / "identity.parquet").rename(sound.path / "clusters" / "spare.parquet")
    (sound.path / "manifests" / "natural.parquet").unlink()
    where = {finding.where for finding in verify(sound.path)}
    assert {
        "redundancy.json",
        "clusters/identity.parquet",
        "clusters/spare.parquet",
        "manifests/natural.parquet",
    } <= where


def test_a_manifest_that_is_not_nested_is_found(sound: Build):
    folder = sound.path / "manifests"
    metadata = metadata_of(folder / "40-r0.5.parquet")
    other = candidates(sound, Criteria(seed=9)).cut(sound.path.parent / "other.parquet", 40, 0.5)
    write_table(folder / "40-r0.5.parquet", pq.read_table(other.path), metadata)
    from curate.manifests.index import write_index

    write_index(sound)
    found = verify(sound.path)
    assert any("is not a subset of manifests/80-r0.5" in str(finding) for finding in found)


def test_no_build_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="no such folder"):
        verify(tmp_path / "nothing")


def test_only_files_of_curate_are_json_and_parquet(sound: Build):
    told = json.loads((sound.path / "build.json").read_text())["files"]
    tables = {"duplicates.parquet", "videos.parquet"}
    assert {name.split("/")[0] for name in told} - tables == {"clusters", "embeddings", "faces", "manifests"}
    assert np.all([len(value) == 64 for value in told.values()])
