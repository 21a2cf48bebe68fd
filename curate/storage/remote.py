"""Builds at a URL (`s3://bucket/build`): the one door through which they are read and written.

A build is worked on in a copy on this machine (below `$CURATE_CACHE`, by default `~/.cache/curate`), which is brought
up to date before and published after; only what differs travels. Every object appears whole, and `build.json` goes
first and comes last, so that a build at a URL is either finished or says that it is not. It comes by a conditional put:
of two that publish into one place, the second is refused before it writes, or, if both were writing, takes `build.json`
away again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from curate import locations
from curate.errors import BuildError, CurateError, StorageError, UnavailableError, UsageError, one_line
from curate.storage.documents import mapping, try_json, write_json
from curate.storage.files import TEMPORARY, atomic_write, exclusive_lock, write_bytes
from curate.storage.parquet import get_columns

LAST = "build.json"
"""Whose presence says that a build is finished."""
PRIVATE = ("work/media/", "work/pieces/", "work/lock", "work/ledger.sqlite-")
"""What stays on this machine."""
PROBE = "work/writer"
"""Written before anything is done, so that a place that cannot be written is known at once."""


@dataclass(frozen=True)
class RemoteBuild:
    """A build at a URL and its copy here.

    Attributes:
        tables: whether the copy is one for cutting manifests: without pictures, page, vectors and `work/`.
        vectors: space whose vectors such a copy has all the same.
    """

    url: str
    path: Path
    tables: bool = False
    vectors: str | None = None

    @property
    def _index(self) -> Path:
        return self.path.parent / "published.json"

    @property
    def _begun(self) -> Path:
        return self.path.parent / "begun"

    @property
    def unfinished(self) -> bool:
        """Whether a command is at work on the copy, or was stopped there before it published what it did."""
        return self._begun.exists()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Holds the copy for a command that changes it, brought up to date; what it did is published at the end.

        Raises:
            UsageError: another process is at work there, or the URL cannot be reached.
        """
        with exclusive_lock(self.url, self.path.parent / "lock", "curate command"):
            self.pull()
            self.claim()
            write_bytes(self._begun, b"")
            try:
                yield
                self.publish()
            finally:
                if not any(self._differences()):
                    self._begun.unlink()

    def refresh(self) -> None:
        """As `pull`, for those who read a finished build.

        Raises:
            UsageError: what is here is none.
        """
        if self.unfinished:
            raise UsageError(
                f"{self.url}: a command is at work on it on this machine, or was stopped (curate status says how it "
                f"stands); run the same command again to finish it, or delete {self.path.parent} to forget what it did"
            )
        self.pull()

    def pull(self) -> None:
        """Brings the copy up to date with the URL; what was changed here and not published yet stays.

        Raises:
            UsageError: the URL cannot be reached; UnavailableError: a package is missing.
        """
        with _explained(self.url):
            system, root = _system(self.url)
            there = _objects(system, root)
            known = try_json(self._index, mapping) or {}
            for name, token in there.items():
                local = self.path / name
                if not self._wanted(name):
                    local.parent.mkdir(parents=True, exist_ok=True)  # whose name may say something: spaces
                    continue
                if known.get(name, {}).get("token") == token and local.is_file():
                    continue
                with atomic_write(local) as temporary:
                    if self.tables and name.startswith("faces/"):
                        get_columns(system, f"{root}/{name}", temporary)
                    else:
                        system.get_file(f"{root}/{name}", str(temporary))
                known[name] = {"token": token, "local": _local(local)}
            for name in known.keys() - there.keys():
                if (self.path / name).is_file() and _local(self.path / name) == known[name]["local"]:
                    (self.path / name).unlink()  # it has gone there
                known.pop(name)
        write_json(self._index, known | {".url": {"token": self.url, "local": []}})

    def _wanted(self, name: str) -> bool:
        if not self.tables:
            return True
        if name.startswith("embeddings/"):
            return name.startswith(f"embeddings/{self.vectors}/")
        return not name.startswith("work/") and name != "report.html"

    def claim(self) -> None:
        """Sees that the URL can be written, before anything costs time."""
        with _explained(self.url):
            system, root = _system(self.url)
            system.pipe_file(f"{root}/{PROBE}", f"{os.uname().nodename} {os.getpid()}\n".encode())

    def publish(self) -> None:
        """Brings the URL up to date with the copy.

        Raises:
            BuildError: another build was published there meanwhile.
            StorageError: it cannot be written.
        """
        changed, gone = self._differences()
        if not changed and not gone:
            return
        known = try_json(self._index, mapping) or {}
        here = {name: _local(self.path / name) for name in self._names()}
        with _explained(self.url, StorageError):
            system, root = _system(self.url)
            if _objects(system, root).get(LAST) != known.get(LAST, {}).get("token"):
                raise BuildError(f"{self.url}: was published by another process meanwhile; run the same command again")
            if LAST in known:
                system.rm_file(f"{root}/{LAST}")
            for name in (name for name in changed if name != LAST):
                system.put_file(str(self.path / name), f"{root}/{name}")
            for name in (name for name in gone if name != LAST):
                system.rm_file(f"{root}/{name}")
            if LAST in here:
                self._conclude(system, root)
            tokens = _objects(system, root)
        write_json(
            self._index,
            {name: {"token": tokens.get(name), "local": local} for name, local in here.items()}
            | {".url": {"token": self.url, "local": []}},
        )

    def _differences(self) -> tuple[list[str], list[str]]:
        """Files of the copy that are not, and those that are no longer, as they were published."""
        known = try_json(self._index, mapping) or {}
        here = {name: _local(self.path / name) for name in self._names()}
        changed = sorted(name for name, local in here.items() if known.get(name, {}).get("local") != local)
        return changed, sorted(name for name in known.keys() - here.keys() if not name.startswith("."))

    def _conclude(self, system: Any, root: str) -> None:
        """Says that the build is finished; where another process said so during this publication, nobody does."""
        data = (self.path / LAST).read_bytes()
        try:
            system.pipe_file(f"{root}/{LAST}", data, mode="create")
        except FileExistsError:
            system.rm_file(f"{root}/{LAST}")
            raise BuildError(
                f"{self.url}: another process published there at the same time, and files of both are there now; run "
                "the same command again"
            ) from None

    def _names(self) -> Iterator[str]:
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and not name.startswith(PRIVATE) and not path.name.startswith(TEMPORARY):
                yield name


def remote_build(url: str, tables: bool = False, vectors: str | None = None) -> RemoteBuild:
    """The build at a URL, with the place of its copy; see `RemoteBuild`."""
    url = url.rstrip("/")
    cache = Path(os.environ.get("CURATE_CACHE") or Path.home() / ".cache" / "curate")
    folder = cache / "builds" / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder = folder / "tables" if tables else folder
    return RemoteBuild(url, folder / (PurePosixPath(url).name or "build"), tables, vectors)


def url_of(path: Path) -> str | None:
    """The URL of the build whose copy lies at `path`; None for a build that lives on this machine."""
    known = try_json(path.parent / "published.json", mapping)
    return str(known[".url"]["token"]) if known and ".url" in known else None


@contextmanager
def workplace(out: str | Path) -> Iterator[Path]:
    """A local folder for a build that is made at `out`: itself, or the copy of a URL, which is published at the end."""
    if locations.is_local(str(out)):
        yield Path(locations.local_path(str(out)))
        return
    build = remote_build(str(out))
    with build.at_work():
        yield build.path


def split_manifest(url: str) -> tuple[str, str] | None:
    """(URL of the build, path below it) of a manifest that lies in a build at a URL."""
    build, found, name = url.rpartition("/manifests/")
    return (build, f"manifests/{name}") if found and build else None


def _system(url: str) -> tuple[Any, str]:
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return system, root.rstrip("/")


def _objects(system: Any, root: str) -> dict[str, str]:
    """Name below the build -> token that changes with its bytes."""
    system.invalidate_cache()
    try:
        found = system.find(root, detail=True)
    except FileNotFoundError:
        return {}
    names = {path: path[len(root) + 1 :] for path in found if path.startswith(f"{root}/")}
    return {
        name: str(found[path].get("ETag") or found[path].get("md5Hash") or f"{system.ukey(path)}")
        for path, name in names.items()
        if not name.startswith(PRIVATE) and name != PROBE
    }


def _local(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


@contextmanager
def _explained(url: str, kind: type[CurateError] = UsageError) -> Iterator[None]:
    """What goes wrong with a file system, of which each has errors of its own, is one line."""
    try:
        yield
    except CurateError:
        raise
    except ImportError as error:
        scheme = url.partition("://")[0]
        raise UnavailableError(f"{url}: {one_line(error, 120)}; pip install 'curate-faces[{scheme}]'") from None
    except Exception as error:
        raise kind(
            f"{url}: cannot be reached or written ({type(error).__name__}: {one_line(error, 160)}); check bucket, "
            "credentials and endpoint"
        ) from None
