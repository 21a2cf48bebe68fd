"""Brings the bytes of a source onto this machine's disk. It and `fetch_errors` alone know yt-dlp.

Local files are used where they lie. Everything else is downloaded into a folder as `<video_id>.<ending>`, with a note
`<video_id>.json` beside it that is written last: what has a note is whole and is not fetched again. Titles and other
metadata come from strangers; they are cleaned, and never become part of a path.
"""

from __future__ import annotations

import datetime as dt
import errno
import io
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import yt_dlp

from curate import locations
from curate.errors import ErrorKind, SourceError, UsageError, one_line
from curate.recipe import Fetch
from curate.records import Fetched, Source
from curate.stages.fetch_errors import TooLarge, explain, explain_storage
from curate.storage.documents import mapping, try_json, write_json
from curate.storage.files import TEMPORARY, digest, sha256_file

_BLOCK = 1 << 20
_METADATA = ("title", "uploader", "license", "webpage_url")
_LONGEST_METADATA = 500


def fetch(source: Source, settings: Fetch, folder: Path) -> Fetched:
    """Makes a source a file on this machine.

    Args:
        folder: where downloads go; a local file is not copied there.

    Raises:
        SourceError: it cannot be had; the kind says why and whether it may come back.
        UsageError: the cookies file of the recipe cannot be read.
    """
    if locations.is_local(source.location):
        return _local(Path(source.location))
    known = _known(source, settings, folder)
    if known:
        return known
    downloads = folder / f"{TEMPORARY}{source.video_id}"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        if locations.is_web(source.location):
            path, metadata = _download(source.location, settings, downloads)
        else:
            path, metadata = _copy(source.location, settings, downloads), {}
        if not path.stat().st_size:
            raise SourceError(ErrorKind.DAMAGED, "the download is empty")
        fetched = _keep(source, path, metadata, settings, folder)
    except OSError as error:
        raise explain_storage(error) from None
    shutil.rmtree(downloads, ignore_errors=True)
    return fetched


def stamp(source: Source) -> str | None:
    """A cheap fingerprint: size and time of change of a local file (None if it is not there), `remote` for others."""
    if not locations.is_local(source.location):
        return "remote"
    try:
        status = Path(source.location).stat()
    except (OSError, ValueError):
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def forget(source: Source, folder: Path) -> None:
    """Removes what `fetch` keeps of a source in `folder`."""
    shutil.rmtree(folder / f"{TEMPORARY}{source.video_id}", ignore_errors=True)
    _note(source, folder).unlink(missing_ok=True)  # first: what has a note is whole
    for path in folder.glob(f"{source.video_id}.*"):
        path.unlink(missing_ok=True)


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
            raise SourceError(
                ErrorKind.NOT_FOUND, "there is no such file (relative paths are taken from the folder of the list)"
            ) from None
        raise SourceError(ErrorKind.STORAGE, f"cannot be read: {error.strerror or error}") from None


def _copy(location: str, settings: Fetch, downloads: Path) -> Path:
    """Streams an fsspec URL to disk."""
    target = downloads / f"media{_ending(locations.suffix(location))}"
    size = 0
    try:
        with fsspec.open(location, "rb") as remote, target.open("wb") as file:
            while block := remote.read(_BLOCK):
                size += len(block)
                if size > settings.max_bytes:
                    raise TooLarge(f"larger than fetch.max_bytes = {settings.max_bytes}")
                file.write(block)
    except Exception as error:  # every filesystem of fsspec has errors of its own
        raise explain(error) from None
    return target


def _download(url: str, settings: Fetch, downloads: Path) -> tuple[Path, dict[str, Any]]:
    """Fetches an http(s) URL, a page or a file, with yt-dlp."""
    watch = _Watch(settings.max_bytes)
    try:
        with yt_dlp.YoutubeDL(_options(settings, downloads, watch)) as downloader:
            info = downloader.extract_info(url, download=True)
    except UsageError:
        raise
    except Exception as error:  # extractors fail in every way there is
        raise watch.refused or explain(error) from None
    if watch.refused:
        raise watch.refused
    info = info or {}
    if info.get("_type") == "playlist":
        info = next(iter(info.get("entries") or []), None) or {}
    done = [Path(one["filepath"]) for one in info.get("requested_downloads") or [] if one.get("filepath")]
    if not done or not done[0].is_file():
        raise explain(RuntimeError(watch.last or "yt-dlp found nothing to download there"))
    return done[0], info


def _options(settings: Fetch, downloads: Path, watch: _Watch) -> dict[str, Any]:
    """yt-dlp told to fetch one video into one folder, to run nothing, and to leave no trace elsewhere."""
    options: dict[str, Any] = {
        "format": settings.format,
        "paths": {"home": str(downloads)},
        "outtmpl": {"default": "media.%(ext)s"},  # nothing of a stranger's metadata but a vetted ending
        "logger": watch,
        "progress_hooks": [watch.progress],
        "match_filter": watch.refuse,
        "quiet": True,
        "noprogress": True,
        "noplaylist": True,
        "playlistend": 2,  # enough to see that it is a playlist
        "max_filesize": settings.max_bytes,
        "socket_timeout": settings.timeout_s,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "extractor_retries": settings.retries,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), _wait),
        "skip_unavailable_fragments": False,
        "sleep_interval": settings.sleep_s,
        "max_sleep_interval": settings.sleep_s,
        "proxy": settings.proxy,
        "fixup": "never",  # would need the ffmpeg program
        "cachedir": False,
        "updatetime": False,
        "check_formats": None,
    }
    if settings.cookies:
        try:  # in memory, because yt-dlp writes the jar back
            options["cookiefile"] = io.StringIO(settings.cookies.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"fetch.cookies = {settings.cookies}: cannot be read ({one_line(error, 80)})") from None
    return options


def _wait(n: int) -> float:
    """Seconds before try `n` + 1 after a failure."""
    return min(0.5 * 2.0**n, 30.0)


class _Watch:
    """Hears what yt-dlp says, and refuses what should not be downloaded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.last = ""
        self.refused: SourceError | None = None

    def debug(self, message: str) -> None:
        if "larger than max-filesize" in message:
            self.refused = explain(TooLarge(f"larger than fetch.max_bytes = {self._max_bytes}"))

    def warning(self, message: str) -> None:
        self.last = message

    info = debug
    error = warning

    def progress(self, state: dict[str, Any]) -> None:
        """Stops a download that turns out too large, whatever its server announced."""
        if (state.get("downloaded_bytes") or 0) > self._max_bytes:
            self.refused = explain(TooLarge(f"larger than fetch.max_bytes = {self._max_bytes}"))
            raise TooLarge(self.refused.message)

    def refuse(self, info: dict[str, Any], *, incomplete: bool) -> str | None:  # noqa: ARG002  # yt-dlp names it
        """yt-dlp's match filter: the reason to pass a video over."""
        reason = None
        if (info.get("n_entries") or 1) > 1:
            reason = "this is a playlist, or a page with several videos; list its videos one by one"
        elif info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            reason = "this is a live stream; list it again when it has ended"
        if reason:
            self.refused = SourceError(ErrorKind.UNSUPPORTED, reason)
        return reason


def _keep(source: Source, path: Path, metadata: dict[str, Any], settings: Fetch, folder: Path) -> Fetched:
    """Gives a finished download its name, and writes its note."""
    final = folder / f"{source.video_id}{_ending(path.suffix)}"
    path.replace(final)
    told = {key: _clean(metadata.get(key)) for key in _METADATA}
    page = urlsplit(told["webpage_url"] or "")
    if metadata.get("direct") and told["title"] == Path(unquote(page.path)).stem:
        told["title"] = None  # a bare file has no title, only a name
    if told["uploader"] == page.netloc:
        told["uploader"] = None  # nor is a host an uploader
    fetched = Fetched(
        path=final,
        content_sha256=sha256_file(final),
        retrieved_at=dt.datetime.now(dt.UTC).replace(microsecond=0),
        **told,
    )
    note = asdict(fetched) | {"path": final.name, "bytes": final.stat().st_size, "key": _key(source, settings)}
    write_json(
        _note(source, folder), note | {"retrieved_at": fetched.retrieved_at and fetched.retrieved_at.isoformat()}
    )
    return fetched


def _known(source: Source, settings: Fetch, folder: Path) -> Fetched | None:
    """What an earlier call downloaded, if it is all there and the same was asked for."""
    note = try_json(_note(source, folder), mapping)
    if note is None:
        return None
    try:
        path = folder / Path(note["path"]).name
        if note.pop("key") != _key(source, settings) or path.stat().st_size != note.pop("bytes"):
            return None
        retrieved_at = dt.datetime.fromisoformat(note["retrieved_at"])
        return Fetched(**note | {"path": path, "retrieved_at": retrieved_at})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(source: Source, folder: Path) -> Path:
    return folder / f"{source.video_id}.json"


def _key(source: Source, settings: Fetch) -> str:
    return digest([source.location, settings.format])


def _ending(suffix: str) -> str:
    """A suffix that is safe in a file name."""
    return suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) and suffix.lower() != ".json" else ".media"


def _clean(value: object) -> str | None:
    return one_line(value, _LONGEST_METADATA) or None if value is not None else None
