"""What all tests share: where real videos and models are, if they are here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from curate.demo import clips

# A busy machine is no failure. The same examples every time, so that a change is judged and not luck;
# HYPOTHESIS_PROFILE=search draws others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("curate", settings.get_profile("search"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "curate"))

SHARED = Path(os.environ.get("CURATE_TEST_DATA", Path(__file__).parents[2] / "shared"))


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
    """The list of the demo's clips, rendered once for all tests, and what was told while they were."""
    told: list[str] = []
    return clips.render(tmp_path_factory.mktemp("clips"), told.append), told


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
