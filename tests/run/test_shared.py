"""A manifest that was shared without pictures is built again elsewhere, and what is not the same is said."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate import cli
from curate.errors import UsageError
from curate.manifests.export import export
from curate.manifests.verify import verify
from curate.run.build import BuildOutcome
from curate.run.shared import rebuild
from curate.storage.build import open_build
from curate.storage.documents import mapping, read_json


def test_another_person_rebuilds_it(
    whole: BuildOutcome,
    listed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built = whole.build
    export(built.path / "manifests" / "natural.parquet", "shared", tmp_path / "shared")
    file = tmp_path / "shared" / "faces.parquet"
    assert "image" not in pq.read_schema(file).names
    for picture in built.pictures(np.arange(3)):
        assert picture not in file.read_bytes()
    for name in ("astronaut.mp4", "people.mp4"):  # of again.mp4 nothing is left
        shutil.copy(listed.parent / name, file.parent / name)
    with (file.parent / "people.mp4").open("ab") as changed:  # other bytes, the same pictures
        changed.write(b"\0\0\0\x08free")
    out = tmp_path / "mine"
    arguments = ["build", "--from-manifest", str(file), "--out", str(out), "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["curate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().out
    assert stopped.value.code == 0
    videos = {one["source"]: one for one in read_json(out / "work/shared.json", mapping, "")["videos"]}
    assert {name: one["state"] for name, one in videos.items()} == {
        "astronaut.mp4": "same", "people.mp4": "changed", "again.mp4": "gone",
    }  # fmt: skip
    assert "gone: again.mp4: 0 of" in said and "same: astronaut.mp4" in said and "changed: people.mp4" in said
    assert all(one["found"] == one["faces"] > 0 for one in videos.values() if one["state"] != "gone")
    mine = open_build(out)
    wanted = list(built.pictures(np.arange(len(built.faces(["face_id"])))))
    found = list(mine.pictures(np.arange(len(mine.faces(["face_id"])))))
    assert set(found) <= set(wanted) and len(found) == sum(one["faces"] for one in videos.values() if one["found"])
    assert len(mine.manifest("shared")) == len(found) and not verify(out)


def test_what_is_no_shared_manifest_is_one_line(whole: BuildOutcome, tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.parquet", "no such file"),
        (whole.build.path / "manifests" / "natural.parquet", "--format shared"),
    ):
        with pytest.raises(UsageError, match=said):
            rebuild(path, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
