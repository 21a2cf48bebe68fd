"""Ranges of videos that lie on servers: the same frames and times as from the whole file, for fewer bytes."""

from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ErrorKind, SourceError
from curate.recipe import Fetch
from curate.records import Fetched, Source
from curate.stages import fetch, fetch_part
from curate.stages.decode import open_video
from curate.stages.sources import read_list, video_id

QUICK = Fetch(timeout_s=5, retries=0, robots=False)
SIZE, FRAMES, RATE = (192, 144), 300, 25
ENCODER = {"g": "25", "bf": "2", "b": "1M", "preset": "ultrafast", "x264-params": "log-level=none:bframes=2:b-adapt=0"}


def clip(path: Path, codec: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """12 s with a key frame a second, frames that are shown in another order than they are decoded, and sound."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (SIZE[1] // 4, SIZE[0] // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=RATE, options=ENCODER)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=16_000)
        for number in range(FRAMES):
            moved = np.roll(picture, (number, 2 * number), (0, 1))
            container.mux(video.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
            samples = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 640)).astype(np.float32), "fltp", "mono")
            samples.sample_rate = 16_000
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def copied(source: Path, path: Path, options: dict[str, str]) -> Path:
    """The same pictures in another container."""
    with av.open(str(source)) as read, av.open(str(path), "w", options=options) as container:
        video = container.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    made = {
        "front.mp4": clip(folder / "front.mp4", options={"movflags": "faststart"}),
        "end.mov": clip(folder / "end.mov", codec="mpeg4"),
    }
    made["pieces.mp4"] = copied(made["front.mp4"], folder / "pieces.mp4", {"movflags": "frag_keyframe+empty_moov"})
    made["talk.mkv"] = copied(made["front.mp4"], folder / "talk.mkv", {})
    return {name: path.read_bytes() for name, path in made.items()}


class Site:
    """A web server.

    Attributes:
        ranges: whether it gives parts of files.
        cut: bytes after which each answer but the first breaks off.
        sent: bytes of bodies; asked: the header `Range` of each request.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.ranges, self.cut = dict(files), True, 1 << 30
        self.sent, self.asked = 0, list[str | None]()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                data = site.files.get(self.path.strip("/"))
                if data is None:
                    self.send_error(404)
                    return
                site.asked.append(self.headers.get("Range"))
                first, _, last = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
                part = site.ranges and bool(first)
                start, end = (int(first), min(int(last or len(data)), len(data) - 1)) if part else (0, len(data) - 1)
                self.send_response(206 if part else 200)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(end + 1 - start))
                self.send_header("ETag", f'"{hash(data):x}"')
                if part:
                    self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
                self.end_headers()
                body = data[start : end + 1][: site.cut if part else None]
                if part:
                    site.sent += len(body)
                self.wfile.write(body)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are expected
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def site(clips: dict[str, bytes]) -> Iterator[Site]:
    site = Site(clips)
    yield site
    site.http.shutdown()
    site.http.server_close()


def ranged(url: str, start: float | None, end: float | None) -> Source:
    return Source(video_id(url), url, url, start, end, part=True)


def shown(fetched: Fetched, start: float | None, end: float | None) -> list[Any]:
    """All that a build takes from a range."""
    with open_video(fetched.path, start, end, fetched.spans) as video:
        frames = [(one.index, one.time_s, one.pts, one.instants, one.pixels.tobytes()) for one in video.frames(5.0)]
        return [video.read, *frames]


@pytest.mark.parametrize("name", ["front.mp4", "end.mov"])
@pytest.mark.parametrize(("start", "end"), [(7.3, 9.1), (None, 2.0), (10.5, None)])
def test_a_range_gives_the_frames_of_the_whole_for_fewer_bytes(
    site: Site, tmp_path: Path, name: str, start: float | None, end: float | None
) -> None:
    part = fetch.fetch(ranged(f"{site.url}/{name}", start, end), QUICK, tmp_path / "part")
    whole = tmp_path / name
    whole.write_bytes(site.files[name])
    assert shown(part, start, end) == shown(Fetched(whole, ""), start, end)
    assert part.content_sha256 is None and part.header_sha256 and part.whole_because is None
    assert part.bytes_fetched is not None and part.bytes_fetched <= site.sent < 0.7 * len(site.files[name])
    assert part.path.stat().st_size == len(site.files[name])


def test_ranges_share_what_is_here(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/front.mp4"
    first = fetch.fetch(ranged(url, 3.0, 6.0), QUICK, tmp_path)
    asked = len(site.asked)
    again = fetch.fetch(ranged(url, 4.0, 5.0), QUICK, tmp_path)
    assert again == replace(first, bytes_fetched=0) and len(site.asked) == asked
    more = fetch.fetch(ranged(url, 5.0, 8.0), QUICK, tmp_path)
    assert more.path == first.path and more.header_sha256 == first.header_sha256
    assert shown(more, 3.0, 6.0) == shown(first, 3.0, 6.0)
    assert sum(end - start for start, end in more.spans or ()) == fetch.kept_bytes(ranged(url, 5.0, 8.0), tmp_path)
    site.files["front.mp4"] = site.files["end.mov"]
    other = fetch.fetch(ranged(url, 10.0, 11.0), QUICK, tmp_path)
    assert other.header_sha256 != first.header_sha256
    assert list(tmp_path.glob("*.mp4")) == [other.path]
    whole = fetch.fetch(Source(video_id(url), url, url), QUICK, tmp_path)
    assert whole.content_sha256 and whole.spans is None and whole.path.read_bytes() == site.files["front.mp4"]
    assert fetch.fetch(ranged(url, 1.0, 2.0), QUICK, tmp_path) == replace(whole, bytes_fetched=0)


@pytest.mark.parametrize(
    ("name", "because"), [("pieces.mp4", "fragments"), ("talk.mkv", "only MP4"), ("front.mp4", "no byte ranges")]
)
def test_what_cannot_be_had_in_part_comes_whole_and_says_why(
    site: Site, tmp_path: Path, name: str, because: str
) -> None:
    site.ranges = because != "no byte ranges"
    fetched = fetch.fetch(ranged(f"{site.url}/{name}", 3.0, 4.0), QUICK, tmp_path)
    assert fetched.path.read_bytes() == site.files[name] and fetched.content_sha256
    assert because in (fetched.whole_because or "") and fetched.spans is None
    assert fetched.bytes_fetched == len(site.files[name])
    assert fetch.fetch(ranged(f"{site.url}/{name}", 8.0, 9.0), QUICK, tmp_path).whole_because == fetched.whole_because


def test_the_recipe_and_the_list_decide(site: Site, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"source,start,end\n{site.url}/front.mp4,1,2\n{site.url}/end.mov,1,2\n")
    assert [one.part for one in read_list(str(tmp_path / "list.csv")).sources] == [True, True]
    with (tmp_path / "list.csv").open("a") as file:
        file.write(f"{site.url}/front.mp4,,\n")
    assert [one.part for one in read_list(str(tmp_path / "list.csv")).sources] == [False, True, False]
    always = QUICK.model_copy(update={"only_range": False})
    fetched = fetch.fetch(ranged(f"{site.url}/front.mp4", 3.0, 4.0), always, tmp_path)
    assert fetched.content_sha256 and fetched.whole_because is None


def test_answers_that_break_off_and_files_that_change(site: Site, tmp_path: Path) -> None:
    site.cut = 30_000
    part = fetch.fetch(ranged(f"{site.url}/front.mp4", 7.0, 9.0), QUICK, tmp_path / "cut")
    assert len(site.asked) > 5
    site.cut = 1 << 30
    smooth = fetch.fetch(ranged(f"{site.url}/front.mp4", 7.0, 9.0), QUICK, tmp_path / "smooth")
    assert shown(part, 7.0, 9.0) == shown(smooth, 7.0, 9.0)
    with pytest.raises(SourceError, match="no frame begins") as raised:
        fetch.fetch(ranged(f"{site.url}/front.mp4", 90.0, 91.0), QUICK, tmp_path / "none")
    assert raised.value.kind == ErrorKind.NOT_FOUND
    small = QUICK.model_copy(update={"max_bytes": 100_000})
    with pytest.raises(SourceError, match=r"fetch\.max_bytes") as raised:
        fetch.fetch(ranged(f"{site.url}/front.mp4", 1.0, 11.0), small, tmp_path / "large")
    assert raised.value.kind == ErrorKind.TOO_LARGE

    class Changing(dict[str, bytes]):
        def get(self, name: str, _: object = None) -> bytes:  # type: ignore[override]
            return self[name] if len(site.asked) < 3 else self["end.mov"]

    site.asked, site.files = [], Changing(site.files)
    with pytest.raises(SourceError, match="changed on the server") as raised:
        fetch.fetch(ranged(f"{site.url}/front.mp4", 9.0, 10.0), QUICK, tmp_path / "changed")
    assert raised.value.kind == ErrorKind.NETWORK and not list((tmp_path / "changed").glob("*.mp4"))


def test_a_store_of_fsspec_gives_parts_too(clips: dict[str, bytes], tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/part/front.mp4", clips["front.mp4"])
    part = fetch.fetch(ranged("memory://part/front.mp4", 3.0, 5.0), QUICK, tmp_path)
    whole = fetch.fetch(Source("whole", "memory://part/front.mp4#", "memory://part/front.mp4"), QUICK, tmp_path)
    assert shown(part, 3.0, 5.0) == shown(whole, 3.0, 5.0) and part.bytes_fetched
    assert part.bytes_fetched < 0.7 * len(clips["front.mp4"])
    chained = fetch.fetch(ranged("simplecache::memory://part/front.mp4", 3.0, 5.0), QUICK, tmp_path)
    assert chained.content_sha256 == whole.content_sha256 and "chained" in (chained.whole_because or "")


PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda one: (one[0], one[0] + one[1])))


@given(PAIRS, PAIRS)
def test_spans_are_sets_of_bytes(wanted: list[tuple[int, int]], here: list[tuple[int, int]]) -> None:
    def as_set(spans: Any) -> set[int]:
        return {byte for start, end in spans for byte in range(start, end)}

    merged = tuple(fetch_part._merged(here, 0))
    assert as_set(merged) == as_set(here) and all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    assert as_set(fetch_part._missing(wanted, merged)) == as_set(wanted) - as_set(here)
