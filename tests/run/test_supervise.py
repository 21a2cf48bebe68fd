"""Children that hang, crash or are ended, and what becomes of their sources and of those beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from curate.errors import ErrorKind, StorageError
from curate.hardware import GPU_MASK, GPU_PROCESS
from curate.heartbeat import DECODE, FACES, FETCH, Pulse
from curate.records import Source
from curate.run import cluster, supervise, watched_child
from curate.run.gpus import Gpus
from curate.run.supervise import Job, Pending, Report
from curate.run.watched_child import Crashed, Deadlines, Ended, Unfit, Verdict, Watch
from curate.storage.build import Build
from curate.storage.ledger import Ledger
from tests.run import clips, faulty

KEYS = Deadlines(stall_s=10, base_s=100, per_s=5, min_rate=1000)


class Clock:
    """A clock that is set by hand, in place of the module's."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("pulse", "every_s", "until_s", "kind", "words"),
    [
        (Pulse(FETCH), 11, 11, ErrorKind.NETWORK, "no block of bytes was received for 10 s"),
        (Pulse(DECODE), 11, 11, ErrorKind.DAMAGED, "no frame was decoded for 10 s"),
        (Pulse(FACES), 11, 99, None, ""),
        (Pulse(FACES), 301, 301, ErrorKind.DAMAGED, "no frame"),
        (Pulse(FETCH, bytes=500), 1, 11, ErrorKind.NETWORK, "bytes a second, less than"),
        (Pulse(FETCH, bytes=50_000), 1, 40, None, ""),
        (Pulse(DECODE, duration_s=10), 1, 149, None, ""),
        (Pulse(DECODE, duration_s=10), 1, 151, ErrorKind.DAMAGED, "took more than 150 s"),
    ],
)
def test_the_clock_of_a_source(
    pulse: Pulse, every_s: int, until_s: int, kind: ErrorKind | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(watched_child, "time", clock)
    watch = Watch(KEYS)
    watch.start()
    watch.see(pulse)
    while clock.now < until_s:
        clock.now += every_s
        if clock.now <= until_s and every_s == 1:
            watch.see(pulse)
    found = watch.verdict()
    assert (found.kind if found else None) == kind
    assert found is None or words in found.message


@pytest.mark.parametrize(
    ("worker", "gpus", "seen"),
    [
        (0, Gpus(2), "4"),
        (3, Gpus(2, Path("/s")), "7"),
        (3, Gpus(0), "4,7"),
        ("tcp://10.0.0.1:4000", Gpus(2), "4,7"),
    ],
)
def test_children_of_local_workers_take_the_visible_gpus_in_turn(
    worker: object, gpus: Gpus, seen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(GPU_MASK, "4,7")
    monkeypatch.setenv(GPU_PROCESS, "")
    monkeypatch.setattr(watched_child, "_child", None)
    monkeypatch.setattr(cluster, "worker_name", lambda: worker)
    monkeypatch.setattr(cluster, "say_from_worker", lambda message: None)
    environments = []

    def take(item: Pending, job: Job, hear: object) -> Report:
        place, until = Path(f"/proc/{watched_child.child().pid}/environ"), time.monotonic() + 30
        while not (environment := place.read_text()) and time.monotonic() < until:  # empty while the program is loaded
            time.sleep(0.01)
        environments.append(environment.split("\0"))
        watched_child.child().end()
        return Report(Ended("seen"))

    monkeypatch.setattr(supervise, "take", take)
    source = Source("v", "a.mp4", "a.mp4", None, None)
    for _ in range(2):  # and a child that takes its place
        supervise.work(Pending(source, "", None), Job(b"", KEYS, (tmp_path, ""), gpus))
    assert all(f"{GPU_MASK}={seen}" in environment for environment in environments) and len(environments) == 2
    shared = "/s/gpu-1" if gpus.processes else ""
    assert all(f"{GPU_PROCESS}={shared}" in environment for environment in environments)


WELL, UNFORESEEN, STOPS = Ended("well"), RuntimeError("ValueError: a fault of ours"), StorageError("the disk is full")


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([Verdict(ErrorKind.DAMAGED, "no frame"), WELL], WELL),  # a machine that stood still for a while
        ([Crashed("SIGSEGV", DECODE), WELL], WELL),
        ([RuntimeError("EncodeError"), WELL], WELL),  # a library that had too little memory, and did not say so
        ([UNFORESEEN, UNFORESEEN], UNFORESEEN),
        ([Unfit("no model"), WELL], WELL),
        ([Unfit("no model"), Unfit("no model")], Unfit("no model")),
        ([UNFORESEEN, OSError(24, "Too many open files")], Ended("[Errno 24] Too many open files")),
        ([Verdict(ErrorKind.NETWORK, "nothing came")], Verdict(ErrorKind.NETWORK, "nothing came")),
        ([STOPS], STOPS),
    ],
)
def test_whose_fault_it_is_that_a_child_failed(
    answers: list[object], outcome: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    careful, tries, given = [], len(answers), iter(answers)
    child = SimpleNamespace(
        ask=lambda request, watch: (careful.append(request[2].careful), next(given))[1], end=lambda: None
    )
    monkeypatch.setattr(supervise, "child", lambda _: child)
    pending = Pending(Source("v", "a.mp4", "a.mp4", None, None), "", None)
    (tmp_path / "nonce").write_text("text")
    found = supervise.take(pending, Job(b"", KEYS, (tmp_path / "nonce", "text")))
    assert found.outcome == outcome and careful == [False, True][:tries]


def test_a_disk_that_may_not_be_written_is_not_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nonce").write_text("text")
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK))
    assert not supervise.shares_disk((tmp_path / "nonce", "text"))


def test_harm_stays_with_the_source_that_does_it(tmp_path: Path) -> None:
    good = tmp_path / "good-0.mp4"
    clips.write(good, clips.astronaut(), frames=2)
    names = ["hang.mp4", "good-1.mp4", "segv.mp4", "poison.mp4", "once.mp4", "good-2.mp4"]
    for name in names:
        shutil.copy(good, tmp_path / name)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(["good-0.mp4", *names]) + "\n")
    out = tmp_path / "out"
    options = ["--set", "stall_s=3", "--set", "embed.identity=false", "--fps", "2", "--workers", "2"]
    command = [sys.executable, "-m", "curate", "build", "--source", listed, "--out", out, *options]
    started = time.monotonic()
    done = subprocess.run(command, env=faulty.environment(tmp_path / "hook"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {row["source"]: row for row in Build(out).videos.to_pylist()}
    assert {name: row["error_kind"] for name, row in rows.items()} == {
        "good-0.mp4": None,
        "good-1.mp4": None,
        "good-2.mp4": None,
        "once.mp4": None,
        "hang.mp4": "damaged",
        "segv.mp4": "damaged",
        "poison.mp4": "other",
    }
    assert "no frame was decoded for 3 s (stall_s), twice" in rows["hang.mp4"]["error"]
    assert "SIGSEGV" in rows["segv.mp4"]["error"]
    assert "2 times while nothing else ran" in rows["poison.mp4"]["error"]
    assert "1 other" in done.stderr and "2 damaged" in done.stderr
    with Ledger(out / "work" / "ledger.sqlite") as ledger:
        assert ledger.suspects() == {}
    assert time.monotonic() - started < 600
