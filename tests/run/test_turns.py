"""More processes than cores: some fetch while others search faces."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from curate import open_build, recipe
from curate.heartbeat import TURN, listen
from curate.run import turns
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.turns import Turns
from tests.run import clips

HOLD = """
import sys
from pathlib import Path
from curate.run.turns import Turns, turn
with turn(Turns(Path(sys.argv[1]), 1)):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_the_turn_of_a_process_that_dies_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "AGAIN_S", 0.01)
    beats: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"mine\n"

        def hear(pulse: object) -> None:
            beats.append(str(getattr(pulse, "stage", "")))
            if len(beats) == 3:
                other.kill()

        listen(hear)
        try:
            with turns.turn(Turns(tmp_path, 1)):
                assert other.wait() == -9
        finally:
            listen(None)
    assert len(beats) >= 3 and set(beats) == {TURN}


def test_as_many_as_there_are_turns_go_on_and_no_more(tmp_path: Path) -> None:
    waited, done = threading.Event(), threading.Event()

    def third(of: Turns) -> None:
        listen(lambda pulse: waited.set())
        with turns.turn(of):
            done.set()

    with turns.turns(2) as two:
        with turns.turn(two), turns.turn(two):
            waits = threading.Thread(target=third, args=(two,))
            waits.start()
            assert waited.wait(20) and not done.is_set()
        waits.join(20)
    listen(None)
    assert done.is_set()


class Together(http.server.SimpleHTTPRequestHandler):
    """Gives the first video once somebody asks for another one as well."""

    asked: ClassVar[set[str]] = set()
    two = threading.Event()
    late: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path.endswith(".mp4"):
            self.asked.add(self.path)
            if len(self.asked) > 1:
                self.two.set()
            if not self.two.wait(60):
                self.late.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    folder.mkdir()
    for number in range(2):
        clips.write(folder / f"{number}.mp4", clips.astronaut(), frames=3, turn=number)
    handler = type(
        "Here", (Together,), {"__init__": lambda self, *a: Together.__init__(self, *a, directory=str(folder))}
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_with_one_worker_a_second_source_is_fetched_meanwhile(site: str, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{site}/0.mp4\n{site}/1.mp4\n")
    build(str(listed), tmp_path / "b", recipe.load(None, {"fps": 1, "fetch.sleep_s": 0}), Executor(1))
    assert not Together.late
    info = open_build(tmp_path / "b").info
    assert info.counts.videos == 2 and info.seconds["turn"] >= 0
