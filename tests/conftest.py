"""What all tests share: where real videos and models are, if they are here."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from curate.demo import clips

# A busy machine is no failure. The same examples every time, so that a change is judged and not luck;
# HYPOTHESIS_PROFILE=search draws others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("curate", settings.get_profile("search"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "curate"))

LONGEST = (
    "notebooks/test_notebooks.py",
    "run/test_faults.py",
    "run/test_build.py",
    "run/test_collect.py",
    "pretrain/test_step.py",
    "run/test_workforce.py",
    "pretrain/test_loop.py",
    "study/test_execute.py",
    "run/test_supervise.py",
    "pretrain/test_command.py",
    "storage/test_remote.py",
    "run/spaces/test_backbone.py",
)
"""Files that take longest: they are begun first, so that no core waits for the last of them."""

SHARED = Path(os.environ.get("CURATE_TEST_DATA", Path(__file__).parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real videos, damaged files, evaluation sets and models; tests that need it are skipped without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no test data at {SHARED} (set CURATE_TEST_DATA)")
    return SHARED


@pytest.fixture(scope="session")
def videos(shared: Path) -> Path:
    """Folder of real, sound videos."""
    return shared / "data" / "videos"


@pytest.fixture(scope="session")
def pack(shared: Path) -> Path:
    """An insightface root with a working pack named `small`."""
    return shared / "models" / "insightface"


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The list of the demo's clips, rendered once for all tests and test processes, and what was told meanwhile."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "demo-clips"
    folder.mkdir(exist_ok=True)
    told = folder / "told.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            names: list[str] = []
            clips.render(folder, names.append)
            told.write_text(json.dumps(names))
    return folder / "list.csv", json.loads(told.read_text())


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system of fsspec with an empty `s3://bucket`, on a server that speaks S3."""
    s3fs = pytest.importorskip("s3fs", reason="needs curate[s3]")
    server = pytest.importorskip("moto.server", reason="needs moto[s3]")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "CURATE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()
    gc.collect()  # here, not in another test file


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[str]:
    """Address of a Dask scheduler that runs already, with two workers of one thread, as a user would start them."""
    running: list[subprocess.Popen[str]] = []
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    address_file = tmp_path / "scheduler.json"
    try:
        start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True, "env": environment}
        running.append(subprocess.Popen([*start, "--host", "127.0.0.1", "--scheduler-file", address_file], **quiet))
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", address_file]
        running += [subprocess.Popen([*worker, "--nthreads", "1", "--no-dashboard"], **quiet) for _ in range(2)]
        for _ in range(300):
            if address_file.is_file() and address_file.stat().st_size:
                break
            time.sleep(0.1)
        yield json.loads(address_file.read_text())["address"]
    finally:
        for process in running:
            process.kill()
            process.wait()
