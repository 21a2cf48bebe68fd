"""Builds at a URL, against a server that speaks S3."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import cli, open_build
from curate.errors import BuildError, UsageError
from curate.manifests.verify import verify
from curate.storage import remote, schemas
from curate.storage.ledger import Ledger
from curate.storage.manifest import open_manifest
from curate.storage.parquet import write_batches
from curate.storage.remote import remote_build, workplace
from tests.manifests.conftest import write_build
from tests.run import clips

# aiobotocore leaves its connections to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning")


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As on another machine: without the copy."""
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / name))


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["curate", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_build_at_a_url_is_read_and_added_to_from_other_machines(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "s3://bucket/some/build"
    with workplace(url) as folder:
        write_build(folder)
        (folder / "work").mkdir(exist_ok=True)
        (folder / "work" / "lock").touch()
    assert bucket.exists(f"{url}/build.json") and not bucket.exists(f"{url}/work/lock")
    elsewhere(tmp_path, monkeypatch, "second")
    cuts = (f"{url}/manifests/m.parquet", str(tmp_path / "mine.parquet"))
    for there in cuts:
        assert run(monkeypatch, "manifest", url, "--size", "20", "--redundancy", "0", "--out", there) == 0
    for there in cuts:
        found = open_manifest(there)
        assert len(found) == 20 and found.build.rstrip("/") == url
    elsewhere(tmp_path, monkeypatch, "third")
    built = open_build(url)
    assert [entry["name"] for entry in built.manifests] == ["m"] and built.manifest("m").num_rows == 20
    assert not verify(built.path)
    assert not Path("s3:").exists()


def test_a_manifest_is_cut_without_bringing_pictures_or_vectors(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, own = "s3://bucket/some/build", tmp_path / "own"
    with workplace(url) as folder:
        write_build(folder)
        shutil.copytree(folder, own)
        faces = folder / "faces" / "part-00000.parquet"
        table = pq.read_table(faces)
        large = [{"bytes": np.random.default_rng(k).bytes(20_000), "path": None} for k in range(table.num_rows)]
        table = table.set_column(table.column_names.index("image"), "image", pa.array(large, schemas.IMAGE))
        write_batches(faces, table.schema, [table.slice(at, 64) for at in range(0, table.num_rows, 64)])
    elsewhere(tmp_path, monkeypatch, "second")
    for more, there in (([], set()), (["--threshold", "0.7"], {"appearance"})):
        cuts = [tmp_path / "far.parquet", tmp_path / "near.parquet"]
        for build, out in zip((url, str(own)), cuts, strict=True):
            assert run(monkeypatch, "manifest", build, "--redundancy", "0", "--out", str(out), *more) == 0
        assert pq.read_table(cuts[0]) == pq.read_table(cuts[1])
        brought = [path for path in (tmp_path / "second").rglob("*") if path.is_file()]
        assert {path.parent.name for path in brought if "embeddings" in path.parts} == there
        (copy,) = (path for path in brought if path.name == faces.name and path.parent.name == "faces")
        assert 512 * copy.stat().st_blocks < faces.stat().st_size / 4


def test_only_what_differs_travels_and_what_has_gone_goes(bucket: Any, tmp_path: Path) -> None:
    url = "s3://bucket/b"
    with workplace(url) as folder:
        (folder / "faces").mkdir(parents=True)
        (folder / "faces" / "one.parquet").write_text("1")
        (folder / "faces" / "two.parquet").write_text("2")
        (folder / "build.json").write_text("{}")
    first = bucket.info(f"{url}/faces/one.parquet")["LastModified"], bucket.info(f"{url}/build.json")["ETag"]
    with workplace(url) as folder:
        (folder / "faces" / "two.parquet").unlink()
        (folder / "faces" / "three.parquet").write_text("3")
        (folder / "build.json").write_text('{"a": 1}')
    names = {path.rpartition("/")[2] for path in bucket.find(f"{url}/faces")}
    assert names == {"one.parquet", "three.parquet"}
    assert bucket.info(f"{url}/faces/one.parquet")["LastModified"] == first[0]
    assert bucket.cat(f"{url}/build.json") == b'{"a": 1}'


def test_of_two_that_publish_one_is_refused(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://bucket/b"
    first = remote_build(url)
    first.pull()
    first.path.mkdir(parents=True, exist_ok=True)
    (first.path / "build.json").write_text("{}")
    elsewhere(tmp_path, monkeypatch, "second")
    with workplace(url) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.json").write_text('{"theirs": 1}')
    with pytest.raises(BuildError, match="published by another process"):
        first.publish()
    assert bucket.cat(f"{url}/build.json") == b'{"theirs": 1}'


class Interrupted:
    """A file system that does something else before it first puts a file."""

    def __init__(self, system: Any, first: Callable[[], None]) -> None:
        self._system, self._first = system, [first]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def put_file(self, *paths: str) -> None:
        while self._first:
            self._first.pop()()
        self._system.put_file(*paths)


def test_where_two_publish_at_the_same_time_nothing_says_that_it_is_whole(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(folder: Path, whose: str) -> None:
        (folder / "faces").mkdir(parents=True, exist_ok=True)
        (folder / "faces" / "part.parquet").write_text(whose)
        (folder / "build.json").write_text(f'{{"whose": "{whose}"}}')

    url, system = "s3://bucket/b", remote._system
    ours = remote_build(url)
    ours.pull()
    files(ours.path, "ours")
    elsewhere(tmp_path, monkeypatch, "second")

    def theirs() -> None:
        monkeypatch.setattr(remote, "_system", system)
        with workplace(url) as folder:
            files(folder, "theirs")
        assert bucket.exists(f"{url}/build.json")

    monkeypatch.setattr(remote, "_system", lambda url: (Interrupted(system(url)[0], theirs), system(url)[1]))
    with pytest.raises(BuildError, match="another process published there at the same time"):
        ours.publish()
    assert bucket.cat(f"{url}/faces/part.parquet") == b"ours" and not bucket.exists(f"{url}/build.json")


def test_what_cannot_be_reached_is_one_line_before_any_work(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=1)
    monkeypatch.chdir(tmp_path)
    for url in ("s3://no-such-bucket/build", "nonsense://x/build"):
        assert run(monkeypatch, "build", "--source", str(tmp_path / "a.mp4"), "--out", url) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith(f"curate: {url}: ") and "Traceback" not in line
    assert not list(tmp_path.glob("s3*")) and not list(tmp_path.glob("nonsense*"))
    assert run(monkeypatch, "verify", "s3://bucket/nothing") == 2
    assert "curate: s3://bucket/nothing: there is no such folder" in capsys.readouterr().err
    assert run(monkeypatch, "pretrain", "--manifest", "m.parquet", "--out", "s3://bucket/run") == 2
    assert "only builds can be written to a URL" in capsys.readouterr().err


def test_a_build_that_was_stopped_is_looked_at_without_touching_the_bucket(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "s3://bucket/b"
    with workplace(url) as folder:
        write_build(folder)
    published = bucket.find(url, detail=True)
    with pytest.raises(KeyError), workplace(url) as folder:
        raise KeyError  # before it changed anything
    assert open_build(url).info.content_hash
    with pytest.raises(KeyError), workplace(url) as folder:
        with pytest.raises(UsageError, match=f"--out {url}: another curate command is at work there"), workplace(url):
            raise AssertionError
        (folder / "clusters" / "appearance.parquet").unlink()
        with Ledger(folder / "work" / "ledger.sqlite") as ledger:
            ledger.note({"finished": False})
        raise KeyError
    assert run(monkeypatch, "status", url) == 0 and capsys.readouterr().out.startswith("stopped: ")
    for command in ("verify", "redundancy"):
        assert run(monkeypatch, command, url) == 2
        assert f"curate: {url}: a command is at work on it on this machine, or was stopped" in capsys.readouterr().err
    assert {name: found["ETag"] for name, found in bucket.find(url, detail=True).items()} == {
        name: found["ETag"] for name, found in published.items()
    }
    elsewhere(tmp_path, monkeypatch, "second")
    assert (open_build(url).path / "clusters" / "appearance.parquet").is_file()


def test_a_whole_build_goes_to_a_bucket_and_grows_from_another_machine(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=2)
    clips.write(tmp_path / "b.mp4", clips.people(), frames=2)
    (tmp_path / "list.txt").write_text("a.mp4\n")
    url = "s3://bucket/build"
    command = ["build", "--source", str(tmp_path / "list.txt"), "--out", url, "--workers", "1", "--fps", "2"]
    command += ["--set", "embed.identity=false", "--faces", "dlib"]
    assert run(monkeypatch, *command) == 0
    first = open_build(url).info.content_hash
    elsewhere(tmp_path, monkeypatch, "second")
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\n")
    assert run(monkeypatch, *command) == 0
    elsewhere(tmp_path, monkeypatch, "third")
    built = open_build(url)
    assert built.info.content_hash != first and built.info.counts.sources == 2 and not verify(built.path)
    assert run(monkeypatch, "status", url) == 0
    assert run(monkeypatch, "redundancy", url) == 0
    assert f"all of it: {url}/redundancy.json; plots: {url}/report.html" in capsys.readouterr().out
    out = tmp_path / "shards"
    manifest = f"{url}/manifests/unique.parquet"
    assert run(monkeypatch, "export", manifest, "--format", "webdataset", "--out", str(out)) == 0
    assert list(out.glob("*.tar"))
