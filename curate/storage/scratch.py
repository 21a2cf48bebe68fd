"""Folders for a while, among the system's temporary files; what a process that was killed left goes with the next one.

The owner of a folder holds a lock on a file in it, of which the system lets go when the owner dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from curate.storage.files import storage_error

_PREFIX = "curate-"
_OWNER = ".owner"


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """An empty folder that nobody else may look into, for as long as the block runs.

    Args:
        kind: what it is for, which its name tells.

    Raises:
        StorageError: there is no room for it.
    """
    _sweep()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-"))
    except OSError as error:
        raise storage_error(Path(tempfile.gettempdir()), error) from None
    try:
        with _owned(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owned(folder: Path) -> IO[str]:
    """The file by whose lock others know that the folder is in use; they never see it without one."""
    unnamed = folder / f"{_OWNER}.new"
    file = unnamed.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    unnamed.rename(folder / _OWNER)
    return file


def _sweep() -> None:
    """Removes the folders whose owners are gone."""
    for owner in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError), owner.open("r+") as file:  # in use, or another user's, or gone by now
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent, ignore_errors=True)
