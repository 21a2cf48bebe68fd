"""Links that a token, a signature or a password opens: they are fetched, and none of it stands in what is shared."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from curate import cli, recipe
from curate.errors import BuildError
from curate.manifests.export import closed_sources, export
from curate.run.build import BuildOutcome, build
from curate.run.cluster import Executor
from curate.run.shared import rebuild
from tests.run import clips

SECRETS = {"one": "wq7vbn2kzx81", "two": "pl5mkj8yt930", "signed": "zz9signature4711"}


class Closed(http.server.BaseHTTPRequestHandler):
    """Gives the clip that a token names, or that is signed; 403 without."""

    clips: tuple[bytes, bytes] = (b"", b"")

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        which = {SECRETS["one"]: 0, SECRETS["two"]: 1}.get(asked.get("token", ""))
        which = 0 if asked.get("X-Amz-Signature") == SECRETS["signed"] else which
        data = b"" if which is None else self.clips[which]
        self.send_response(200 if data else 404 if "robots" in self.path else 403)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildOutcome]:
    """A build of three such links."""
    folder = tmp_path_factory.mktemp("closed")
    clips.write(folder / "a.mp4", clips.astronaut(), frames=2)
    clips.write(folder / "b.mp4", clips.people(), frames=2)
    Closed.clips = ((folder / "a.mp4").read_bytes(), (folder / "b.mp4").read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v.mp4"
    lines = [f"{url}?token={SECRETS[name]}" for name in ("one", "two")]
    (folder / "list.txt").write_text("\n".join([*lines, f"{url}?X-Amz-Signature={SECRETS['signed']}"]) + "\n")
    chosen = recipe.load(None, {"fps": 5, "fetch.retries": 0})
    yield build(str(folder / "list.txt"), folder / "build", chosen, Executor(1))
    server.shutdown()
    server.server_close()


def held(folder: Path) -> list[Path]:
    """Files that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS.values())]


def test_links_that_differ_by_their_token_alone_are_two_videos_and_no_token_stands_in_the_build(
    closed: BuildOutcome,
) -> None:
    one, two, signed = closed.build.videos.to_pylist()
    assert all(row["faces"] for row in (one, two, signed))
    assert one["content_sha256"] == signed["content_sha256"] != two["content_sha256"]
    assert one["source"] != two["source"] and all("?token=***" in row["source"] for row in (one, two))
    assert signed["source"].endswith("X-Amz-Signature=***")
    assert not held(closed.build.path)


@pytest.mark.parametrize("format_", ["webdataset", "imagefolder", "huggingface", "clips", "shared"])
def test_no_export_holds_one_and_the_command_says_so(
    closed: BuildOutcome,
    format_: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = closed.build.path / "manifests" / "natural.parquet"
    arguments = ["export", str(manifest), "--format", format_, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["curate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 0 and "3 of 3 links are written without" in said.out
    assert "writing faces: " in said.err
    assert not held(tmp_path) and closed_sources(manifest) == (3, 3)


def test_who_rebuilds_without_them_is_told(closed: BuildOutcome, tmp_path: Path) -> None:
    export(closed.build.path / "manifests" / "natural.parquet", "shared", tmp_path / "shared")
    with pytest.raises(BuildError, match=r"3 failed; .*passed on without what opens it"):
        rebuild(tmp_path / "shared" / "faces.parquet", tmp_path / "mine", {"fetch.retries": 0})


def test_what_a_recipe_tells_a_site_is_not_written_down() -> None:
    given = {"youtube": {"po_token": ["web+secret"], "player_client": ["tv"]}}
    written = recipe.load(None, {"fetch.extractor_args": given}).model_dump(mode="json")["fetch"]["extractor_args"]
    assert written == {"youtube": {"po_token": ["***"], "player_client": ["tv"]}}
