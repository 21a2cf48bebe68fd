"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import StorageError, UsageError
from curate.heartbeat import FETCH, beat

TEMPORARY = ".part-"
"""Prefix of files that are being written; a killed run can leave them, the next one sweeps them away."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system calls a disk, or a user's share of it, that is full."""
HASH_BLOCK = 1 << 20
UNWRITABLE = (*FULL, errno.EROFS, errno.EFBIG)
"""Errors that only writing can meet."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, an empty file, that is renamed over it when the block ends well.

    The bytes reach the disk before the name does, so that a crash leaves the old file or the new one. Of what goes
    wrong in the block only what speaks of the disk is taken for a failure to write: the block may read other files.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    inside = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        inside = True
        yield temporary
        inside = False
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if inside and error.errno not in UNWRITABLE:
            raise
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line that says why `path` could not be written."""
    if error.errno in FULL:
        return StorageError(f"{path}: the disk is full; free some space and run the same command again")
    return StorageError(f"{path}: cannot be written ({error.strerror or error})")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK):
            found.update(block)
            beat(FETCH, bytes=len(block))
    return found.hexdigest()


def digest(value: Any) -> str:
    """Hex digest of a JSON value, the same for equal values whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def check_folder(out: Path, kind: str, marks: Iterable[str]) -> None:
    """Refuses a folder that holds something else; one that is empty or not there yet is welcome.

    Args:
        out: as the user named it.
        kind: what it should hold.
        marks: names of files or folders, of which whatever is of that kind has one.

    Raises:
        UsageError: `out` is a file, or a folder with other things in it.
    """
    if out.is_dir():
        if any(out.iterdir()) and not any((out / mark).exists() for mark in marks):
            raise UsageError(f"--out {out}: holds something that is not a {kind}; name an empty or new folder")
    elif out.exists():
        raise UsageError(f"--out {out}: is a file; name a folder")


@contextmanager
def exclusive_lock(out: Path | str, lock: Path, command: str) -> Iterator[None]:
    """Holds a folder for this process, by a lock on a file in it; a killed process lets go by itself.

    Args:
        out: the folder or URL, as the user named it.
        lock: the file; it and its folder are made where they are missing.
        command: who holds it, for the message.

    Raises:
        UsageError: the folder cannot be written, or another process holds it.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("w")
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written ({error.strerror})") from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"--out {out}: another {command} is at work there; wait, or stop it") from None
        yield


def remove_temporaries(folder: Path) -> None:
    """Removes what a killed run left half-written anywhere below `folder`."""
    for left in folder.rglob(TEMPORARY + "*"):
        if left.is_file():
            left.unlink(missing_ok=True)


SEAL = "<!-- sha256 of all above: {} -->\n"
"""Last line of a page, by which a changed byte is noticed."""


def sealed(page: str) -> bytes:
    """A page of HTML with its digest at the end."""
    data = page.rstrip("\n").encode("utf-8") + b"\n"
    return data + SEAL.format(hashlib.sha256(data).hexdigest()).encode()


def seal_holds(data: bytes) -> bool:
    """Whether a sealed page is as it was written."""
    length = len(SEAL.format("0" * 64))
    page, seal = data[:-length], data[-length:]
    return seal == SEAL.format(hashlib.sha256(page).hexdigest()).encode()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by its path; linked folders are looked into, each once."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, below_it, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above would go round for ever
            below_it.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names]
    return sorted(found)
