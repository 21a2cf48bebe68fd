"""The process from which the child processes of local workers are forked (see `curate.run.child`).

It loads every library that a source needs, once, while the driver loads its own. So a child is there at once, also in
the place of one that died, and what all of them have loaded stands in memory once. Elsewhere (on other systems than
Linux; with GPUs, whose libraries bear no fork; on a cluster) children are processes of their own from the start.

    request   descriptors of the child's two ends, see `child.main`; a pickle of `sys.path` and the environment
    replies   the child's pid, then, once it has ended, its exit status as `subprocess` counts it: a line each
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from curate.hardware import gpu_driver
from curate.storage.scratch import scratch

ASKED_S = 60.0
"""Longest time that a worker waits for a child from here: the libraries may still be loading."""
_LENGTH = struct.Struct("!Q")


class ChildServer:
    """The driver's handle of it.

    Attributes:
        address: path of the socket at which workers ask for children.
    """

    def __init__(self) -> None:
        self._folder = contextlib.ExitStack()
        self.address = self._folder.enter_context(scratch("children")) / "socket"
        life, self._life = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.address))
            listener.listen(128)  # who asks while it still loads, waits
            command = (
                f"import sys; sys.path[:] = {sys.path!r}; from curate.run.child_server import serve; "
                f"serve({listener.fileno()}, {life})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", command], stdin=subprocess.DEVNULL, pass_fds=(listener.fileno(), life)
            )
        os.close(life)

    def end(self) -> None:
        """Ends it; children that live go on."""
        self._process.kill()
        self._process.wait()
        os.close(self._life)
        self._folder.close()


_server: ChildServer | None = None


def start() -> None:
    """Starts it where it helps and does not run yet; it ends with this process at the latest."""
    global _server  # one a driver, like multiprocessing's fork server
    if _server is None and sys.platform == "linux" and not gpu_driver():
        _server = ChildServer()
        atexit.register(end)


def start_for(out: str | Path) -> None:
    """The same, for a build that is not finished yet: there will be sources to work on."""
    with contextlib.suppress(OSError):  # no place for a build, as will be said
        if not Path(out, "build.json").exists():
            start()


def address() -> Path | None:
    """Where workers of this machine may ask for children; None where it does not run."""
    return _server.address if _server else None


@contextlib.contextmanager
def serving(out: str | Path, local: bool) -> Iterator[None]:
    """Has it end with the block, and begin with it where it surely helps; `local`: workers are of this machine."""
    try:
        if local:
            start_for(out)
        yield
    finally:
        end()


def end() -> None:
    """Ends it, where it runs."""
    global _server
    if _server is not None:
        _server.end()
        _server = None
        atexit.unregister(end)


class Forked:
    """A child that was forked, as its worker sees it; like `subprocess.Popen`.

    Args:
        address: of the server; descriptors: what the child is to get.

    Raises:
        OSError: there is no server any more.
    """

    def __init__(self, address: Path, descriptors: tuple[int, int]) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._status: int | None = None
        self._killed = False
        self._heard = b""
        try:
            self._server.settimeout(ASKED_S)
            self._server.connect(str(address))
            asked = pickle.dumps((sys.path, dict(os.environ)))
            socket.send_fds(self._server, [_LENGTH.pack(len(asked))], descriptors)
            self._server.sendall(asked)
            pid = self._line()
            if pid is None:
                raise ConnectionResetError("the child server has ended")
        except OSError:
            self._server.close()
            raise
        self.pid = pid

    def _line(self) -> int | None:
        """The next number that the server says; None where it has gone."""
        while b"\n" not in self._heard:
            more = self._server.recv(64)
            if not more:
                return None
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return int(line)

    def poll(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has one; what was killed counts as ended where the server does not say so in time.

        Raises:
            subprocess.TimeoutExpired: it lives on.
        """
        status = self._ended(timeout)
        if status is None and self._killed:
            self._server.close()
            self._status = status = -signal.SIGKILL
        if status is None:
            raise subprocess.TimeoutExpired("child", timeout or 0.0)
        return status

    def kill(self) -> None:
        """Ends it."""
        if self.poll() is None:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self._status is None:
            self._server.settimeout(timeout)
            try:
                status = self._line()
            except (TimeoutError, BlockingIOError):
                return None
            except OSError:
                status = None
            self._status = _unseen(self.pid, timeout) if status is None else status
            if self._status is not None:
                self._server.close()
        return self._status


def _unseen(pid: int, timeout: float | None) -> int | None:
    """The exit status of a child whose server has gone: nobody knows more than whether it lives."""
    until = time.monotonic() + (timeout or 0.0)
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return -signal.SIGKILL
        if timeout is not None and time.monotonic() >= until:
            return None
        time.sleep(0.01)


def serve(listening: int, life: int) -> None:
    """Loads, and forks children until the driver is gone.

    Args:
        listening: descriptor of the socket; life: read end of a pipe that the driver holds open.
    """
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver says when it is over
    with socket.socket(fileno=listening) as listener:
        address = Path(listener.getsockname())
        try:
            with contextlib.suppress(Exception):  # children that start by themselves say what is wrong
                _load()
                _Server(listener, life, interrupted).run()
        finally:
            shutil.rmtree(address.parent, ignore_errors=True)


def _load() -> None:
    """Loads what children share. What is missing they say themselves."""
    import gc

    from curate.errors import CurateError
    from curate.hardware import limit_threads
    from curate.run import requests  # noqa: F401 - nearly every library that a source may need
    from curate.stages import backend_dlib, shots
    from curate.stages.hidden import without_pandas

    limit_threads(1)
    shots.scenedetect()
    without_pandas()
    with contextlib.suppress(CurateError, OSError, RuntimeError):
        backend_dlib.predictor()
    gc.freeze()  # a collector that walks over what all share would copy it


class _Server:
    """Its loop."""

    def __init__(self, listener: socket.socket, life: int, interrupted: Any) -> None:
        self._listener, self._life, self._interrupted = listener, life, interrupted
        self._asking: dict[int, socket.socket] = {}  # by the child's pid
        ended, self._ended = os.pipe()
        os.set_blocking(ended, False)
        os.set_blocking(self._ended, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ended, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        for source in (listener, life, ended):
            self._selector.register(source, selectors.EVENT_READ)
        self._reaping = ended

    def run(self) -> None:
        """Serves until the driver is gone."""
        while True:
            ready = [key.fileobj for key, _ in self._selector.select()]
            if self._life in ready:
                return
            if self._reaping in ready:
                self._reap()
            if self._listener in ready:
                self._fork()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reaping, 4096):
                pass
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                with self._asking.pop(pid) as worker, contextlib.suppress(OSError):
                    worker.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    def _fork(self) -> None:
        worker, _ = self._listener.accept()
        worker.settimeout(ASKED_S)
        try:
            head, descriptors, _, _ = socket.recv_fds(worker, _LENGTH.size, 2)
            asked = _exactly(worker, *_LENGTH.unpack(head))
        except (OSError, struct.error):  # it has gone again
            worker.close()
            return
        pid = os.fork()
        if not pid:
            self._become_child(worker, descriptors, asked)
        for descriptor in descriptors:
            os.close(descriptor)
        self._asking[pid] = worker
        with contextlib.suppress(OSError):
            worker.sendall(b"%d\n" % pid)

    def _become_child(self, worker: socket.socket, descriptors: list[int], asked: bytes) -> NoReturn:
        """Runs the child in the process that was forked for it."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, self._interrupted)
            self._selector.close()
            for one in (self._listener, worker, *self._asking.values()):
                one.close()
            for descriptor in (self._life, self._reaping, self._ended):
                os.close(descriptor)
            path, environment = pickle.loads(asked)  # noqa: S301 - from a worker, in a folder that is ours alone
            sys.path[:] = path
            os.environ.clear()
            os.environ.update(environment)
            from curate.run.child import main

            main(*descriptors)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT  # the command says so
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _exactly(source: socket.socket, count: int) -> Any:
    """So many bytes.

    Raises:
        ConnectionResetError: there are no more.
    """
    parts = bytearray()
    while len(parts) < count:
        more = source.recv(count - len(parts))
        if not more:
            raise ConnectionResetError
        parts += more
    return bytes(parts)
