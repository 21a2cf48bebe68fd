from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate import cli, recipe
from curate.errors import BuildError, UsageError
from curate.run.build import BuildOutcome as Built
from curate.run.build import build
from curate.run.cluster import Executor
from curate.stages import scene
from tests.conftest import SHARED
from tests.run import clips
from tests.run.conftest import SETTINGS

PIPELINES = Path(__file__).parents[2] / "pipelines"
OPTIONS = ["--fps", "5", "--size", "6", "--redundancy", "0", "--redundancy", "0.5"]


def contents(out: Path) -> dict[str, str]:
    """Every Parquet file's bytes; none of these tests downloads, so `retrieved_at` is null throughout."""
    paths = sorted(out.rglob("*.parquet"))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def stamps(out: Path) -> dict[str, int]:
    files = [path for path in out.rglob("*") if path.is_file() and "work" not in path.parts]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files}


def test_every_source_has_a_row_and_every_failure_a_reason(whole: Built) -> None:
    rows = whole.build.videos.to_pylist()
    assert [(row["source"], row["status"]) for row in rows] == [
        ("astronaut.mp4", "ok"),
        ("people.mp4", "ok"),
        ("again.mp4", "duplicate"),
        ("grey.mp4", "no_faces"),
        ("cut.mp4", "failed"),
        ("noise.mp4", "failed"),
        ("empty.mp4", "failed"),
        ("missing.mp4", "failed"),
    ]
    assert rows[2]["duplicate_of"] == rows[0]["video_id"]
    assert all((row["error"] is not None) == (row["status"] == "failed") for row in rows)
    assert rows[7]["error_kind"] == "not_found"
    assert [row["batch"] for row in rows] == list("12345678")
    assert rows[0]["title"] == "<script>alert(1)</script>" and rows[0]["license"] == "CC0"


def test_parts_that_are_no_stage_are_timed(whole: Built) -> None:
    spent = whole.build.info.seconds
    assert min(spent["start"], spent["waiting"], spent["packing"]) > 0


def test_a_manifest_that_cannot_be_had_is_foretold_and_scripts_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=2)
    command = ["curate", "build", "--source", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "b"), "--workers=1"]
    monkeypatch.setattr(sys, "argv", [*command, "--set", "embed.identity=false", "--size", "50"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert "50 faces: the list has" in said.split("videos:")[0] and "cannot be had" in said


def test_the_build_keeps_the_contract(whole: Built, shared: Path) -> None:
    checked = subprocess.run(
        [sys.executable, SHARED / "check_build.py", whole.build.path], capture_output=True, text=True, check=False
    )
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == [], checked.stdout + checked.stderr


def test_faces_follow_the_list_and_vectors_follow_the_faces(whole: Built) -> None:
    faces = whole.build.faces(["face_id", "video_id", "frame", "scene"])
    assert {len(view) for view in faces["scene"].to_pylist()} == {scene.SIDE**2}
    order = {row: i for i, row in enumerate(whole.build.videos["video_id"].to_pylist())}
    keys = [(order[row["video_id"]], row["frame"], row["face_id"]) for row in faces.to_pylist()]
    assert keys == sorted(keys) and len(keys) > 10
    for space in whole.build.spaces:
        assert whole.build.embeddings(space)["face_id"] == faces["face_id"]
        assert np.allclose(np.linalg.norm(whole.build.vectors(space).astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_second_run_touches_nothing(listed: Path, whole: Built) -> None:
    before = stamps(whole.build.path)
    again = build(str(listed), whole.build.path, recipe.load(None, SETTINGS), Executor(2))
    assert stamps(whole.build.path) == before and again.ran == []


def test_one_worker_and_a_growing_list_make_the_same_bytes(listed: Path, whole: Built, tmp_path: Path) -> None:
    shorter = listed.with_name("shorter.csv")
    lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    shorter.write_text("".join([lines[0], lines[2], *lines[4:]]), encoding="utf-8")
    out = tmp_path / "grown"
    build(str(shorter), out, recipe.load(None, SETTINGS), Executor(1))
    build(str(listed), out, recipe.load(None, SETTINGS), Executor(1))
    assert contents(out) == contents(whole.build.path)
    assert (out / "redundancy.json").read_bytes() == (whole.build.path / "redundancy.json").read_bytes()
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_changed_recipe_redoes_only_what_follows_from_it(listed: Path, whole: Built, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole.build.path, out)
    before = stamps(out)
    changed = build(str(listed), out, recipe.load(None, SETTINGS | {"dedupe.threshold": 0.95}), Executor(1))
    after = stamps(out)
    kept = {name for name in before if after.get(name) == before[name]}
    assert {name for name in before if name.startswith(("faces/", "embeddings/"))} <= kept
    assert "clusters/appearance.parquet" not in kept and "clusters/identity" not in changed.ran
    fresh = build(
        str(listed), tmp_path / "fresh", recipe.load(None, SETTINGS | {"dedupe.threshold": 0.95}), Executor(2)
    )
    assert contents(out) == contents(fresh.build.path)


def test_a_file_whose_bytes_change_is_read_again(listed: Path, whole: Built, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(listed.parent, folder)
    one = folder / "one.txt"
    one.write_text("astronaut.mp4\n", encoding="utf-8")
    out = tmp_path / "b"
    build(str(one), out, recipe.load(None, {"fps": 5}), Executor(1))
    first = contents(out)
    shutil.copy(folder / "people.mp4", folder / "astronaut.mp4")
    build(str(one), out, recipe.load(None, {"fps": 5}), Executor(1))
    assert contents(out) != first
    os.utime(folder / "astronaut.mp4")  # touched, not changed
    second = contents(out)
    build(str(one), out, recipe.load(None, {"fps": 5}), Executor(1))
    assert contents(out) == second


def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(listed: Path, whole: Built, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "curate", "build", "--source", listed, "--out", out, "--workers", "2", *OPTIONS]
    moments = random.Random(7)
    for _ in range(3):
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moments.uniform(2, 9))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(whole.build.path)
    assert not list(out.rglob(".part-*")) and not (out / "work" / "pieces").exists()


def test_a_cluster_that_exists_does_the_same_work(listed: Path, whole: Built, tmp_path: Path) -> None:
    out = tmp_path / "cluster"
    start = [sys.executable, PIPELINES / "cluster.py", "local", "--workers", "2", "--"]
    done = subprocess.run(
        [*start, "--source", listed, "--out", out, *OPTIONS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "dashboard: http" in done.stderr
    assert contents(out) == contents(whole.build.path)


def test_nothing_to_read_and_no_face_anywhere_are_told(listed: Path, tmp_path: Path) -> None:
    folder = listed.parent
    with pytest.raises(BuildError, match="no source could be read"):
        build(str(folder / "noise.mp4"), tmp_path / "a", recipe.BuildRecipe(), Executor(1))
    with pytest.raises(BuildError, match="no face anywhere"):
        build(str(folder / "grey.mp4"), tmp_path / "b", recipe.BuildRecipe(), Executor(1))


def test_folders_that_hold_something_else_are_left_alone(listed: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("keep")
    with pytest.raises(UsageError, match="not a build"):
        build(str(listed), mine, recipe.BuildRecipe(), Executor(1))
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]
    with pytest.raises(UsageError, match="is a file"):
        build(str(listed), mine / "diary.txt", recipe.BuildRecipe(), Executor(1))


def test_hugging_face_datasets_shows_the_pictures(
    whole: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = [str(path) for path in whole.build.face_files()]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded[0]["image"].size == (224, 224) and len(loaded) == whole.build.faces(["face_id"]).num_rows


@pytest.mark.parametrize("name", ["quick_look", "thorough", "cluster"])
def test_every_shipped_recipe_runs(name: str, tmp_path: Path) -> None:
    chosen = recipe.load(PIPELINES / f"{name}.yaml", {"fetch.sleep_s": 0, "embed.identity": False})
    clip = tmp_path / "short.mp4"
    clips.write(clip, clips.astronaut(), frames=4)
    outcome = build(str(clip), tmp_path / name, chosen, Executor(1))
    assert outcome.build.info.counts.faces > 0
    assert bool(outcome.refused) == (name == "thorough")  # a million faces are not in one clip, and it says so


def test_failures_are_left_alone_until_asked_for(listed: Path, whole: Built, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(whole.build.path, out)
    before = stamps(out)
    assert not (out / "work" / "pieces").exists()
    build(str(listed), out, recipe.load(None, SETTINGS), Executor(1))
    assert stamps(out) == before and not (out / "work" / "pieces").exists()  # nothing was worked on
    with pytest.raises(UsageError, match="not_found"):
        build(str(listed), out, recipe.load(None, SETTINGS), Executor(1), retry="nonsense")
    retried = build(str(listed), out, recipe.load(None, SETTINGS), Executor(1), retry="all")
    assert pq.read_table(out / "videos.parquet").equals(pq.read_table(whole.build.path / "videos.parquet"))
    assert retried.build.info.content_hash == whole.build.info.content_hash


def test_verify_proves_the_build_and_finds_what_was_changed(
    listed: Path,
    whole: Built,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "b"
    shutil.copytree(whole.build.path, out)

    def verify(*options: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["curate", "verify", str(out), *options])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().out

    status, told = verify("--sources")
    assert status == 0 and "all holds" in told and "same: astronaut.mp4" in told
    face_file = sorted((out / "faces").iterdir())[0]
    data = bytearray(face_file.read_bytes())
    data[len(data) // 2] ^= 1
    face_file.write_bytes(data)
    status, told = verify()
    assert status == 1 and face_file.name in told
