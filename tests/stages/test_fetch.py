from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import av
import fsspec
import numpy as np
import pytest

from curate.errors import ErrorKind, SourceError, UsageError
from curate.recipe import Fetch
from curate.records import Source
from curate.stages import fetch
from curate.stages.fetch_errors import explain, explain_storage
from curate.stages.sources import read_sources, video_id
from curate.storage.files import TEMPORARY, sha256_file

QUICK = Fetch(timeout_s=1.5, retries=0)

HOSTILE = "../../<script>alert('x')</script>\x00 --exec rm"
JSON_LD = {
    "@context": "https://schema.org",
    "@type": "VideoObject",
    "name": "A talk about cells",
    "author": {"@type": "Person", "name": "Ada Example"},
    "uploadDate": "2020-01-02",
    "description": "what is said",
    "thumbnailUrl": "/none.jpg",
}


def page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><meta charset='utf-8'>{head}</head><body>{body}</body></html>".encode()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(10):
            picture = np.full((48, 64, 3), value * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class Server:
    """A web site on localhost; counts what it is asked for."""

    def __init__(self, clip: bytes) -> None:
        self.asked: Counter[str] = Counter()
        self.pages = {
            "/page": page('<video src="/clip.mp4"></video>', "<title>My talk</title>"),
            "/og": page("hello", '<title>Seen</title><meta property="og:video" content="/clip.mp4">'),
            "/hostile": page('<video src="/clip.mp4"></video>', f"<title>{HOSTILE}</title>"),
            "/two": page('<video src="/clip.mp4"></video><video src="/other.mp4"></video>'),
            "/words": page("<p>There is no video on this page.</p>"),
            "/bot": page("Sign in to confirm you're not a bot"),
        }
        self.codes = {"/403": 403, "/404": 404, "/410": 410, "/429": 429, "/500": 500, "/503": 503}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                site.asked[path] += self.command == "GET"
                if path in site.codes:
                    self.send_error(site.codes[path])
                elif path in site.pages:
                    self.answer(site.pages[path], "text/html; charset=utf-8")
                elif path.startswith("/later/") and site.asked[path] > 1:  # it was there when it was looked for
                    self.send_error(int(path[7:10]))
                elif path in ("/clip.mp4", "/other.mp4", "/--exec.mp4") or path.startswith("/later/"):
                    self.answer(clip, "video/mp4")
                elif path == "/plain":
                    self.answer(clip, "application/octet-stream")
                elif path == "/noise.mp4":
                    self.answer(os.urandom(4096), "video/mp4")
                elif path == "/page.mp4":
                    self.answer(site.pages["/words"], "video/mp4")
                elif path == "/huge.mp4":
                    self.send_response(200)
                    self.send_header("Content-Type", "video/mp4")
                    self.send_header("Content-Length", str(10**15))
                    self.end_headers()
                    self.wfile.write(clip)
                elif path == "/cut.mp4":
                    self.send_response(200)
                    self.send_header("Content-Type", "video/mp4")
                    self.send_header("Content-Length", str(len(clip) + 1000))
                    self.end_headers()
                    self.wfile.write(clip)
                elif path == "/slow.mp4":
                    threading.Event().wait(4)
                elif path == "/closed.mp4":
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif path == "/stream.mp4":  # no length
                    self.send_response(200)
                    self.send_header("Content-Type", "video/mp4")
                    self.end_headers()
                    if self.command == "GET":
                        self.wfile.write(clip)
                elif path == "/empty.mp4":
                    self.answer(b"", "video/mp4")
                else:
                    self.send_error(404)

            def answer(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are expected
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        about = json.dumps(JSON_LD | {"contentUrl": f"{self.url}/clip.mp4"})
        self.pages["/jsonld"] = page("", f'<script type="application/ld+json">{about}</script>')


@pytest.fixture
def site(clip: Path) -> Iterator[Server]:
    server = Server(clip.read_bytes())
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def web(url: str) -> Source:
    return Source(video_id(url), url, url)


def local(path: Path) -> Source:
    return Source(video_id(str(path)), str(path), str(path))


def failure(source: Source, folder: Path, settings: Fetch = QUICK) -> SourceError:
    with pytest.raises(SourceError) as raised:
        fetch.fetch(source, settings, folder)
    return raised.value


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("path", ["/clip.mp4", "/stream.mp4", "/plain", "/--exec.mp4", "/clip.mp4?a=1&b=%2e%2e/x"])
def test_a_direct_link_is_downloaded_whole(site: Server, clip: Path, tmp_path: Path, path: str) -> None:
    source = web(site.url + path)
    before = dt.datetime.now(dt.UTC)
    fetched = fetch.fetch(source, QUICK, tmp_path)
    assert fetched.path.read_bytes() == clip.read_bytes()
    assert fetched.content_sha256 == sha256_file(clip)
    assert fetched.path.stem == source.video_id and fetched.path.parent == tmp_path
    assert fetched.title is None
    assert fetched.retrieved_at and abs(fetched.retrieved_at - before) < dt.timedelta(minutes=1)
    assert left_behind(tmp_path) == sorted([fetched.path.name, f"{source.video_id}.json"])


@pytest.mark.parametrize(
    ("path", "title", "uploader"),
    [("/page", "My talk", None), ("/og", "Seen", None), ("/jsonld", "A talk about cells", "Ada Example")],
)
def test_a_page_gives_its_video_and_what_it_says(
    site: Server, clip: Path, tmp_path: Path, path: str, title: str, uploader: str | None
) -> None:
    fetched = fetch.fetch(web(site.url + path), QUICK, tmp_path)
    assert fetched.path.read_bytes() == clip.read_bytes()
    assert fetched.title and title in fetched.title
    assert fetched.uploader == uploader
    assert fetched.webpage_url and fetched.webpage_url.startswith(site.url)


def test_hostile_metadata_is_cleaned_and_names_nothing(site: Server, tmp_path: Path) -> None:
    source = web(site.url + "/hostile")
    fetched = fetch.fetch(source, QUICK, tmp_path / "media")
    assert fetched.title and fetched.title.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["media"]
    assert all(path.name.startswith(source.video_id) for path in (tmp_path / "media").iterdir())


def test_a_second_call_asks_nobody(site: Server, tmp_path: Path) -> None:
    source = web(site.url + "/page")
    first = fetch.fetch(source, QUICK, tmp_path)
    asked = site.asked.total()
    assert fetch.fetch(source, QUICK, tmp_path) == replace(first, bytes_fetched=0)
    assert site.asked.total() == asked
    fetch.fetch(source, QUICK.model_copy(update={"format": "b"}), tmp_path)
    assert site.asked.total() > asked


def test_media_that_is_not_whole_is_fetched_again(site: Server, clip: Path, tmp_path: Path) -> None:
    source = web(site.url + "/clip.mp4")
    path = fetch.fetch(source, QUICK, tmp_path).path
    path.write_bytes(b"cut")
    assert fetch.fetch(source, QUICK, tmp_path).path.read_bytes() == clip.read_bytes()
    (tmp_path / f"{source.video_id}.json").write_text("{")
    assert fetch.fetch(source, QUICK, tmp_path).path.read_bytes() == clip.read_bytes()


def test_forget_leaves_nothing(site: Server, clip: Path, tmp_path: Path) -> None:
    source = web(site.url + "/clip.mp4")
    fetch.fetch(source, QUICK, tmp_path)
    (tmp_path / f"{TEMPORARY}{source.video_id}").mkdir()
    assert fetch.kept_in(tmp_path) == [(source.video_id, clip.stat().st_size)]
    fetch.forget(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [fetch.RULES]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/403", ErrorKind.PRIVATE),
        ("/404", ErrorKind.NOT_FOUND),
        ("/410", ErrorKind.NOT_FOUND),
        ("/429", ErrorKind.RATE_LIMITED),
        ("/500", ErrorKind.NETWORK),
        ("/503", ErrorKind.NETWORK),
        ("/later/403.mp4", ErrorKind.PRIVATE),
        ("/later/404.mp4", ErrorKind.NOT_FOUND),
        ("/later/429.mp4", ErrorKind.RATE_LIMITED),
        ("/later/500.mp4", ErrorKind.NETWORK),
        ("/later/503.mp4", ErrorKind.NETWORK),
        ("/later/522.mp4", ErrorKind.NETWORK),
        ("/slow.mp4", ErrorKind.NETWORK),
        ("/closed.mp4", ErrorKind.NETWORK),
        ("/cut.mp4", ErrorKind.NETWORK),
        ("/huge.mp4", ErrorKind.TOO_LARGE),
        ("/words", ErrorKind.UNSUPPORTED),
        ("/two", ErrorKind.UNSUPPORTED),
    ],
)
def test_failures_have_their_kind(site: Server, tmp_path: Path, path: str, kind: ErrorKind) -> None:
    error = failure(web(site.url + path), tmp_path)
    assert error.kind == kind, error.message
    assert error.message and "\x1b" not in error.message
    assert left_behind(tmp_path) == []


def test_a_download_without_a_length_stops_at_the_limit(site: Server, clip: Path, tmp_path: Path) -> None:
    limit = QUICK.model_copy(update={"max_bytes": clip.stat().st_size // 2})
    assert failure(web(site.url + "/stream.mp4"), tmp_path, limit).kind == ErrorKind.TOO_LARGE


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert failure(web(f"http://127.0.0.1:{port}/a.mp4"), tmp_path).kind == ErrorKind.NETWORK


def test_passing_failures_are_tried_again(site: Server, tmp_path: Path) -> None:
    failure(web(site.url + "/500"), tmp_path, QUICK.model_copy(update={"retries": 1}))
    assert site.asked["/500"] >= 1


def test_cookies_are_sent_and_their_file_is_left_alone(site: Server, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tname\tvalue\n"
    cookies.write_text(text)
    fetch.fetch(web(site.url + "/clip.mp4"), QUICK.model_copy(update={"cookies": cookies}), tmp_path / "media")
    assert cookies.read_text() == text
    with pytest.raises(UsageError, match=r"fetch\.cookies"):
        gone = QUICK.model_copy(update={"cookies": tmp_path / "none.txt"})
        fetch.fetch(web(site.url + "/other.mp4"), gone, tmp_path / "media")


def test_a_local_file_stays_where_it_is(clip: Path, tmp_path: Path) -> None:
    fetched = fetch.fetch(local(clip), QUICK, tmp_path / "media")
    assert fetched.path == clip and fetched.content_sha256 == sha256_file(clip)
    assert fetched.title is None and fetched.retrieved_at is None
    assert not (tmp_path / "media").exists()


def test_local_failures(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure(local(tmp_path / "none.mp4"), tmp_path).kind == ErrorKind.NOT_FOUND
    assert failure(local(tmp_path / ("x" * 5000)), tmp_path).kind == ErrorKind.NOT_FOUND
    assert failure(local(empty / "below.mp4"), tmp_path).kind == ErrorKind.NOT_FOUND
    (tmp_path / "link.mp4").symlink_to("elsewhere.mp4")
    assert "link leads nowhere (elsewhere.mp4)" in failure(local(tmp_path / "link.mp4"), tmp_path).message
    assert failure(local(tmp_path), tmp_path).kind == ErrorKind.UNSUPPORTED
    assert failure(local(tmp_path / "pipe.mp4"), tmp_path).kind == ErrorKind.UNSUPPORTED
    assert failure(local(empty), tmp_path).kind == ErrorKind.DAMAGED


def test_fsspec_urls(clip: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/talks/a talk.mp4", clip.read_bytes())
    source = web("memory://talks/a talk.mp4")
    fetched = fetch.fetch(source, QUICK, tmp_path)
    assert fetched.path == tmp_path / f"{source.video_id}.mp4"
    assert fetched.path.read_bytes() == clip.read_bytes() and fetched.retrieved_at
    assert fetch.fetch(source, QUICK, tmp_path) == replace(fetched, bytes_fetched=0)
    assert failure(web("memory://talks/none.mp4"), tmp_path).kind == ErrorKind.NOT_FOUND
    small = QUICK.model_copy(update={"max_bytes": 100})
    assert failure(web("memory://talks/a talk.mp4?2"), tmp_path, small).kind in (
        ErrorKind.NOT_FOUND,
        ErrorKind.TOO_LARGE,
    )


def test_a_local_file_has_a_stamp(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    assert fetch.stamp(local(copy)) is None
    copy.write_bytes(clip.read_bytes())
    before = fetch.stamp(local(copy))
    os.utime(copy, ns=(1, 1))
    assert fetch.stamp(local(copy)) != before
    assert fetch.stamp(web("https://v.example/a")) == fetch.stamp(web("https://v.example/a"))
    assert fetch.stamp(web("https://v.example/a")) != fetch.stamp(web("https://v.example/b"))
    chained = Source("id", "zip", f"zip://a.mp4::{copy}")
    inside = fetch.stamp(chained)
    copy.write_bytes(b"other")
    assert inside != fetch.stamp(chained) != fetch.stamp(local(copy))


def test_a_source_list_leads_to_its_file(clip: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"{clip.as_uri()}\n")
    (source,) = read_sources(str(listing))
    assert fetch.fetch(source, QUICK, tmp_path).path == clip


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[youtube] x: Sign in to confirm you’re not a bot. Use --cookies", ErrorKind.BOT_CHECK),
        ("[youtube] x: Private video. Sign in if you've been granted access", ErrorKind.PRIVATE),
        ("[youtube] x: Join this channel to get access to members-only content", ErrorKind.PRIVATE),
        ("[youtube] x: Sign in to confirm your age", ErrorKind.PRIVATE),
        ("[youtube] x: Video unavailable. This video has been removed by the uploader", ErrorKind.NOT_FOUND),
        ("[vimeo] x: HTTP Error 429: Too Many Requests", ErrorKind.RATE_LIMITED),
        ("[generic] Unsupported URL: https://a.example", ErrorKind.UNSUPPORTED),
        ("[x] Requested format is not available", ErrorKind.UNSUPPORTED),
        ("This video is DRM protected", ErrorKind.UNSUPPORTED),
        (
            "Unable to download webpage: <urlopen error [Errno -2] Name or service not known> timed out",
            ErrorKind.NETWORK,
        ),
        ("[download] Got error: HTTP Error 503: Service Unavailable", ErrorKind.NETWORK),
        ("This service is temporarily unavailable", ErrorKind.NETWORK),
        ("[download] Got error: HTTP Error 522: <none>", ErrorKind.NETWORK),
        ("[download] Got error: HTTP Error 404: Not Found", ErrorKind.NOT_FOUND),
        ("HTTP Error 400: Bad Request: this video is private", ErrorKind.PRIVATE),
        ("HTTP Error 403: Sign in to confirm you’re not a bot", ErrorKind.BOT_CHECK),
        ("a thing that nobody has seen", ErrorKind.OTHER),
    ],
)
def test_what_sites_answer(text: str, kind: ErrorKind) -> None:
    assert explain(RuntimeError(text)).kind == kind


def test_a_full_disk_is_told() -> None:
    full = OSError(28, "No space left on device")
    assert explain_storage(full).kind == explain(full).kind == ErrorKind.STORAGE
    wrapped = RuntimeError("unable to write data")
    wrapped.__cause__ = full
    assert explain(wrapped).kind == ErrorKind.STORAGE
