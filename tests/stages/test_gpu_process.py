"""Workers that share a GPU get what networks of their own give them, in batches that are made of all their pictures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from curate.hardware import GPU_PROCESS, BatchSize
from curate.stages import backend_centerface, gpu_process, networks
from curate.stages.gpu_process import Device, GpuProcessError
from curate.storage.scratch import scratch
from tests.stages.test_networks import old_export

KIND = networks.Kind("detection", 0.0, 1.0, 4, (32, 64))


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a GPU's process that nobody has started yet."""
    with scratch("gpu") as folder:
        monkeypatch.setenv(GPU_PROCESS, str(folder / "gpu-0"))
        gpu_process._client.cache_clear()
        yield folder / "gpu-0"
        gpu_process._client.cache_clear()
        for pid in serving(folder / "gpu-0"):
            os.kill(pid, signal.SIGKILL)
        if gpu_process._started is not None:
            gpu_process._started.wait()
            monkeypatch.setattr(gpu_process, "_started", None)


def serving(address: Path) -> list[int]:
    """Processes that listen at an address: those that hold its socket."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    nodes = {f"socket:[{line.split()[6]}]" for line in lines if line.endswith(str(address))}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = {str(one.readlink()) for one in (process / "fd").iterdir()}
        except OSError:
            continue
        if held & nodes and b"gpu_process" in (process / "cmdline").read_bytes():
            found.append(int(process.name))
    return found


def test_the_process_gives_what_a_network_of_ones_own_gives(address: Path) -> None:
    data = backend_centerface.model_file().read_bytes()
    own = networks.load(data, backend_centerface.DETECTION, "cpu", 1)
    shared = gpu_process.load(data, backend_centerface.DETECTION, "cpu", 1)
    assert isinstance(shared, gpu_process.Shared)
    facts = ("free", "side", "widths", "device")
    assert [getattr(shared, one) for one in facts] == [getattr(own, one) for one in facts]
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8))
    for ours, theirs in zip(own.run(pictures), shared.run(pictures), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_who_asks_at_once_starts_one_process(address: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(old_export(np.random.default_rng(0)).SerializeToString())
    code = (
        "import sys, numpy as np; from curate.stages import gpu_process, networks; "
        "kind = networks.Kind('detection', 0.0, 1.0, 4, (32, 64)); "
        "network = gpu_process.load(open(sys.argv[1], 'rb').read(), kind, 'cpu', 1); "
        "print(network.number, network.run([np.ones((32, 32, 3), np.uint8)])[0].shape)"
    )
    asking = [subprocess.Popen([sys.executable, "-c", code, str(model)], stdout=subprocess.PIPE) for _ in range(2)]
    assert [one.communicate()[0].split() for one in asking] == [b"0 (1, 4, 32, 32)".split()] * 2
    assert len(serving(address)) == 1


def test_a_process_that_died_is_the_fault_of_no_picture_and_is_started_again(address: Path) -> None:
    data = old_export(np.random.default_rng(0)).SerializeToString()
    network = gpu_process.load(data, KIND, "cpu", 1)
    (pid,) = serving(address)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(GpuProcessError, match="has ended"):
        network.run([np.zeros((32, 32, 3), np.uint8)])
    again = gpu_process.load(data, KIND, "cpu", 1)
    assert again.run([np.zeros((32, 32, 3), np.uint8)])[0].shape == (1, 4, 32, 32)
    assert serving(address) != [pid]


def test_what_a_network_refuses_is_said_and_the_process_goes_on(address: Path) -> None:
    network = gpu_process.load(old_export(np.random.default_rng(0)).SerializeToString(), KIND, "cpu", 1)
    with pytest.raises(RuntimeError):
        network.run([np.zeros((32, 32), np.uint8)])
    assert len(network.run([np.zeros((32, 32, 3), np.uint8)])[0]) == 1


@pytest.mark.parametrize("over", [False, True])
def test_it_ends_when_nobody_is_left(over: bool) -> None:
    with scratch("gpu") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        code = (
            f"from curate.stages.gpu_process import serve; serve({listener.fileno()}, idle_s={60.0 if over else 1.0})"
        )
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=(listener.fileno(),))
        listener.close()
        client = gpu_process._Client(folder / "socket")
        data = old_export(np.random.default_rng(0)).SerializeToString()
        client.ask("load", data, KIND, "cpu", 1)
        time.sleep(2)
        assert process.poll() is None  # somebody is there, though silent
        client._server.close()
        if over:
            (folder / "socket").unlink()
        assert process.wait(30) == 0


class Recorded:
    """In place of a network: notes what goes through at once, and gives each picture its mean, but no picture 13."""

    free, side, widths, device = True, None, (1,), "cuda"

    def __init__(self, most: int) -> None:
        self.batch = BatchSize(most)
        self.sizes: list[int] = []

    def run(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(pictures))
        levels = [float(picture.mean()) for picture in pictures]
        if 13 in levels:
            raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
        return [np.array(levels)[:, None]]


def ask_all(asked: list[tuple[int, np.ndarray]], *recorded: Recorded) -> list[object]:
    """What each of several workers gets that ask before anything runs: outputs, or the error."""
    device = Device(Path("nowhere"))
    for network in recorded:
        device.add(network)  # type: ignore[arg-type]
    with ThreadPoolExecutor(len(asked)) as workers:
        answers = []
        for number, pictures in asked:
            before = device._asked.qsize()
            answers.append(workers.submit(device.outputs, number, pictures))
            while device._asked.qsize() == before:
                time.sleep(0.001)
        threading.Thread(target=device.run, daemon=True).start()
        return [one.exception() or one.result() for one in answers]


def pictures(*levels: int, side: int = 4) -> np.ndarray:
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


def test_pictures_of_several_workers_go_through_together() -> None:
    first, second = Recorded(8), Recorded(8)
    asked = [
        (0, pictures(1, 2, 3)),
        (1, pictures(4)),
        (0, pictures(5, side=6)),
        (0, pictures(6, 7, 8)),
        (0, pictures(9, 10, 11)),  # no room any more
        (0, pictures(12, 14)),
    ]
    found = ask_all(asked, first, second)
    levels = [outputs[0].ravel().tolist() for outputs in found]  # type: ignore[index]
    assert levels == [[1, 2, 3], [4], [5], [6, 7, 8], [9, 10, 11], [12, 14]]
    assert first.sizes == [8, 1, 3] and second.sizes == [1]


def test_more_pictures_than_a_batch_holds_are_taken_alone() -> None:
    network = Recorded(2)
    found = ask_all([(0, pictures(1, 2, 3, 4, 5)), (0, pictures(6))], network)
    assert [len(outputs[0]) for outputs in found] == [5, 1]  # type: ignore[index]
    assert network.sizes == [5, 1]


def test_a_picture_that_a_network_fails_on_harms_no_other() -> None:
    network = Recorded(8)
    found = ask_all([(0, pictures(1)), (0, pictures(13)), (0, pictures(2))], network)
    assert isinstance(found[1], RuntimeError)
    assert found[0][0].tolist() == [[1.0]] and found[2][0].tolist() == [[2.0]]  # type: ignore[index]
