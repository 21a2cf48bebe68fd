"""A folder is changed as a whole: a copy beside it is worked on and takes its place in one step.

Files that stay the same are hard links, so that a copy costs little; whatever is written is written beside and renamed,
so that the folder itself is never touched.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import StorageError
from curate.storage.files import storage_error

SUFFIX = ".curate-exchange"
EXCHANGE = 2
"""RENAME_EXCHANGE of Linux's renameat2: two names change places, at once."""
HERE = -100
"""AT_FDCWD."""


@contextmanager
def exchanged(folder: Path, link: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields a copy of `folder` beside it; when the block ends well, the copy takes its place and the old one goes.

    A kill before leaves the folder as it was, one after leaves it as it shall be; what else it leaves beside the
    folder is removed by the next call.

    Args:
        link: which files the copy has; a path inside the folder.

    Raises:
        StorageError: the folder beside cannot be written.
    """
    remove_leftover(folder)
    copy = beside(folder)
    try:
        _linked(folder, copy, link)
        yield copy
        _swap(copy, folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def beside(folder: Path) -> Path:
    """Where the copy lies, and after the exchange the old folder until it is gone."""
    return folder.resolve().with_name(f".{folder.resolve().name}{SUFFIX}")


def remove_leftover(folder: Path) -> None:
    """Removes what a killed exchange left beside the folder."""
    shutil.rmtree(beside(folder), ignore_errors=True)


def _linked(folder: Path, copy: Path, link: Callable[[Path], bool]) -> None:
    for path in sorted(folder.rglob("*")):
        target = copy / path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
        elif link(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(path, target, follow_symlinks=False)


def _swap(new: Path, old: Path) -> None:
    old = old.resolve()
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is not None and rename(HERE, os.fsencode(new), HERE, os.fsencode(old), EXCHANGE) == 0:
        return
    raise StorageError(f"{old}: this system cannot exchange two folders in one step (Linux can, on a local disk)")
