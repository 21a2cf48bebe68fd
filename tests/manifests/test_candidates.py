"""Manifests on disk: columns, metadata, index, filters, other thresholds."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import cli
from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.errors import UsageError
from curate.manifests.candidates import Criteria, candidates
from curate.manifests.filters import Filters, matching
from curate.manifests.requested import cut_requested
from curate.manifests.select import clusters_wanted, redundancies
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.manifest import open_manifest, read_metadata
from curate.storage.parquet import metadata_of


def test_a_manifest_has_its_columns_metadata_and_rows(build: Build):
    out = build.path / "manifests" / "mine.parquet"
    info = candidates(build, Criteria(seed=3)).cut(out, 150, 0.6)
    table = pq.read_table(out)
    assert table.schema.equals(schemas.MANIFEST)
    meta = metadata_of(out)
    assert meta == info.metadata.to_dict()
    assert read_metadata(out) == open_manifest(out).metadata == info.metadata
    unique = len(set(table["cluster"].to_pylist()))
    assert (meta["size"], meta["unique"]) == (150, clusters_wanted(150, 0.6)) == (table.num_rows, unique)
    assert meta["redundancy"] == 1 - unique / 150
    wanted = {"redundancy_target": 0.6, "space": "appearance", "threshold": 0.9, "seed": 3, "build": "c0ffee"}
    assert wanted.items() <= meta.items()
    clusters = {r["face_id"]: r for r in build.clusters().to_pylist()}
    places = []
    for row in table.to_pylist():
        there = (
            pq.read_table(build.path / row["file"], columns=["face_id", "video_id"]).slice(row["row"], 1).to_pylist()
        )
        assert there == [{"face_id": row["face_id"], "video_id": row["video_id"]}]
        assert clusters[row["face_id"]]["cluster"] == row["cluster"]
        assert clusters[row["face_id"]]["representative"] == row["representative"]
        places.append((row["file"], row["row"]))
    assert places == sorted(places)
    index = json.loads((build.path / "manifests" / "index.json").read_text())["manifests"]
    assert index == [{"name": "mine", "file": "mine.parquet", "sha256": sha(out), **meta}]


def test_the_same_cut_gives_the_same_bytes_and_other_seeds_other_faces(build: Build, tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        candidates(build, Criteria(seed=seed)).cut(tmp_path / f"{name}.parquet", 100, 0.5)
    assert sha(tmp_path / "a.parquet") == sha(tmp_path / "b.parquet")
    assert faces_of(tmp_path / "a.parquet") != faces_of(tmp_path / "c.parquet")
    assert not (build.path / "manifests").exists()  # nothing was written there


def test_what_a_build_asks_for_is_written_or_refused(build: Build):
    written, refused = cut_requested(candidates(build), [50, 299, 5000], [0.0, 0.5])
    names = [info.path.stem for info in written]
    index = json.loads((build.path / "manifests" / "index.json").read_text())["manifests"]
    assert [entry["name"] for entry in index] == sorted(names)
    assert {"unique", "natural", "50-r0", "50-r0.5"} <= set(names)
    assert len(written) + len(refused) == 2 + 6
    assert any("5000 faces at redundancy 0" in line for line in refused)
    sizes = {entry["name"]: entry["size"] for entry in index}
    clusters = build.clusters()
    assert sizes["natural"] == clusters.num_rows
    assert sizes["unique"] == sum(clusters["representative"].to_pylist())


def test_another_threshold_has_its_own_cover(build: Build, tmp_path: Path):
    candidates(build, Criteria(threshold=0.8)).cut(tmp_path / "m.parquet", None, 0.0)
    found = cover(build.vectors(), 0.8, priority(build.faces(["face_id", "quality"])))
    ids = np.array(build.faces(["face_id"])["face_id"].to_pylist())
    assert faces_of(tmp_path / "m.parquet") == set(ids[found.representative])
    assert metadata_of(tmp_path / "m.parquet")["threshold"] == 0.8


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.sampled_from(["country = 'de'", "v.quality > 3", "quality >= 0.5 and track = 0", "true"]))
def test_filters_compose_with_size_and_redundancy(build: Build, tmp_path: Path, limit: int, where: str):
    first = candidates(build, Criteria(filters=Filters(where="video_id = 'v03'"))).cut(
        tmp_path / "first.parquet", 5, 0.0
    )
    filters = Filters(where=where, max_per_identity=limit, identities_not_in=first.path)
    found = candidates(build, Criteria(filters=filters))
    assert found.among is not None
    identity = dict(zip(*(build.clusters("identity")[c].to_pylist() for c in ("face_id", "cluster")), strict=True))
    taken = {identity[face] for face in faces_of(first.path)}
    passing = set(np.array(found.ids.to_pylist())[matching(build, where)].tolist())
    size = max(1, found.layout.clusters // 2)
    for share in (0.0, 0.25):
        try:
            info = found.cut(tmp_path / "m.parquet", size, share)
        except UsageError as error:
            assert "cannot be had" in str(error)
            continue
        faces = faces_of(info.path)
        assert len(faces) == size and info.metadata.unique == clusters_wanted(size, share)
        assert faces <= passing
        assert not {identity[face] for face in faces} & taken
        counts = np.unique([identity[face] for face in faces], return_counts=True)[1]
        assert counts.max() <= limit
        assert info.metadata.where == where


def test_a_condition_is_sql_over_face_and_video_columns(build: Build):
    faces = build.faces(["video_id", "quality", "track"]).to_pylist()
    number = {f"v{v:02d}": v for v in range(12)}
    cases = {
        "quality > 0.5": [r["quality"] > 0.5 for r in faces],
        "v.quality > 5 and track < 2": [number[r["video_id"]] > 5 and r["track"] < 2 for r in faces],
        "title = 'it''s' or country = 'de'": [True for r in faces],
        "uploader = 'x'": [False for r in faces],
        "video_id in ('v01', 'v02') -- the two": [r["video_id"] in ("v01", "v02") for r in faces],
    }
    for where, wanted in cases.items():
        assert matching(build, where).tolist() == wanted, where


@pytest.mark.parametrize(
    "where",
    [
        "qualty > 0.5",
        "quality >",
        "'text'",
        "",
        "true); drop table faces; select (1",
        "video_id in (select * from read_csv('/etc/passwd'))",
        "(select count(*) from read_text('/etc/passwd')) > 0",
        "true; attach 'x.db'",
        "length(getenv('HOME')) > 0",
        "\x00",
    ],
)
def test_conditions_that_are_none_are_refused_in_one_line(build: Build, where: str):
    with pytest.raises(UsageError) as error:
        matching(build, where)
    assert "--where" in str(error.value) and "\n" not in str(error.value)


def test_wrong_wishes_are_refused_in_one_line(build: Build, tmp_path: Path):
    found = candidates(build)
    other = tmp_path / "other.parquet"
    pq.write_table(
        pq.read_table(build.path / "videos.parquet").rename_columns(
            ["face_id" if n == "video_id" else n for n in build.videos.column_names]
        ),
        other,
    )
    for wish in (
        lambda: found.cut(tmp_path / "x.parquet", 0, 0.5),
        lambda: found.cut(tmp_path / "x.parquet", 10, 1.0),
        lambda: found.cut(tmp_path / "x.parquet", 10, -0.1),
        lambda: found.cut(tmp_path / "x.parquet", 10, float("nan")),
        lambda: found.cut(tmp_path / "x.parquet", 100_000, "natural"),
        lambda: candidates(build, Criteria(space="nowhere")),
        lambda: candidates(build, Criteria(threshold=1.5)),
        lambda: candidates(build, Criteria(filters=Filters(where="false"))),
        lambda: candidates(build, Criteria(filters=Filters(max_per_identity=0))),
        lambda: candidates(build, Criteria(filters=Filters(identities_not_in=tmp_path / "none.parquet"))),
        lambda: candidates(build, Criteria(filters=Filters(identities_not_in=other))),
    ):
        with pytest.raises(UsageError) as error:
            wish()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "x.parquet").exists()


def faces_of(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["face_id"])["face_id"].to_pylist())


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_command_lists_what_can_be_had(
    build: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(sys, "argv", ["curate", "manifest", str(build.path), "--list", "--size", "150"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr().out
    layout = candidates(build).layout
    assert stopped.value.code == 0 and f"300 faces in {layout.clusters:,} clusters" in shown
    low, high = redundancies(layout, 150)
    assert f"{low:g} to {high:g}" in shown and f"1 to {layout.clusters:,}" in shown


def test_a_balanced_manifest_has_every_bin_that_it_can(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    laid = candidates(build, Criteria(balance=("yaw", "identity")))
    plain = candidates(build)
    size = laid.layout.clusters // 3
    even, natural = laid.cut(tmp_path / "even.parquet", size, 0.0), plain.cut(tmp_path / "plain.parquet", size, 0.0)
    person = np.asarray(build.clusters("identity")["cluster"])
    place = {face: row for row, face in enumerate(build.faces(["face_id"])["face_id"].to_pylist())}

    def people(path: Path) -> int:
        return len({int(person[place[face]]) for face in faces_of(path)})

    assert even.metadata.balance == "yaw,identity" and even.metadata.unique == size
    assert people(even.path) > people(natural.path)
    said = re.search(r"--balance yaw,identity: (\d+) bins, (\d+) gave all their clusters", capsys.readouterr().err)
    assert said and int(said[1]) >= int(said[2])
    unknown = candidates(build, Criteria(balance=("mouth_open",)))
    none = build.faces(["mouth_open"])["mouth_open"].null_count
    assert f"{none} of 300 faces have no mouth_open; they are a bin of their own" in capsys.readouterr().err
    assert unknown.layout.clusters == laid.layout.clusters
    videos = len(np.unique(np.asarray(build.faces(["video_id"])["video_id"])))
    for name in ("size", "track", "shot"):
        spread = candidates(build, Criteria(balance=(name,)))
        assert spread.bins is not None and spread.layout.clusters == laid.layout.clusters
        assert name == "size" or len(np.unique(spread.bins)) >= videos
    for wrong in ("nowhere", "bbox"):
        with pytest.raises(UsageError, match=f"--balance {wrong}: no such column"):
            candidates(build, Criteria(balance=(wrong,)))
    with pytest.raises(UsageError, match="give --redundancy"):
        laid.cut(tmp_path / "m.parquet", 5, "natural")
