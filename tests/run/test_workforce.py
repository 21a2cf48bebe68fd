"""Workers and schedulers that come, go and do not fit, as real processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client, LocalCluster, get_worker

from curate.errors import BuildError, UsageError
from curate.run import cluster, preflight, workforce
from curate.run.build import BuildOutcome, build
from curate.run.cluster import Executor, Flow
from tests.run.test_build import OPTIONS, contents
from tests.run.test_faults import free_port

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


def test_schedulers_and_workers_that_stand_still_are_one_line_soon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workforce, "SAID_S", 0.5)
    monkeypatch.setattr(workforce, "GIVEN_UP_S", 2.0)
    for module in (preflight, workforce):
        monkeypatch.setattr(module, "ANSWER_S", 0.5)
    with dask_processes() as (scheduler, worker, client):
        force = workforce.Workforce(client, None)
        worker.suspend()
        with pytest.raises(UsageError, match=r"worker .*: does not answer"):
            workforce.Workforce(client, preflight.Preflight(preflight.expected(None), (Path("nonce"), "text")))
        scheduler.suspend()
        with pytest.raises(BuildError, match="has not answered for 2 s; see to it and run the same"):
            for _ in range(20):
                force.refresh()
    assert "does not answer; waiting for it for 2 s" in capsys.readouterr().err


@contextmanager
def dask_processes() -> Iterator[tuple[psutil.Popen, psutil.Popen, Client]]:
    """A scheduler and one worker, as processes, and a client."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    address, run = f"tcp://127.0.0.1:{free_port()}", [sys.executable, "-m"]
    scheduler = psutil.Popen([*run, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address], **quiet)
    worker = psutil.Popen([*run, "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"], **quiet)
    try:
        with Client(address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            yield scheduler, worker, client
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def test_a_local_worker_that_stands_still_does_not_keep_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SILENT_S", 3)
    with cluster.Executor(2).connect() as client:
        still, _ = client.run(os.getpid).values()
        psutil.Process(still).suspend()
        found = dict(cluster.stream(client, abs, iter(range(8))))
    assert found == {number: number for number in range(8)} and not psutil.pid_exists(still)


def where(_: int) -> str:
    return str(get_worker().address)


def test_an_item_goes_where_it_can_be_done_while_somebody_is_there(threads: tuple[LocalCluster, Client]) -> None:
    running, client = threads
    running.scale(3)
    client.wait_for_workers(3)
    one = sorted(client.scheduler_info(n_workers=-1)["workers"])[1]
    for places, found in (([one], {one}), (["tcp://10.0.0.1:1"], None)):
        flow = Flow(where=lambda item, places=places: places)
        at = {outcome for _, outcome in cluster.stream(client, where, iter(range(9)), flow=flow)}
        assert at == found if found else at <= set(client.scheduler_info(n_workers=-1)["workers"])


def test_what_needs_the_builds_disk_goes_to_workers_that_see_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sees = {"a": True, "b": False, "c": True, "d": False}
    client = SimpleNamespace(run=lambda *_, workers, **__: {workers[0]: (None, sees[workers[0]])})
    looked = preflight.Preflight(preflight.expected(None), (tmp_path / "nonce", "text"))
    assert not looked.shared and looked.where() is None
    found = [(looked(client, address), looked.where()) for address in sees]  # type: ignore[arg-type]
    assert found == [(None, None), (None, ["a"]), (None, ["a", "c"]), (None, ["a", "c"])] and looked.shared
    assert capsys.readouterr().err.count("it sends its faces back") == 1


def test_what_a_worker_lacks(tmp_path: Path) -> None:
    wanted = preflight.expected(None)
    assert preflight.look(wanted) is None
    other = preflight.Expected(wanted.versions | {"numpy": "0.1"}, None)
    assert "has numpy" in str(preflight.look(other)) and "wanted is 0.1" in str(preflight.look(other))
    unseen = preflight.Expected(wanted.versions, tmp_path / "none.mp4")
    assert "does not see" in str(preflight.look(unseen))


def at_work(driver: int) -> dict[int, psutil.Process]:
    """The workers of a build by pid, once children are forked in which sources are worked on; else none."""
    found: dict[str, dict[int, psutil.Process]] = {"multiprocessing.forkserver": {}, "curate.run.child_server": {}}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                above = process.parent()
                for server, forked in found.items():
                    if above and above.pid != driver and server in " ".join(process.cmdline()):
                        forked[process.pid] = process
    workers, children = found.values()
    return workers if children else {}


def test_workers_killed_twice_change_nothing(listed: Path, whole: BuildOutcome, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "curate", "build", "--source", listed, "--out", out, "--workers", "2", *OPTIONS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    killed: set[int] = set()
    kills = 0
    while process.poll() is None:
        fresh = {pid: worker for pid, worker in at_work(process.pid).items() if pid not in killed}
        if fresh and kills < 2:
            killed |= fresh.keys()
            for worker in fresh.values():
                worker.kill()
            kills += 1
        time.sleep(0.05)
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
