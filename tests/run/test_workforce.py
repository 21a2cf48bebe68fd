"""Workers and schedulers that come, go and do not fit, as real processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

from curate.errors import BuildError, UsageError
from curate.run import cluster, preflight, workforce
from curate.run.build import BuildOutcome, build
from curate.run.cluster import Executor, Flow
from curate.run.status import status
from tests.run.test_build import OPTIONS, contents

running_now, most, lock = [0], [0], threading.Lock()


def count_and_wait(_: int) -> None:
    """Notes how many of it run at the same time, in the threads of this process."""
    with lock:
        running_now[0] += 1
        most.append(running_now[0])
    time.sleep(0.25)
    with lock:
        running_now[0] -= 1


@pytest.fixture
def threads() -> Iterator[tuple[LocalCluster, Client]]:
    """A cluster of threads in this process, with one worker."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as running,
        Client(running, set_as_default=False) as client,
    ):
        yield running, client


def test_the_window_follows_the_workers(threads: tuple[LocalCluster, Client]) -> None:
    running, client = threads
    most.clear()
    asked = iter(range(24))
    done = 0
    for _ in cluster.stream(client, count_and_wait, asked, flow=Flow(a_worker=1)):
        done += 1
        if done == 2:
            running.scale(4)
    assert done == 24 and max(most) >= 3


def odd_or_error(number: int) -> int:
    if number % 5 == 0:
        raise ValueError(str(number))
    return 2 * number


def test_results_are_brought_together_each_to_its_item(
    threads: tuple[LocalCluster, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = threads
    gathers = []
    real = Client.gather
    monkeypatch.setattr(Client, "gather", lambda *a, **options: (gathers.append(len(a[1])), real(*a, **options))[1])
    found = {}
    for item, outcome in cluster.stream(client, odd_or_error, iter(range(60)), flow=Flow(a_worker=20)):
        found[item] = str(outcome)
        time.sleep(0.01)  # so that some are done meanwhile
    assert found == {n: str(n if n % 5 == 0 else 2 * n) for n in range(60)}
    assert max(gathers) > 2


def test_items_that_are_not_to_be_had_now_are_asked_for_again(threads: tuple[LocalCluster, Client]) -> None:
    given = iter([1, None, 2, None, None, 3])
    assert sorted(item for item, _ in cluster.stream(threads[1], abs, given)) == [1, 2, 3]


def test_no_workers_and_unfit_ones_are_one_line(
    threads: tuple[LocalCluster, Client], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running, client = threads
    with pytest.raises(UsageError, match=r"worker .*: too small"):
        list(cluster.stream(client, abs, [1], flow=Flow(check=lambda *_: "too small")))
    monkeypatch.setattr(workforce, "SAID_S", 0.1)
    monkeypatch.setattr(workforce, "GIVEN_UP_S", 2.0)
    running.scale(0)
    with pytest.raises(BuildError, match="has had no workers for 2 s; start some"):
        list(cluster.stream(client, abs, [1]))
    assert "has no workers; waiting" in capsys.readouterr().err


def test_what_a_worker_lacks(tmp_path: Path) -> None:
    wanted = preflight.expected(None)
    assert preflight.look(wanted) is None
    other = preflight.Expected(wanted.versions | {"numpy": "0.1"}, None)
    assert "has numpy" in str(preflight.look(other)) and "wanted is 0.1" in str(preflight.look(other))
    unseen = preflight.Expected(wanted.versions, tmp_path / "none.mp4")
    assert "does not see" in str(preflight.look(unseen))


def test_workers_killed_twice_change_nothing(listed: Path, whole: BuildOutcome, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "curate", "build", "--source", listed, "--out", out, "--workers", "2", *OPTIONS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    kills = 0
    while process.poll() is None:
        begun = (out / "work" / "ledger.sqlite").is_file() and status(out)
        if begun and kills < 2 and begun.under_way and begun.done >= 2 * kills:
            for worker in psutil.Process(process.pid).children():
                if "spawn_main" in " ".join(worker.cmdline()):
                    worker.kill()
            kills += 1
            time.sleep(3)
        time.sleep(0.2)
    assert process.returncode == 0, process.communicate()[1]
    process.communicate()
    assert kills == 2
    assert contents(out) == contents(whole.build.path)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a scheduler without workers."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--scheduler-file", file],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for _ in range(600):
            if file.is_file() and file.stat().st_size:
                break
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            yield client.scheduler.address, process
    finally:
        process.kill()
        process.wait()


def test_a_worker_without_curate_and_a_scheduler_that_dies_are_one_line(
    scheduler: tuple[str, subprocess.Popen[str]], listed: Path, tmp_path: Path
) -> None:
    address, process = scheduler
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Without:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'curate':\n"
        "            raise ModuleNotFoundError('No module named curate')\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1)
        with pytest.raises(UsageError, match=r"has no curate that can be used .*pip install curate-faces=="):
            build(listed, tmp_path / "out", executor=Executor(scheduler=address))
    finally:
        worker.kill()
        worker.wait()
    process.kill()
    process.wait()
    with pytest.raises(UsageError, match="no Dask scheduler answers there"):
        build(listed, tmp_path / "out", executor=Executor(scheduler=address))
