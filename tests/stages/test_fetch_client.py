"""Downloads from servers that break off, change their files, refuse, and send pages in place of videos."""

from __future__ import annotations

import email.utils
import http.server
import inspect
import pkgutil
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import yt_dlp
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError

from curate.errors import ErrorKind, SourceError
from curate.recipe import Fetch
from curate.records import Source
from curate.stages import fetch
from curate.stages.fetch_client import seconds_to_wait
from curate.stages.fetch_errors import BY_NAME, is_bot_check
from curate.stages.fetch_limits import wait_s
from curate.stages.fetch_validator import Validator
from curate.stages.sources import video_id

QUICK = Fetch(timeout_s=2, retries=0, robots=False)
OLD, NEW = (random.Random(seed).randbytes(200_000) for seed in (1, 2))
BOT = b"<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"


class Site:
    """A host whose one file breaks off, and may be another one afterwards.

    Attributes:
        files: what is there at the first request, the second, ...; the last from then on.
        cut: bytes after which each answer breaks off; None: never.
        tags: what is said of a file: `etag`, `weak`, `modified`, or nothing.
        ranges: whether the rest of a file can be had; `if_range`: whether the header of that name is heeded.
        answers: (status, headers, body) that come instead, by the number of the request.
        asked: the header `Range` of each request for the file.
    """

    def __init__(self) -> None:
        self.files, self.cut, self.tags, self.ranges, self.if_range = [OLD], 0, ("etag",), True, True
        self.answers: dict[int, tuple[int, dict[str, str], bytes]] = {}
        self.paths: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str | None] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path in site.paths:
                    self.whole(*site.paths[self.path])
                elif self.path.startswith("/clip"):
                    site.asked.append(self.headers.get("Range"))
                    number = len(site.asked)
                    if number in site.answers:
                        self.whole(*site.answers[number])
                    else:
                        self.file(site.files[min(number, len(site.files)) - 1])
                else:
                    self.send_error(404)

            def file(self, data: bytes) -> None:
                told = site.validators(data)
                start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
                condition = self.headers.get("If-Range")
                if not site.ranges or (site.if_range and condition and condition not in told.values()):
                    start = 0
                if start >= len(data):
                    self.whole(416, {}, b"")
                    return
                body = data[start:]
                self.send_response(206 if start else 200)
                for name, value in told.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(len(body)))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                self.wfile.write(body[: site.cut] if site.cut else body)
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

            def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are expected
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def validators(self, data: bytes) -> dict[str, str]:
        mark = f'"{hash(data):x}"'
        told = {"etag": ("ETag", mark), "weak": ("ETag", f"W/{mark}")}
        told["modified"] = ("Last-Modified", email.utils.formatdate(data[0] * 1000, usegmt=True))
        return dict(told[tag] for tag in self.tags)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.http.shutdown()
    site.http.server_close()


def web(url: str) -> Source:
    return Source(video_id(url), url, url)


def failure(source: Source, folder: Path, settings: Fetch = QUICK) -> SourceError:
    with pytest.raises(SourceError) as raised:
        fetch.fetch(source, settings, folder)
    return raised.value


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.stages.fetch_client._CONTINUE_S", 0.01)


@pytest.mark.parametrize("tags", [("etag",), ("modified",), ("weak", "modified"), ("etag", "modified")])
def test_a_download_that_breaks_off_is_continued_as_long_as_it_gets_on(
    site: Site, tmp_path: Path, tags: tuple[str, ...]
) -> None:
    site.cut, site.tags = 30_000, tags
    assert fetch.fetch(web(f"{site.url}/clip.mp4"), QUICK, tmp_path).path.read_bytes() == OLD
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in site.asked if asked]
    assert len(starts) >= 6 and starts == sorted(starts)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".mp4"]


@pytest.mark.parametrize("tags", [("etag",), ("modified",), ("weak",), ("weak", "modified"), ()])
@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("new", [NEW, NEW[:90_000]])
def test_a_file_that_changes_between_tries_is_never_spliced(
    site: Site, tmp_path: Path, tags: tuple[str, ...], if_range: bool, new: bytes
) -> None:
    site.files, site.tags, site.if_range, site.cut = [OLD, OLD, new], tags, if_range, 60_000
    site.answers = {}

    def uncut() -> None:
        while len(site.asked) < 2:
            time.sleep(0.005)
        site.cut = 0

    threading.Thread(target=uncut, daemon=True).start()
    try:
        got = fetch.fetch(web(f"{site.url}/clip.mp4"), QUICK, tmp_path).path.read_bytes()
    except SourceError as error:
        assert error.kind == ErrorKind.NETWORK
        got = fetch.fetch(web(f"{site.url}/clip.mp4"), QUICK, tmp_path).path.read_bytes()
    assert got in (OLD, new)


def test_half_a_download_is_continued_by_a_later_call_if_it_is_of_the_same_format(site: Site, tmp_path: Path) -> None:
    source = web(f"{site.url}/clip.mp4")
    site.cut, site.answers = 60_000, dict.fromkeys((3, 6), (500, {}, b""))
    assert failure(source, tmp_path).kind == ErrorKind.NETWORK
    half = fetch.received(source, tmp_path)
    assert failure(source, tmp_path).kind == ErrorKind.NETWORK
    assert fetch.received(source, tmp_path) > half > 0
    site.cut = 0
    assert fetch.fetch(source, QUICK, tmp_path).path.read_bytes() == OLD
    assert [asked is None for asked in site.asked] == [True, True, False, True, False, False, True, False]
    assert fetch.received(source, tmp_path) == 0


def test_half_a_download_of_another_file_is_not_continued(site: Site, tmp_path: Path) -> None:
    source = web(f"{site.url}/clip.mp4")
    site.cut, site.answers = 60_000, {3: (500, {}, b"")}
    failure(source, tmp_path)
    (half,) = tmp_path.glob(".part-*/*.half")
    half.write_text(half.read_text().replace('"key": "', '"key": "0'))
    site.cut = 0
    assert fetch.fetch(source, QUICK, tmp_path).path.read_bytes() == OLD
    assert site.asked[-1] is None


def test_a_tail_that_is_all_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    source = web(f"{site.url}/clip.mp4")
    site.cut, site.answers = 60_000, {3: (500, {}, b"")}
    failure(source, tmp_path)
    (part,) = tmp_path.glob(".part-*/*.part")
    part.write_bytes(OLD)
    site.cut = 0
    assert fetch.fetch(source, QUICK, tmp_path).path.read_bytes() == OLD
    assert fetch.kept_bytes(source, tmp_path) == len(OLD)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((403, {}, b""), ErrorKind.NETWORK),
        ((429, {"Retry-After": "7"}, b""), ErrorKind.RATE_LIMITED),
        ((200, {}, BOT), ErrorKind.BOT_CHECK),
        ((200, {}, b"<html>Log in</html>"), ErrorKind.NETWORK),
        ((404, {}, b""), ErrorKind.NOT_FOUND),
    ],
)
def test_what_comes_in_the_middle_of_a_download(
    site: Site, tmp_path: Path, answer: tuple[int, dict[str, str], bytes], kind: ErrorKind
) -> None:
    source = web(f"{site.url}/clip.mp4")
    site.cut, site.answers = 60_000, dict.fromkeys(range(3, 9), answer)
    error = failure(source, tmp_path)
    assert error.kind == kind, error.message
    assert error.retry_after_s == (7 if kind == ErrorKind.RATE_LIMITED else None)
    assert (fetch.received(source, tmp_path) > 0) == kind.passing


def test_pages_that_come_in_place_of_a_video(site: Site, tmp_path: Path) -> None:
    site.paths = {
        "/page": (200, {}, b'<html><video src="/not.mp4"></video></html>'),
        "/not.mp4": (200, {}, b"<!DOCTYPE html><html>Home</html>"),
        "/bot.mp4": (200, {}, BOT),
        "/typed.mp4": (200, {"Content-Type": "video/mp4"}, BOT),
        "/loop": (302, {"Location": "/loop"}, b""),
        "/cloud": (403, {"cf-mitigated": "challenge"}, b""),
        "/words": (200, {}, b"<html>a recipe for cake</html>"),
        "/later": (503, {"Retry-After": email.utils.formatdate(time.time() + 9000, usegmt=True)}, b""),
    }
    found = {path: failure(web(site.url + path), tmp_path) for path in site.paths}
    assert {path: error.kind for path, error in found.items()} == {
        "/page": ErrorKind.NOT_VIDEO,
        "/not.mp4": ErrorKind.UNSUPPORTED,
        "/bot.mp4": ErrorKind.BOT_CHECK,
        "/typed.mp4": ErrorKind.BOT_CHECK,
        "/loop": ErrorKind.UNSUPPORTED,
        "/cloud": ErrorKind.BOT_CHECK,
        "/words": ErrorKind.UNSUPPORTED,
        "/later": ErrorKind.NETWORK,
    }
    assert "redirect loop" in found["/loop"].message
    assert 1000 < (found["/later"].retry_after_s or 0) <= 9000


def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy = f"http://ada:secret@127.0.0.1:{free.getsockname()[1]}"
    error = failure(web("http://v.example/a.mp4"), tmp_path, QUICK.model_copy(update={"proxy": proxy}))
    assert error.kind == ErrorKind.NETWORK and "proxy" in error.message.lower() and "secret" not in error.message


def test_robots_are_heeded_for_direct_links_and_asked_once(site: Site, tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /clip-closed\n\nUser-agent: curate\nDisallow: /clip-for-others\n"
    site.paths = {
        "/robots.txt": (200, {"Content-Type": "text/plain"}, rules),
        "/page": (200, {}, b'<html><video src="/clip-closed.mp4"></video></html>'),
    }
    polite = QUICK.model_copy(update={"robots": True})
    fetch.fetch(web(f"{site.url}/clip-closed.mp4"), polite, tmp_path)  # a rule for curate stands above that for all
    assert failure(web(f"{site.url}/clip-for-others.mp4"), tmp_path, polite).kind == ErrorKind.PRIVATE
    site.paths["/robots.txt"] = (500, {}, b"")
    assert "fetch.robots" in failure(web(f"{site.url}/clip-for-others.mp4"), tmp_path, polite).message
    fetch.fetch(web(f"{site.url}/clip-for-others.mp4"), QUICK, tmp_path)
    fetch.fetch(web(f"{site.url}/page"), polite, tmp_path)
    other = tmp_path / "other"
    assert failure(web(f"{site.url}/clip.mp4"), other, polite).kind == ErrorKind.NETWORK  # nobody knows the rules
    del site.paths["/robots.txt"]
    fetch.fetch(web(f"{site.url}/clip.mp4"), polite, other)


@pytest.mark.parametrize("tag", ["noai", "noindex, NoImageAI", "curate: noai"])
def test_files_that_are_not_for_training_are_left_alone(site: Site, tmp_path: Path, tag: str) -> None:
    headers = {"Content-Type": "video/mp4", "X-Robots-Tag": tag}
    site.paths = {"/a.mp4": (200, headers, OLD), "/b.mp4": (200, headers | {"X-Robots-Tag": "noindex"}, OLD)}
    polite = QUICK.model_copy(update={"robots": True})
    error = failure(web(f"{site.url}/a.mp4"), tmp_path, polite)
    assert error.kind == ErrorKind.PRIVATE and "X-Robots-Tag" in error.message and "fetch.robots" in error.message
    fetch.fetch(web(f"{site.url}/b.mp4"), polite, tmp_path)
    fetch.fetch(web(f"{site.url}/a.mp4"), QUICK, tmp_path)


def test_no_answer_stays_open(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Response] = []
    send = yt_dlp.YoutubeDL.urlopen

    def remembering(client: yt_dlp.YoutubeDL, request: object) -> Response:
        try:
            answers.append(send(client, request))
        except HTTPError as error:
            answers.append(error.response)
            raise
        return answers[-1]

    monkeypatch.setattr(yt_dlp.YoutubeDL, "urlopen", remembering)
    fetch.fetch(web(f"{site.url}/clip.mp4"), QUICK, tmp_path)
    failure(web(f"{site.url}/none.mp4"), tmp_path)
    site.cut, site.answers = 60_000, dict.fromkeys(range(3, 9), (403, {}, b""))
    failure(web(f"{site.url}/clip-2.mp4"), tmp_path)
    assert len(answers) >= 4 and all(answer.closed for answer in answers)


def test_ranges_of_a_video_share_its_file(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/clip.mp4"
    first = fetch.fetch(Source("a", f"{url}#t=1", url, start_s=1.0), QUICK, tmp_path)
    asked = len(site.asked)
    again = fetch.fetch(Source("b", url, url, end_s=2.0), QUICK, tmp_path)
    assert again == replace(first, bytes_fetched=0) and len(site.asked) == asked


@given(st.text())
def test_any_retry_after_is_read(text: str) -> None:
    assert (seconds_to_wait(text) or 0) >= 0


def test_waiting_grows_and_differs() -> None:
    assert max(wait_s(0) for _ in range(50)) < min(wait_s(4) for _ in range(50))
    assert len({wait_s(3) for _ in range(9)}) > 1 and max(wait_s(40) for _ in range(9)) <= 45
    assert seconds_to_wait("120") == 120 and seconds_to_wait(None) is None
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_validators() -> None:
    known = Validator('"a"', None, 10)
    assert known.agrees(Validator('"a"', "x", 10)) and not known.agrees(Validator('"b"', None, 10))
    assert not known.agrees(Validator('"a"', None, 11)) and known.condition == '"a"'
    assert Validator('W/"a"', "then", 1).condition == "then" and Validator('W/"a"').condition is None


def test_every_error_of_yt_dlp_has_a_kind() -> None:
    """New ones must be looked at: they would all be `other`, which is never tried again."""
    found = set()
    for module in pkgutil.walk_packages(yt_dlp.__path__, "yt_dlp."):
        if module.name.startswith(("yt_dlp.extractor.", "yt_dlp.__", "yt_dlp.compat", "yt_dlp.update")):
            continue
        try:
            members = inspect.getmembers(import_module(module.name), inspect.isclass)
        except ImportError:  # needs a package that is not here
            continue
        found |= {
            kind.__name__
            for _, kind in members
            if issubclass(kind, Exception) and kind.__module__.startswith("yt_dlp.") and not is_internal(kind)
        }
    assert found - set(BY_NAME) == set()
    assert len(found) > 25


def is_internal(kind: type) -> bool:
    """Whether it never leaves the module that raises it."""
    return kind.__module__.startswith(("yt_dlp.extractor.", "yt_dlp.update", "yt_dlp.webvtt", "yt_dlp.dependencies"))


@pytest.mark.parametrize("page", ["", "<title>My talk about captcha</title>", "<p>log in to see more</p>"])
def test_common_pages_are_no_bot_checks(page: str) -> None:
    assert not is_bot_check(page)
