"""One process that runs the networks of all workers that share a GPU, so that pictures of several videos go together.

A worker works on one video at a time and asks for a few pictures at once, far fewer than keep a GPU busy; and each
process that uses CUDA holds hundreds of megabytes of the GPU for its context and its own copy of the weights. Where
workers share a GPU (`curate.run.supervise`), they send their pictures to this process instead. It takes up to a full
batch of what is waiting for the same network, in pictures of the same size, whosever it is. While a batch runs, the
next one gathers: nothing waits for a clock. What comes out is what comes out of a network of one's own, as short
batches are filled up to the same shape there, too (`curate.stages.networks`).

The first worker that needs the process starts it, also in the place of one that died; it ends when nobody is left.

    request  ("load", bytes of the model, Kind, device, threads) or ("run", number of the network, pictures)
    reply    ("done", Shared or outputs) or ("raised", text, whether memory ran out), pickles all
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import one_line
from curate.hardware import GPU_PROCESS, limit_threads, out_of_memory
from curate.records import Pixels
from curate.stages import networks
from curate.stages.networks import Float, Kind, Loaded, Network

IDLE_S = 10.0
"""Seconds without anybody after which the process ends: a worker's next child may be on its way. Where the run is over,
its folder is gone, and so is the process with the last worker."""
LOOK_S = 0.5
"""Seconds between two looks at who is there."""
WAITING = 128
"""Workers that may wait for the process to begin."""


class GpuProcessError(ConnectionError):
    """The process of the GPU has ended: no video is to blame, but one that always ends it."""


def load(data: bytes, kind: Kind, device: str, threads: int) -> Network:
    """The network of an ONNX file: in the process of this worker's GPU where it has one, else in this process.

    Raises:
        GpuProcessError: the GPU's process ended, twice.
    """
    address = os.environ.get(GPU_PROCESS)
    if not address:
        return networks.load(data, kind, device, threads)
    try:
        shared: Shared = _client(Path(address)).ask("load", data, kind, device, threads)
    except GpuProcessError:  # it may have been about to end, as nobody was there
        _client.cache_clear()
        shared = _client(Path(address)).ask("load", data, kind, device, threads)
    return shared


@dataclass(frozen=True)
class Shared:
    """A network in the process of a GPU; see `curate.stages.networks.Network`.

    Attributes:
        address: the socket of that process; number: of the network there.
    """

    address: Path
    number: int
    free: bool
    side: int | None
    widths: tuple[int | None, ...]
    device: str

    def run(self, pictures: Sequence[Pixels]) -> list[Float]:
        """See `Network`.

        Raises:
            GpuProcessError: the GPU's process ended.
            MemoryError: the GPU has no room even for one picture.
            RuntimeError: the network failed.
        """
        outputs: list[Float] = _client(self.address).ask("run", self.number, np.stack(pictures))
        return outputs


class _Client:
    """This process's line to the process of a GPU."""

    def __init__(self, address: Path) -> None:
        self._lock = threading.Lock()
        self._server = _connected(address)

    def ask(self, *request: object) -> Any:
        """The answer to a request."""
        try:
            with self._lock:
                self._server.send(request)
                reply = self._server.recv()
        except (EOFError, OSError):
            raise GpuProcessError("the process that runs networks on the GPU has ended") from None
        if reply[0] == "done":
            return reply[1]
        _, text, no_memory = reply
        raise MemoryError(text) if no_memory else RuntimeError(text)


@functools.lru_cache(maxsize=1)
def _client(address: Path) -> _Client:
    return _Client(address)


def _connected(address: Path) -> Connection[Any, Any]:
    """A connection to the process at `address`, which is started where there is none."""
    with suppress(OSError):
        return _connection(address)
    with address.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of those that find none starts it
        with suppress(OSError):
            return _connection(address)
        _start(address)
        return _connection(address)


def _connection(address: Path) -> Connection[Any, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address))
        return Connection(client.detach())


_started: subprocess.Popen[bytes] | None = None
"""The process of the GPU, where this one has started it."""


def _start(address: Path) -> None:
    """Starts the process; who connects while it still loads, waits."""
    global _started  # or its end would be nobody's to take note of
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(WAITING)
        command = (
            f"import sys; sys.path[:] = {sys.path!r}; from curate.stages.gpu_process import serve; "
            f"serve({listener.fileno()})"
        )
        if _started is not None:
            _started.wait()
        # In a session of its own: Ctrl-C is for the workers, without whom it ends.
        _started = subprocess.Popen(
            [sys.executable, "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


def serve(listening: int, idle_s: float = IDLE_S) -> None:
    """Serves until nobody has been there for a while.

    Args:
        listening: descriptor of the socket.
    """
    limit_threads(1)
    with socket.socket(fileno=listening) as listener:
        address = Path(listener.getsockname())
        device = Device(address)
        threading.Thread(target=device.run, daemon=True).start()
        clients: list[threading.Thread] = []
        busy = time.monotonic()
        listener.settimeout(LOOK_S)
        while clients or (time.monotonic() - busy < idle_s and address.exists()):
            with suppress(TimeoutError):
                client, _ = listener.accept()
                clients.append(
                    threading.Thread(target=_attend, args=(Connection(client.detach()), device), daemon=True)
                )
                clients[-1].start()
            clients = [one for one in clients if one.is_alive()]
            if clients:
                busy = time.monotonic()
        address.unlink(missing_ok=True)


def _attend(client: Connection[Any, Any], device: Device) -> None:
    """Answers one worker until it is gone."""
    with client, suppress(EOFError, OSError):
        while True:
            what, *about = client.recv()
            try:
                answer = device.load(*about) if what == "load" else device.outputs(*about)
            except Exception as error:  # whatever a network does, the others' go on
                text = one_line(f"{type(error).__name__}: {error}")
                client.send(("raised", text, out_of_memory(error)))
            else:
                client.send(("done", answer))


@dataclass(frozen=True, eq=False)
class _Asked:
    """Pictures uint8 [n, height, width, 3] that are to go through a network."""

    network: int
    pictures: Pixels
    answer: Future[list[Float]] = field(default_factory=Future)

    def joins(self, other: _Asked) -> bool:
        """Whether both can go through at once."""
        return self.network == other.network and self.pictures.shape[1:] == other.pictures.shape[1:]


class Device:
    """The networks of a GPU, and who waits for them; one thread runs them.

    Args:
        address: of this process.
    """

    def __init__(self, address: Path) -> None:
        self._address = address
        self._loading = threading.Lock()
        self._networks: list[Loaded] = []
        self._known: dict[tuple[str, Kind, str, int], Shared] = {}
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()

    def load(self, data: bytes, kind: Kind, device: str, threads: int) -> Shared:
        """The network of an ONNX file, loaded once for all."""
        key = (hashlib.sha256(data).hexdigest(), kind, device, threads)
        with self._loading:
            if key not in self._known:
                self._known[key] = self.add(networks.load(data, kind, device, threads))
            return self._known[key]

    def add(self, network: Loaded) -> Shared:
        """A network that is loaded, as workers see it."""
        self._networks.append(network)
        about = (network.free, network.side, network.widths, network.device)
        return Shared(self._address, len(self._networks) - 1, *about)

    def outputs(self, network: int, pictures: Pixels) -> list[Float]:
        """What a network gives for pictures, once it is their turn."""
        asked = _Asked(network, pictures)
        self._asked.put(asked)
        return asked.answer.result()

    def run(self) -> None:
        """Runs what is asked for, batch by batch; never returns."""
        waiting: list[_Asked] = []
        while True:
            if not waiting:
                waiting.append(self._asked.get())
            with suppress(queue.Empty):
                while True:
                    waiting.append(self._asked.get_nowait())
            batch = together(waiting, self._networks[waiting[0].network].batch.size)
            waiting = [one for one in waiting if one not in batch]
            self._run(batch)

    def _run(self, batch: list[_Asked]) -> None:
        network = self._networks[batch[0].network]
        try:
            outputs = network.run([picture for one in batch for picture in one.pictures])
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for one in batch:  # whosever pictures it was, those of the others are no worse for it
                self._run([one])
            return
        ends = np.cumsum([len(one.pictures) for one in batch])[:-1]
        for one, *own in zip(batch, *(np.split(output, ends) for output in outputs), strict=True):
            one.answer.set_result(own)


def together(waiting: Sequence[_Asked], most: int) -> list[_Asked]:
    """Of those who wait, the first, and in order whoever can join it without making more than `most` pictures."""
    batch, room = [waiting[0]], most - len(waiting[0].pictures)
    for one in waiting[1:]:
        if one.joins(waiting[0]) and len(one.pictures) <= room:
            batch.append(one)
            room -= len(one.pictures)
    return batch
