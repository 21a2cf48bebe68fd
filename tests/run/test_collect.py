from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import recipe
from curate.errors import ErrorKind
from curate.manifests.filters import matching
from curate.records import Source
from curate.run import collect as collecting
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.collect import Breaker
from curate.run.supervise import Pending
from tests.run import clips
from tests.stages.test_sources import typed

# yt-dlp leaves the socket of a download to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")

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


def test_a_host_that_refuses_is_left_alone_and_others_are_not() -> None:
    urls = [f"https://{host}.example/{number}" for number in range(4) for host in ("strict", "kind")]
    todo = [Pending(Source(url, url, url), "", None) for url in [*urls, "/local.mp4"]]
    breaker = Breaker(2)
    asked = []
    for item in breaker.allowed(todo):
        asked.append(item.source.source)
        breaker.see(item.source, ErrorKind.RATE_LIMITED if "strict" in item.source.source else None)
    held = [item.source.source for item in breaker.held_back]
    assert held == ["https://strict.example/2", "https://strict.example/3"]
    assert asked == [url for url in [*urls, "/local.mp4"] if url not in held]
    assert "strict.example refused 2" in breaker.reason(breaker.held_back[0].source)


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
