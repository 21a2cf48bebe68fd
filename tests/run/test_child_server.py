"""Children that are forked from one loaded process: they live, die and are missed like processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curate.run import child_server, watched_child
from curate.run.watched_child import Child, Ended, Watch
from tests.run.test_supervise import KEYS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux")


def test_children_are_forked_end_and_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_server, "gpu_driver", lambda: False)
    with child_server.serving("no build yet", local=True):
        address = child_server.address()
        assert address is not None
        monkeypatch.setenv("CURATE_SET_LATE", "yes")
        crashed, ended, left = (Child(address) for _ in range(3))
        server = psutil.Process(crashed.pid).parent()
        assert server is not None and server.ppid() == os.getpid()
        assert {psutil.Process(child.pid).ppid() for child in (ended, left)} == {server.pid}
        os.kill(crashed.pid, signal.SIGSEGV)
        assert crashed._process.wait(20) == -signal.SIGSEGV and not crashed.alive
        ended.end()
        assert not ended.alive and left.alive
        assert isinstance(ended.ask(("process",), Watch(KEYS)), Ended)
    assert left.alive and not address.exists()
    left.end()
    assert not left.alive and not psutil.pid_exists(left.pid)
    alone = Child(address)  # the server has gone
    assert psutil.Process(alone.pid).ppid() == os.getpid()
    alone.end()


def test_a_server_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_server, "gpu_driver", lambda: False)
    monkeypatch.setattr(watched_child, "ENDED_S", 0.2)
    with child_server.serving("no build yet", local=True):
        address = child_server.address()
        first = Child(address)
        server = psutil.Process(first.pid).parent()
        assert server is not None
        server.suspend()
        os.kill(first.pid, signal.SIGKILL)
        assert first.ask(("process",), Watch(KEYS)) == Ended("its process was ended")
        with monkeypatch.context() as impatient:
            impatient.setattr(child_server, "ASKED_S", 0.5)
            own = Child(address)
        assert psutil.Process(own.pid).ppid() == os.getpid()
        server.resume()
        last, until = Child(address), time.monotonic() + 60
        while [child.pid for child in server.children()] != [last.pid]:  # the one that comes late ends by itself
            assert time.monotonic() < until
            time.sleep(0.05)
        own.end()
        last.end()


def test_it_goes_with_its_driver() -> None:
    code = (
        "import os\nfrom curate.run import child_server\n"
        "child_server.gpu_driver = lambda: False\nchild_server.start()\n"
        "print(child_server._server._process.pid, child_server.address(), flush=True)\nos.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    until = time.monotonic() + 60
    while (psutil.pid_exists(int(said[0])) or Path(said[1]).parent.exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(said[0])) and not Path(said[1]).parent.exists()
