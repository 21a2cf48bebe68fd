"""sha256 of the files of a build, each computed once: remembered by name, size and time of its last change."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curate.hardware import cores
from curate.storage.documents import mapping, try_json, write_json
from curate.storage.files import sha256_file

NAME = "work/hashes.json"


def hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of files below a build, by their names below it.

    What was computed before holds while size and time of change are as they were; `curate verify` reads every byte.
    """
    known = try_json(folder / NAME, mapping) or {}
    names = list(names)
    states = {name: _state(folder / name) for name in names}
    fresh = [name for name in names if known.get(name, [None])[:-1] != states[name]]
    with ThreadPoolExecutor(cores()) as pool:  # hashing works without Python's lock
        computed = dict(zip(fresh, pool.map(lambda name: sha256_file(folder / name), fresh), strict=True))
    _note(folder, {name: [*states[name], computed[name]] for name in fresh})
    return {name: computed[name] if name in computed else str(known[name][-1]) for name in names}


def remember(folder: Path, computed: dict[str, str]) -> None:
    """Takes sha256 that were computed elsewhere, of files as they are now, by their names below a build."""
    _note(folder, {name: [*_state(folder / name), sha256] for name, sha256 in computed.items()})


def _note(folder: Path, fresh: dict[str, list[int | str]]) -> None:
    if fresh and (folder / NAME).parent.is_dir():
        known = try_json(folder / NAME, mapping) or {}
        there = {name: value for name, value in known.items() if (folder / name).is_file()}
        write_json(folder / NAME, there | fresh)


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
