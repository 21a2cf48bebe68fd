"""Workers that share a GPU make the build that workers with networks of their own make, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curate import hardware, recipe
from curate.run import collect, gpus
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.gpus import Gpus
from curate.storage.scratch import scratch
from tests.run import clips
from tests.stages.test_gpu_process import serving


@pytest.mark.parametrize(
    ("device", "workers", "there", "shared"),
    [("cuda", 3, 2, True), ("cuda", 2, 2, False), ("cuda", 2, 0, False), ("cpu", 3, 0, False), ("cuda", 0, 2, False)],
)
def test_workers_share_where_there_are_fewer_gpus(
    device: str, workers: int, there: int, shared: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(gpus, "gpu_count", lambda wish: there)
    with gpus.shared_gpus(device, workers) as found:
        assert found.count == (there if workers else 0)
        assert (found.processes is not None and found.processes.is_dir()) == shared
    assert ("3 workers share 2 GPUs" in "".join(capsys.readouterr())) == shared
    assert found.processes is None or not found.processes.exists()


def test_what_workers_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (hardware.GPU_MASK, hardware.GPU_PROCESS):
        monkeypatch.setenv(name, "")
    hardware.take_gpu(3, 2, tmp_path)
    assert os.environ[hardware.GPU_PROCESS] == str(tmp_path / "gpu-1") and os.environ[hardware.GPU_MASK] == "1"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, picture in (
        ("a.mp4", clips.astronaut()),
        ("b.mp4", clips.people()),
        ("c.mp4", clips.astronaut()[:, ::-1]),
    ):
        clips.write(folder / name, picture, frames=8)
    (folder / "list.txt").write_text("a.mp4\nb.mp4\nc.mp4\n")
    return folder / "list.txt"


def content_hash(listed: Path, out: Path) -> str:
    settings = recipe.load(overrides={"fps": 4})
    done = build(str(listed), out, settings, Executor(workers=2))
    assert not done.build.info.counts.failed and done.build.info.counts.faces >= 20
    return str(done.build.info.content_hash)


def test_the_build_is_that_of_networks_of_their_own_also_where_the_process_dies(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = content_hash(listed, tmp_path / "own")
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        """Notes every process of the GPU, and kills the first once it works."""
        while not ended.wait(0.05):
            found = set(serving(folder / "gpu-0"))
            if found and not seen:
                time.sleep(0.5)
                for pid in found:
                    os.kill(pid, signal.SIGKILL)
            seen.update(found)

    with scratch("gpu") as folder:

        @contextmanager
        def shared(device: str, workers: int) -> Iterator[Gpus]:
            yield Gpus(1, folder)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            monkeypatch.setattr(collect, "shared_gpus", shared)
            assert content_hash(listed, tmp_path / "shared") == own
        finally:
            ended.set()
            watching.join()
    assert len(seen) == 2
