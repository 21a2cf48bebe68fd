"""Brings the bytes of a source onto this machine's disk.

Local files are used where they lie. Everything else is downloaded into a folder, under a name made from the source,
with a note `<name>.json` beside it that is written last: what has a note is whole and is not fetched again. Ranges of
one video share its file, which has holes where nothing was fetched (see `fetch_part`). Titles and other metadata come
from strangers; they are cleaned, and never become part of a path.
"""

from __future__ import annotations

import datetime as dt
import errno
import re
import shutil
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from curate import locations
from curate.errors import ErrorKind, SourceError, one_line
from curate.heartbeat import FETCH, beat
from curate.recipe import Fetch
from curate.records import Fetched, Source
from curate.stages import ranges
from curate.stages.fetch_errors import explain, explain_storage
from curate.stages.fetch_limits import too_large
from curate.stages.fetch_part import Wanted, covers
from curate.stages.fetch_stored import StoredFile
from curate.stages.sources import video_id
from curate.storage.documents import try_json, write_json
from curate.storage.files import TEMPORARY, digest, sha256_file

_BLOCK = 1 << 20
_METADATA = ("title", "uploader", "license", "webpage_url")
_LONGEST_METADATA = 500
RULES = "robots"
"""Below the folder of downloads: the `robots.txt` of each host."""


@dataclass(frozen=True)
class Kept:
    """A download that is whole, as its note has it.

    Attributes:
        key: digest of what was asked for.
        bytes: that it takes on the disk, but for rounding.
    """

    key: str
    bytes: int
    fetched: Fetched


def fetch(source: Source, settings: Fetch, folder: Path) -> Fetched:
    """Makes a source a file on this machine.

    Args:
        folder: where downloads go; a local file is not copied there.

    Raises:
        SourceError: it cannot be had; the kind says why and whether it may come back. What was received by then is kept
            where it may be continued, until `forget`.
    """
    if locations.is_local(source.location):
        return _local(Path(source.location))
    if locations.lacks_credentials(source.location):
        raise SourceError(
            ErrorKind.PRIVATE,
            "the link was passed on without what opens it (***); write it into the list as you have it",
        )
    kept = _kept(name_of(source.source), folder)
    if kept and kept.key != _key(source, settings):
        kept = None
    if kept and _suffices(kept.fetched, source):
        return replace(kept.fetched, bytes_fetched=0)
    downloads = _downloads(source, folder)
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        wanted = Wanted.of(source, settings, kept.fetched if kept else None)
        if locations.is_web(source.location):
            path, metadata = _download(source.location, settings, downloads, folder / RULES, wanted)
        else:
            path, metadata = _copy(source.location, settings, downloads, wanted), {}
        if not path.stat().st_size:
            raise SourceError(ErrorKind.DAMAGED, "the download is empty")
        fetched = _keep(source, path, metadata, settings, folder, wanted)
    except SourceError as error:
        if not error.kind.passing:
            shutil.rmtree(downloads, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(downloads, ignore_errors=True)
        raise explain_storage(error) from None
    shutil.rmtree(downloads, ignore_errors=True)
    return fetched


def stamp(source: Source) -> str | None:
    """A cheap fingerprint of the bytes of a source: size and time of change of the local file that holds them.

    None if that is not there. What lies elsewhere is stamped by where: nobody is asked for it.
    """
    origin = locations.origin(source.location)
    place = "" if locations.is_local(source.location) else digest(locations.without_credentials(source.location))[:16]
    if not locations.is_local(origin):
        return f"remote:{place}"
    try:
        status = Path(locations.local_path(origin)).stat()
    except (OSError, ValueError):
        return None
    return ":".join([str(status.st_size), str(status.st_mtime_ns), *([place] if place else [])])


def received(source: Source, folder: Path) -> int:
    """Bytes of a source that lie in `folder` unfinished, so that it shows whether a try got further than the last."""
    try:
        return sum(path.stat().st_size for path in _downloads(source, folder).iterdir() if path.is_file())
    except OSError:
        return 0


def forget(source: Source, folder: Path) -> None:
    """Removes what `fetch` keeps of a source in `folder`, finished or not."""
    remove(name_of(source.source), folder)


def remove(name: str, folder: Path) -> None:
    """Removes a download by its name, see `name_of`."""
    shutil.rmtree(folder / f"{TEMPORARY}{name}", ignore_errors=True)
    kept = _kept(name, folder)
    (folder / f"{name}.json").unlink(missing_ok=True)  # first: what has a note is whole
    if kept:
        kept.fetched.path.unlink(missing_ok=True)


def sweep(folder: Path, names: Container[str]) -> None:
    """Removes the unfinished downloads in `folder` but those of `names`."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_dir() and path.name.removeprefix(TEMPORARY) not in names:
            shutil.rmtree(path, ignore_errors=True)


def kept_in(folder: Path) -> list[tuple[str, int]]:
    """Name and bytes of each finished download in `folder`, the oldest first."""
    notes = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    found = [(path.stem, _kept(path.stem, folder)) for path in notes]
    return [(name, kept.bytes) for name, kept in found if kept]


def kept_bytes(source: Source, folder: Path) -> int:
    """Bytes of the finished download of a source; 0 where there is none."""
    kept = _kept(name_of(source.source), folder)
    return kept.bytes if kept else 0


def name_of(source: str) -> str:
    """What the download of a source is called: ranges of one video, and sources listed twice, have one file.

    Args:
        source: as the list, and `videos.parquet`, have it.
    """
    return video_id(ranges.split(source)[0])


def _local(path: Path) -> Fetched:
    try:
        status = path.stat()
        if S_ISDIR(status.st_mode):
            raise SourceError(
                ErrorKind.UNSUPPORTED, "this is a folder; give it to --source by itself, or list its videos"
            )
        if not S_ISREG(status.st_mode):
            raise SourceError(ErrorKind.UNSUPPORTED, "this is no regular file")
        if not status.st_size:
            raise SourceError(ErrorKind.DAMAGED, "the file is empty")
        return Fetched(path, sha256_file(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            if error.errno != errno.ENAMETOOLONG and path.is_symlink():
                raise SourceError(ErrorKind.NOT_FOUND, f"this link leads nowhere ({path.readlink()})") from None
            raise SourceError(
                ErrorKind.NOT_FOUND,
                "there is no such file (relative paths are taken from the folder of the list; URLs begin with https://)",
            ) from None
        raise SourceError(ErrorKind.STORAGE, f"cannot be read: {error.strerror or error}") from None


def _suffices(here: Fetched, source: Source) -> bool:
    """Whether a download holds all that a source needs."""
    if here.spans is None:
        return True
    return source.part and covers(here.path, here.spans, (source.start_s, source.end_s))


def _copy(location: str, settings: Fetch, downloads: Path, wanted: Wanted) -> Path:
    """Brings an fsspec URL to disk: the part that is wanted, else all of it as a stream."""
    target = downloads / f"media{_ending(locations.suffix(location))}"
    size = 0
    try:
        if wanted.fetch(lambda: StoredFile(location, settings), target):
            return target
    except Exception as error:
        raise explain(error) from None
    # caches of a chained URL would outlive the copy that is made here
    fresh = {scheme: {"skip_instance_cache": True} for scheme in locations.schemes(location)[:-1]}
    try:
        with fsspec.open(location, "rb", **fresh) as remote, target.open("wb") as file:
            if (getattr(remote, "size", None) or 0) > settings.max_bytes:
                raise too_large(settings)
            while block := remote.read(_BLOCK):
                beat(FETCH, bytes=len(block))
                size += len(block)
                if size > settings.max_bytes:
                    raise too_large(settings)
                file.write(block)
    except ImportError as error:
        missing = locations.missing_package(locations.schemes(location)) or str(error)
        raise SourceError(ErrorKind.UNSUPPORTED, missing) from None
    except Exception as error:  # every filesystem of fsspec has errors of its own
        raise explain(error) from None
    return target


def _download(url: str, settings: Fetch, downloads: Path, rules: Path, wanted: Wanted) -> tuple[Path, dict[str, Any]]:
    """Fetches an http(s) URL, a page or a file, with yt-dlp."""
    from curate.stages.fetch_client import Client  # yt-dlp takes long to load, and files on disk do without

    with Client(url, settings, downloads, rules, wanted) as client:
        try:
            info = client.extract_info(url, download=True)
        except Exception as error:  # extractors fail in every way there is
            raise client.explained(error) from None
        if client.refused:
            raise client.refused
        info = info or {}
        if info.get("_type") == "playlist":
            info = next(iter(info.get("entries") or []), None) or {}
        done = [Path(one["filepath"]) for one in info.get("requested_downloads") or [] if one.get("filepath")]
        if not done or not done[0].is_file():
            raise client.explained(RuntimeError(client.last or "yt-dlp found no video to download there"))
    return done[0], info


def _keep(
    source: Source, path: Path, metadata: dict[str, Any], settings: Fetch, folder: Path, wanted: Wanted
) -> Fetched:
    """Gives a finished download its name, and writes its note."""
    name, part = name_of(source.source), wanted.part
    old, note_path = _kept(name, folder), folder / f"{name}.json"
    final = folder / f"{name}{f'.{part.header_sha256[:8]}' if part else ''}{_ending(path.suffix)}"
    note_path.unlink(missing_ok=True)  # what has a note is whole
    if old and old.fetched.path != final:
        old.fetched.path.unlink(missing_ok=True)
    path.replace(final)
    cleaned = {key: _clean(metadata.get(key)) for key in _METADATA}
    page = urlsplit(cleaned["webpage_url"] or "")
    if metadata.get("direct") and cleaned["title"] == Path(unquote(page.path)).stem:
        cleaned["title"] = None  # a bare file has no title, only a name
    if cleaned["uploader"] == page.netloc:
        cleaned["uploader"] = None  # nor is a host an uploader
    format_id = None if metadata.get("direct") else _clean(metadata.get("format_id"))
    fetched = Fetched(
        path=final,
        content_sha256=None if part else sha256_file(final),
        retrieved_at=dt.datetime.now(dt.UTC).replace(microsecond=0),
        format_id=format_id,
        header_sha256=part.header_sha256 if part else None,
        spans=part.spans if part else None,
        bytes_fetched=part.fetched if part else final.stat().st_size,
        whole_because=wanted.whole_because,
        **cleaned,
    )
    size = sum(end - start for start, end in part.spans) if part else final.stat().st_size
    note = asdict(fetched) | {"path": final.name, "bytes": size, "key": _key(source, settings)}
    write_json(note_path, note | {"retrieved_at": fetched.retrieved_at and fetched.retrieved_at.isoformat()})
    return fetched


def _kept(name: str, folder: Path) -> Kept | None:
    """What an earlier call downloaded, if it is all there."""

    def of(value: Any) -> Kept:
        note = dict(value)
        key, size = note.pop("key"), note.pop("bytes")
        path = folder / Path(note.pop("path")).name
        retrieved_at = dt.datetime.fromisoformat(note.pop("retrieved_at"))
        spans = note.pop("spans")
        spans = spans and tuple((int(start), int(end)) for start, end in spans)
        return Kept(key, size, Fetched(path=path, retrieved_at=retrieved_at, spans=spans, **note))

    kept = try_json(folder / f"{name}.json", of)
    if kept is None:
        return None
    try:
        size = kept.fetched.path.stat().st_size
    except OSError:
        return None
    spans = kept.fetched.spans
    return kept if (size == kept.bytes if spans is None else size >= spans[-1][1]) else None


def _downloads(source: Source, folder: Path) -> Path:
    return folder / f"{TEMPORARY}{name_of(source.source)}"


def _key(source: Source, settings: Fetch) -> str:
    """Digest of what decides the bytes, but for what a site does by itself."""
    return digest([source.location, stamp(source), settings.format, list(settings.format_sort)])


def _ending(suffix: str) -> str:
    """A suffix that is safe in a file name."""
    return suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) and suffix.lower() != ".json" else ".media"


def _clean(value: object) -> str | None:
    text = one_line(locations.without_credentials(str(value)), _LONGEST_METADATA) if value is not None else ""
    return text or None
