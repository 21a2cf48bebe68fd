"""Serves the page of a build on the loopback interface until it is interrupted."""

from __future__ import annotations

import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from curate.errors import UsageError, one_line
from curate.explore.app import application
from curate.explore.study import StudyView
from curate.explore.tables import BuildTables
from curate.storage.build import Build

HOST = "127.0.0.1"


def serve(build: Build, study: StudyView | None, port: int, browser: bool, say: Callable[[str], object]) -> None:
    """Serves until Ctrl-C.

    Args:
        study: one of the build, which is shown beside it.
        port: 0 takes one that is free.
        browser: whether to open the page.
        say: is given the address, once it answers.

    Raises:
        UsageError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise UsageError(f"--port {port}: {one_line(error)}; choose another, or 0 for one that is free") from None
    tables = BuildTables(build)
    listener.listen()
    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    say(f"{build.path}: {address} (Ctrl-C ends it)")
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    config = uvicorn.Config(application(tables, study), log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
