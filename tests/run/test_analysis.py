"""What becomes of manifests that lie in a build when it is decided again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.manifests.candidates import Criteria, candidates
from curate.manifests.filters import Filters
from curate.recipe import BuildRecipe
from curate.run import analysis
from curate.run.context import BuildContext
from curate.run.steps import Steps
from curate.storage.build import Build
from curate.storage.info import BackendInfo, SpaceInfo
from curate.storage.parquet import metadata_of, write_table
from tests.manifests.conftest import write_build

APPEARANCE = SpaceInfo("appearance", 32, "1", 0.9, "", "")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return write_build(tmp_path / "build")


def decided(build: Build, threshold: float) -> list[str]:
    """Manifests again, as after a longer list, at the build's threshold now; what was refused."""
    spaces = [replace(APPEARANCE, threshold=threshold)]
    build = Build(build.path)
    steps = Steps.load(build.path / "work" / "steps.json")
    context = BuildContext(build, [], BuildRecipe(), BackendInfo("dlib", []), spaces, steps, "", pa.table({}))
    refused = analysis.manifests(context, "facade")
    assert "info" not in vars(build)  # it must not remember what build.json is about to say otherwise
    return refused


def test_a_users_manifest_keeps_its_own_threshold_and_else_follows_the_build(build: Build) -> None:
    folder = build.path / "manifests"
    candidates(build, Criteria(threshold=0.8)).cut(folder / "own.parquet", 40, 0.5)
    candidates(build).cut(folder / "builds.parquet", 40, 0.5)
    assert decided(build, 0.85) == []
    told = {name: metadata_of(folder / f"{name}.parquet") for name in ("own", "builds", "unique")}
    assert {name: one["threshold"] for name, one in told.items()} == {"own": 0.8, "builds": 0.85, "unique": 0.85}
    assert {one["build"] for one in told.values()} == {"facade"}


def test_files_of_others_stay_and_only_what_cannot_be_had_goes(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build.path / "manifests"
    first = candidates(build, Criteria(filters=Filters(where="video_id = 'v03'"))).cut(folder / "first.parquet", 5, 0.0)
    candidates(build, Criteria(filters=Filters(identities_not_in=first.path))).cut(folder / "apart.parquet", 5, 0.0)
    candidates(build, Criteria(threshold=0.99)).cut(folder / "large.parquet", 200, 0.0)
    pq.write_table(pa.table({"x": [1]}), folder / "theirs.parquet")
    (folder / "text.parquet").write_text("no parquet")
    told = metadata_of(folder / "large.parquet") | {"size": 100_000}
    write_table(folder / "large.parquet", pq.read_table(folder / "large.parquet"), told)
    refused = decided(build, 0.9)
    assert len(refused) == 2 and refused[0].startswith("apart.parquet: was cut against another manifest")
    assert refused[1].startswith("large.parquet: ") and "cannot be had" in refused[1]
    there = {path.name for path in folder.glob("*.parquet")}
    assert there == {"first.parquet", "natural.parquet", "text.parquet", "theirs.parquet", "unique.parquet"}
    assert {entry["name"] for entry in build.manifests} == {"first", "natural", "unique"}
    said = capsys.readouterr().err
    assert "theirs.parquet: left as it is" in said and "text.parquet: left as it is" in said


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (6, []),
        (5, ["shared.parquet: 1 of its 6 faces are not there any more"]),
        (0, ["shared.parquet: none of the faces that were shared is left; run curate build --from-manifest again"]),
    ],
)
def test_a_shared_manifest_keeps_the_faces_that_are_left(left: int, said: list[str], build: Build) -> None:
    path = build.path / "manifests" / "shared.parquet"
    candidates(build).write(path, np.arange(3, 9), None, "shared")
    before = pq.read_table(path)
    ids = before["face_id"].to_pylist()
    write_table(
        path, before.set_column(0, "face_id", pa.array([*ids[:left], *["gone"] * (6 - left)])), metadata_of(path)
    )
    assert decided(build, 0.85) == said
    assert path.exists() == bool(left)
    if left:
        assert pq.read_table(path)["face_id"].to_pylist() == ids[:left] and metadata_of(path)["build"] == "facade"
