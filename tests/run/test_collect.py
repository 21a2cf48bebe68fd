from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import open_build, recipe
from curate.cli.options import app
from curate.manifests.filters import matching
from curate.records import Source
from curate.run import collect as collecting
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.supervise import Pending
from tests.run import clips
from tests.stages.test_fetch_part import Site
from tests.stages.test_sources import typed

LARGE = {"fps": 1, "faces.min_size": 64}
"""Searches for large faces alone, which is quick."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which a web server shows it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_form_of_a_location_ends_in_the_build(served: tuple[Path, str]) -> None:
    folder, url = served
    clip = folder / "12:30 a::b.mp4"
    clips.write(clip, clips.astronaut(), frames=1)
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        archive.write(clip, "sub/a.mp4")
    (folder / "a.mp4").symlink_to(clip)
    forms = [
        clip.name,
        clip.as_uri(),
        f"file:{folder}/a.mp4",
        f"file://localhost{folder}/a.mp4",
        f"local://{folder}/a.mp4",
        f"simplecache::file://{folder}/a.mp4",
        f"filecache::file://{folder}/a.mp4",
        f"simplecache::{folder}/a.mp4",
        f"zip://sub/a.mp4::{folder}/clips.zip",
        "zip://sub/a.mp4::clips.zip",
        f"zip://sub/a.mp4::simplecache::file://{folder}/clips.zip",
        f"{url}/a.mp4",
        f"{url}/a.mp4".replace("http", "HTTP"),
    ]
    clips.write(folder / "b.mp4", clips.people()[::2, ::2], frames=1)
    other = (folder / "b.mp4").rename(folder / f"{clip.name}#2")  # as the second time of the first was once called
    listed = folder / "list.txt"
    listed.write_text("\n".join([*forms, clip.name, f"zip://none.mp4::{folder}/clips.zip", other.name]) + "\n")
    rows = build(str(listed), folder / "out", recipe.load(None, LARGE), Executor(2)).build.videos.to_pylist()
    failed = [(row["source"], row["error"]) for row in rows if row["status"] == "failed"]
    assert len({row["content_sha256"] for row in rows[:-2]}) == 1, failed
    assert rows[-2]["error_kind"] == "not_found" and rows[-1]["content_sha256"] != rows[0]["content_sha256"]
    assert len({row["video_id"] for row in rows}) == len(rows)


def test_a_list_of_any_types_reaches_the_build_and_so_does_its_correction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=1)
    listed, out = tmp_path / "list.parquet", tmp_path / "out"
    table = typed(pa.string_view()).append_column("license", pa.array([7, None], pa.int8()))
    pq.write_table(table, listed)
    chosen = recipe.load(None, LARGE)
    first = build(str(listed), out, chosen, Executor(1)).build
    before = first.info.content_hash
    own = table.rename_columns({"faces": "source_faces"}).drop_columns(["source", "license"])
    assert first.videos.select(own.column_names).equals(
        pq.read_table(listed).rename_columns({"faces": "source_faces"}).select(own.column_names)
    )
    assert first.videos["license"].to_pylist() == ["7", None] and first.videos["faces"].to_pylist() == [1, 0]
    assert matching(first, "half > 1 and kind = 'talk' and v.day = DATE '2020-01-01'").tolist() == [True]

    def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be decoded again")

    monkeypatch.setattr(collecting, "collect", refuse)
    pq.write_table(table.drop_columns("half").append_column("speaker", pa.array(["Ada", None])), listed)
    failed_again = build(str(listed), out, chosen, Executor(1))
    assert failed_again.build.videos["speaker"].to_pylist() == ["Ada", None]
    assert "half" not in failed_again.build.videos.column_names
    assert {"videos", "content", "summary", "report"} <= set(failed_again.ran) and "copies" not in failed_again.ran
    assert failed_again.build.info.content_hash != before


def test_ranges_on_a_server_give_the_faces_of_the_same_ranges_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_module("curate.cli")  # its commands
    clips.write(tmp_path / "a.mp4", clips.astronaut())
    site = Site({"a.mp4": (tmp_path / "a.mp4").read_bytes()})
    builds = []
    for name, place in (("here", str(tmp_path)), ("there", site.url)):
        listed = tmp_path / f"{name}.csv"
        listed.write_text(f"source,start,end\n{place}/a.mp4,0.2,0.8\n{place}/a.mp4,0.5,1.1\n")
        command = ["build", "--source", str(listed), "--out", f"{tmp_path}/{name}", "--fps=5", "--workers=1"]
        app([*command, "--set", "faces.min_size=64"], standalone_mode=False)
        builds.append(open_build(tmp_path / name))
    site.http.shutdown()
    site.http.server_close()
    here, there = (one.faces().drop_columns(["face_id", "video_id"]) for one in builds)
    assert len(here) and here.equals(there)
    rows = builds[1].videos.to_pylist()
    assert [row["content_sha256"] for row in rows] == [None, None] and len({row["header_sha256"] for row in rows}) == 1
    assert [row["bytes_fetched"] > 0 for row in rows] == [True, False]
    spans = [
        pq.read_table(build.path / "duplicates.parquet", columns=["spans", "kind"]).to_pylist() for build in builds
    ]
    assert spans[0] == spans[1] and len(spans[0]) == 1
    assert "2 ranges of videos fetched alone" in capsys.readouterr().out


class Moody(http.server.BaseHTTPRequestHandler):
    """A host whose paths say how they fail: `/429x2/a.mp4` answers two requests with 429, then gives the clip."""

    clip = b""
    asked: ClassVar[Counter[str]] = Counter()

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        _, mood, *_ = self.path.split("/")
        Moody.asked[mood] += 1
        status, _, times = mood.partition("x")
        failing = status.isdecimal() and Moody.asked[mood] <= int(times)
        self.send_response(int(status) if failing else 404 if mood == "robots.txt" else 200)
        self.send_header("Content-Type", "video/mp4")
        body = b"" if failing else {"noise": b"noise" * 99}.get(mood, Moody.clip)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_host_in_any_mood(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import_module("curate.cli")  # its commands
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=1)
    Moody.clip = (tmp_path / "a.mp4").read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://ada:secret@127.0.0.1:{server.server_port}"
    moods = ["good", "429x2", "500x1", "noise", "404x99", "503x99"]
    (tmp_path / "list.txt").write_text("\n".join(f"{url}/{mood}/a.mp4" for mood in moods) + "\n")
    chosen = ["--set", "fetch.keep_media=false", "--set", "fetch.retries=2", "--set", "faces.min_size=64"]
    command = ["build", "--source", f"{tmp_path}/list.txt", "--out", f"{tmp_path}/out", "--fps=1", *chosen]
    app(command, standalone_mode=False)
    rows = {row["source"].split("/")[3]: row for row in open_build(tmp_path / "out").videos.to_pylist()}
    kinds = {mood: row["error_kind"] for mood, row in rows.items()}
    assert kinds == dict.fromkeys(moods) | {"noise": "not_video", "404x99": "not_found", "503x99": "network"}
    assert rows["noise"]["content_sha256"] and Moody.asked["503x99"] == 3 and Moody.asked["404x99"] == 1
    media = tmp_path / "out" / "work" / "media"
    assert [path.name for path in media.iterdir()] == ["robots"]
    said = capfd.readouterr().err
    assert "1 network, such as http://ada:***@" in said and "fetch.timeout_s" in said and "1 not_found" in said
    asked = Moody.asked["noise"]
    again = ["--retry", "not_video", "--set", "fetch.retries=0"]
    app([*command, *again], standalone_mode=False)
    assert Moody.asked["noise"] > asked and Moody.asked["503x99"] == 4
    server.shutdown()
    server.server_close()
    texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [text for text in texts if b"secret" in text] and "secret" not in said


def test_a_short_list_of_files_begins_with_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("a", 10), ("b", 30), ("c", 20)):
        (tmp_path / f"{name}.mp4").write_bytes(bytes(size))
    names = [*(str(tmp_path / f"{name}.mp4") for name in "abc"), str(tmp_path / "gone.mp4")]
    waiting = [Pending(Source(name, name, name), "", None) for name in names]
    assert [Path(one.source.location).stem for one in collecting.largest_first(waiting)] == ["b", "c", "a", "gone"]
    remote = [*waiting, Pending(Source("u", "u", "https://example.org/u.mp4"), "", None)]
    assert collecting.largest_first(remote) == remote
    monkeypatch.setattr(collecting, "SHORT", 3)
    assert collecting.largest_first(waiting) == waiting
