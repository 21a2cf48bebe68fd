from __future__ import annotations

import argparse
import asyncio
import errno
import os
import runpy
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType

import pytest
from distributed import batched
from tornado.ioloop import PeriodicCallback

from curate.errors import BuildError, UsageError
from curate.run import cluster, fork_server


@pytest.mark.parametrize(("workers", "items", "started"), [(None, 1, 1), (2, 5, 2), (None, None, 2)])
def test_no_more_processes_than_there_is_work_for(
    workers: int | None, items: int | None, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(cluster, "cores", lambda: 2)

    class Local:
        def __init__(self, n_workers: int, **_: object) -> None:
            asked.append(n_workers)

        def __enter__(self) -> Local:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(cluster, "LocalCluster", Local)
    monkeypatch.setattr(cluster, "Client", lambda local, **_: local)
    with cluster.Executor(workers).connect(items):
        assert asked == [started]


def test_workers_that_cannot_start_are_one_line_with_what_lies_beneath(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(**_: object) -> None:
        try:
            try:
                raise OSError(errno.EMFILE, "Too many open files")
            except OSError:
                raise AttributeError("terminate")  # noqa: B904 - as Dask does
        except AttributeError as error:
            raise RuntimeError("Nanny failed to start.") from error

    monkeypatch.setattr(cluster, "LocalCluster", cannot)
    with (
        pytest.raises(BuildError, match=r"^the 3 worker .*Too many open files.*--workers$"),
        cluster.Executor(3).connect(),
    ):
        raise AssertionError


def test_what_is_no_scheduler_is_one_line_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "GREETED_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        nobody = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        for address, why in ((nobody, "says nothing"), ("tcp://127.0.0.1:1", "Timed out"), ("nonsense", "port number")):
            begun, executor = time.monotonic(), cluster.Executor(scheduler=address)
            with pytest.raises(UsageError, match=f"--scheduler {address}: no Dask .*{why}"), executor.connect():
                raise AssertionError
            assert time.monotonic() - begun < 10


def test_pods_are_asked_for_programs_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def spec_of(worker_command: list[str], **_: object) -> dict[str, object]:
        each = {"worker": [*worker_command, "--name", "it"], "scheduler": ["dask-scheduler", "--host", "0.0.0.0"]}
        return {"spec": {kind: {"spec": {"containers": [{"args": args}]}} for kind, args in each.items()}}

    stand_in = ModuleType("dask_kubernetes.operator")
    stand_in.make_cluster_spec, stand_in.KubeCluster = spec_of, lambda custom_cluster_spec: custom_cluster_spec  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_kubernetes", ModuleType("dask_kubernetes"))
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", stand_in)
    cluster_of = runpy.run_path(str(Path(__file__).parents[2] / "pipelines" / "cluster.py"))["kubernetes"]
    found = cluster_of(argparse.Namespace(image="curate", memory="4GiB"))["spec"]
    programs = Path(sys.executable).parent
    for kind in ("worker", "scheduler"):
        program, command, *_ = found[kind]["spec"]["containers"][0]["args"]
        helped = subprocess.run([programs / program, command, "--help"], capture_output=True, text=True, check=True)
        assert kind in helped.stdout


def test_what_dask_does_now_and_then_goes_on_while_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def calls() -> int:
        seen: list[float] = []
        again = PeriodicCallback(lambda: seen.append(batched.time()), 10)
        again.start()
        await asyncio.sleep(0.05)
        true = time.time()
        monkeypatch.setattr(time, "time", lambda: true - 86_400)
        before = len(seen)
        await asyncio.sleep(0.2)
        again.stop()
        assert seen == sorted(seen) and abs(seen[-1] - true) < 60
        return len(seen) - before

    assert asyncio.run(calls()) > 2


def test_workers_are_forked_from_a_process_that_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_server.start()
    monkeypatch.setenv("CURATE_SET_LATE", "yes")
    with cluster.Executor(1).connect() as client:
        (parent,) = client.run(os.getppid).values()
        command = Path(f"/proc/{parent}/cmdline").read_text()
        assert "multiprocessing.forkserver" in command and "'distributed'" in command
        assert client.run(os.getenv, "CURATE_SET_LATE").popitem()[1] == "yes"
        assert "curate.run.video" not in set(client.run(lambda: list(sys.modules)).popitem()[1])


def test_workers_do_not_run_the_program_that_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without `if __name__ == "__main__"` would begin the same build in each of them."""
    program = ModuleType("__main__")
    program.__file__ = "/build.py"
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(cluster, "LocalCluster", lambda **_: nullcontext())
    monkeypatch.setattr(cluster, "Client", lambda *_, **__: nullcontext())
    with cluster.Executor(1).connect():
        assert "init_main_from_path" not in spawn.get_preparation_data("Dask Worker process (from Nanny)")
        assert "init_main_from_path" in spawn.get_preparation_data("the user's own")
    assert "init_main_from_path" in spawn.get_preparation_data("Dask Worker process (from Nanny)")
