"""A take-down leaves nothing, is whole or not at all, and stays: searched for byte by byte."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate import cli, recipe
from curate.errors import UsageError
from curate.manifests.verify import verify
from curate.run import forget as module
from curate.run.build import BuildOutcome, build
from curate.run.cluster import Executor
from curate.run.forget import Asked, forget
from curate.run.likeness import find_like
from curate.storage.build import Build, open_build
from curate.storage.exchange import beside
from curate.storage.files import sha256_file
from tests.run import clips
from tests.run.conftest import SETTINGS


@pytest.fixture
def built(whole: BuildOutcome, tmp_path: Path) -> Build:
    """A copy of a build of clips, one of which is a copy of another."""
    shutil.copytree(whole.build.path, tmp_path / "build")
    return open_build(tmp_path / "build")


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every byte of a folder: files as they are, and the values of every Parquet file, unpacked."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
        if path.suffix == ".parquet":
            for column in pq.read_table(path, partitioning=None).columns:
                for chunk in column.chunks:
                    yield path, b"".join(bytes(buffer) for buffer in chunk.buffers() if buffer is not None)


def traces(built: Build, ids: set[str]) -> list[bytes]:
    """What faces could be known by: their pictures, and their vectors."""
    names = built.faces(["face_id"])["face_id"].to_pylist()
    rows = np.array([row for row, name in enumerate(names) if name in ids])
    return [*built.pictures(rows), *(row.tobytes() for space in built.spaces for row in built.vectors(space)[rows])]


def assert_gone(folder: Path, wanted: list[bytes]) -> None:
    for path, data in everything(folder):
        assert not [trace[:40] for trace in wanted if trace in data], path


def state(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*.parquet")}


def test_a_source_is_gone_to_the_last_byte_and_stays_away(built: Build, listed: Path) -> None:
    video = built.videos.to_pylist()[1]
    ids = {name for name in built.faces(["face_id"])["face_id"].to_pylist() if name.startswith(video["video_id"])}
    wanted = [b"people.mp4", *(name.encode() for name in ids), *traces(built, ids)]
    faces = built.info.counts.faces
    outcome = forget(built.path, Asked(sources=("people.mp4",)))
    after = open_build(built.path)
    assert set(outcome.plan.face_ids) == ids and after.info.counts.faces == faces - len(ids) > 0
    assert_gone(built.path, wanted)
    assert not verify(built.path) and not beside(built.path).exists()
    assert all(entry["build"] == after.info.content_hash for entry in after.manifests)
    kept = state(built.path)
    again = build(str(listed), built.path, recipe.load(None, SETTINGS), Executor(1))
    assert "people.mp4" not in again.build.videos["source"].to_pylist()
    assert state(built.path) == kept and not verify(built.path)


def test_a_face_is_gone_and_is_not_found_again(built: Build, listed: Path) -> None:
    names = built.faces(["face_id"])["face_id"].to_pylist()
    video_id = built.videos["video_id"][1].as_py()  # of the others there is a copy, whose faces are the same
    ids = set([name for name in names if name.startswith(video_id)][1:5:3])
    wanted = traces(built, ids)
    forget(built.path, Asked(faces=tuple(ids)))
    assert_gone(built.path, wanted)
    left = open_build(built.path).faces(["face_id"])["face_id"].to_pylist()
    assert left == [name for name in names if name not in ids] and not verify(built.path)
    shutil.rmtree(built.path / "work")  # every source is read again from its file
    again = build(str(listed), built.path, recipe.load(None, SETTINGS), Executor(1)).build
    assert again.faces(["face_id"])["face_id"].to_pylist() == left and not verify(built.path)
    assert_gone(built.path, wanted)


@pytest.mark.parametrize("moment", ["_repacked", "concluded"])
def test_a_kill_leaves_the_build_whole(built: Build, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, info = state(built.path), (built.path / "build.json").read_bytes()

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(module, moment, die)
    asked = Asked(sources=("people.mp4",))
    child = multiprocessing.get_context("fork").Process(target=forget, args=(built.path, asked))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert state(built.path) == before and (built.path / "build.json").read_bytes() == info
    monkeypatch.undo()
    if moment == "concluded":
        forget(built.path, asked)
        assert not verify(built.path) and not beside(built.path).exists()


def test_a_photograph_shows_and_asks(
    built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(clips.astronaut()).save(tmp_path / "her.png")
    found = find_like(built, tmp_path / "her.png").faces
    assert {one.source for one in found} == {"astronaut.mp4", "again.mp4"} and found[0].cosine >= found[-1].cosine
    monkeypatch.setattr(sys, "argv", ["curate", "forget", str(built.path), "--like", str(tmp_path / "her.png")])
    monkeypatch.setattr("typer.confirm", lambda text: f"take these {len(found)} faces" not in text)
    before = state(built.path)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and "nothing is changed" in said and "astronaut.mp4: " in said
    assert state(built.path) == before
    sheet = Path(said.split("looked): ")[1].split("\n")[0])
    with Image.open(sheet) as picture:
        assert picture.width >= 96
    shutil.rmtree(sheet.parent)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--threshold", "0.99999"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and f"The most similar has {found[0].cosine:.3f}: a lower --threshold" in said
    assert state(built.path) == before


def test_what_is_not_there_is_one_line_and_changes_nothing(built: Build) -> None:
    before = state(built.path)
    for asked, said in (
        (Asked(sources=("nobody.mp4",)), "--source nobody.mp4"),
        (Asked(videos=("none",)), "--video none"),
        (Asked(faces=("none-1",)), "--face none-1"),
        (Asked(videos=tuple(built.videos["video_id"].to_pylist())), "no face would be left"),
    ):
        with pytest.raises(UsageError, match=said):
            forget(built.path, asked)
    assert state(built.path) == before
