"""yt-dlp as a polite client that fetches one video into one folder.

Half a download is continued only where it is the same format of the same source and the server says, by ETag or time of
change and by length, that it still is the same file; else it starts again. What servers say beside the video is heard:
when to come again, that a machine is not welcome, that a file is not for training.
"""

from __future__ import annotations

import email.utils
import glob
import io
import random
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.networking.impersonate import ImpersonateTarget

from curate.errors import ErrorKind, SourceError
from curate.heartbeat import FETCH, beat
from curate.recipe import Fetch
from curate.stages import robots
from curate.stages.cookies import read_cookies
from curate.stages.fetch_errors import explain, is_bot_check
from curate.stages.fetch_limits import too_large, wait_s
from curate.stages.fetch_part import Wanted
from curate.stages.fetch_validator import Validator
from curate.stages.fetch_web import WebFile
from curate.storage.documents import mapping, try_json, write_json
from curate.storage.files import digest

_CONTINUE_S = 0.5
"""About so long a download that broke off, but had got on, waits before it continues."""
_LONGEST_PAGE = 32 << 20
_HEAD = 1 << 16
_BEGINNING = 64
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)


class Client(yt_dlp.YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """Fetches one video.

    Args:
        location: of the source, by which half a download is known again.
        settings: of the recipe.
        folder: for what is downloaded; what an earlier try left there is continued where it may be.
        rules: folder that keeps the `robots.txt` of hosts.
        wanted: whether a range suffices.
    """

    def __init__(self, location: str, settings: Fetch, folder: Path, rules: Path, wanted: Wanted) -> None:
        self._wanted = wanted
        self._location, self._settings, self._rules = location, settings, rules
        self._half: Path | None = None  # the note beside the download that is under way
        self._validator: Validator | None = None
        self._part = Path()
        self._key = ""
        self._page = ""
        self._heard = 0  # bytes, in the last sign of progress
        self._tags: list[str] = []
        self._answers: list[Response] = []  # those that are open
        self.last = ""
        self.refused: SourceError | None = None
        self.retry_after_s: float | None = None
        super().__init__(options(settings, folder) | {"logger": _Ear(self), "match_filter": self._refuse})
        self.add_progress_hook(self._check_size)

    def explained(self, error: BaseException) -> SourceError:
        """The failure of the source, with what its server said."""
        if self.refused:
            return self.refused
        found = explain(error)
        if found.kind in (ErrorKind.UNSUPPORTED, ErrorKind.OTHER) and is_bot_check(self._page):
            found = SourceError(ErrorKind.BOT_CHECK, "a page that checks for machines came in place of the video")
        elif found.kind == ErrorKind.PRIVATE and self._half is not None and self._received():
            found = SourceError(ErrorKind.NETWORK, f"in the middle of the download: {found.message}")
        return SourceError(found.kind, found.message, self.retry_after_s)

    def dl(self, name: str, info: dict[str, Any], subtitle: bool = False, test: bool = False) -> Any:
        """Downloads one format; as long as a try gets further than those before it, another follows."""
        one_file = str(info.get("protocol", "")) in ("http", "https")
        if not test and self._wanted.fetch(lambda: WebFile(self, info, self._settings, one_file), Path(name)):
            return True, True
        if not test and (info.get("filesize") or 0) > self._settings.max_bytes:
            self.refused = too_large(self._settings)
            raise self.refused
        if test or not str(info.get("protocol", "")).startswith("http") or "m3u8" in info["protocol"]:
            _clear(Path(name))  # pieces of a list, which may be another list now
            return super().dl(name, info, subtitle, test)
        self._part, self._half = Path(f"{name}.part"), Path(f"{name}.half")
        self._validator = self._remembered(info)
        if self._validator is None:
            self._part.unlink(missing_ok=True)
        furthest = -1
        while True:
            furthest = max(furthest, self._received())
            try:
                done = super().dl(name, info, subtitle, test)
                self._half.unlink(missing_ok=True)
                return done
            except Exception as error:
                if self._received() <= furthest or not self.explained(error).kind.passing:
                    raise
                time.sleep(_CONTINUE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    def urlopen(self, req: Request | str) -> Response:
        """Sends a request, and hears what comes beside the answer."""
        beat(FETCH)
        request = Request(req) if isinstance(req, str) else req
        try:
            if self._half is not None:
                return self._checked(self._open_media(request))
            start, _, end = (request.headers.get("Range") or "").removeprefix("bytes=").partition("-")
            if start not in ("", "0") and not end:  # the rest of a piece that broke off: nothing says whose it is
                del request.headers["Range"]
            response = self.send(request)
        except HTTPError as error:
            self._hear(error)
            raise
        self._tags += response.headers.get_all("X-Robots-Tag") or []
        return self._overheard(response)

    def close(self) -> None:
        """Closes what yt-dlp leaves open: answers whose headers alone it wants, refusals, downloads that failed."""
        for response in self._answers:
            response.close()
        super().close()

    def send(self, request: Request) -> Response:
        """Asks a server, and remembers the answer for `close`."""
        self._answers = [response for response in self._answers if not response.closed]
        try:
            response: Response = super().urlopen(request)
        except HTTPError as error:
            self._answers.append(error.response)
            raise
        self._answers.append(response)
        return response

    def _open_media(self, request: Request) -> Response:
        """Asks for a file, or for the rest of one; a file that has changed comes whole."""
        wanted = request.headers.get("Range") or ""
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        before = self._validator
        if not wanted or start == "0" or before is None:
            return self._noted(self.send(request))
        if before.condition:
            request.headers["If-Range"] = before.condition
        elif not end:  # nothing says that the rest belongs to what is here; a piece by itself is of this very try
            return self._whole(request)
        try:
            response = self.send(request)
        except HTTPError as error:
            if error.status != 416:
                raise
            whole = self._whole(request)
            if before.agrees(Validator.of(whole.status, whole.headers)) and before.length == int(start):
                whole.close()
                raise  # it is all here: yt-dlp sees to it
            return whole
        if response.status == 206 and before.agrees(Validator.of(response.status, response.headers)):
            return response
        if response.status == 206:
            response.close()
            return self._whole(request)
        return self._noted(response)

    def _whole(self, request: Request) -> Response:
        """Asks for all of a file from its beginning."""
        for name in ("Range", "If-Range"):
            request.headers.pop(name, None)
        return self._noted(self.send(request))

    def _noted(self, response: Response) -> Response:
        """Remembers, beside the download, which file it is of."""
        assert self._half is not None
        self._validator = Validator.of(response.status, response.headers)
        note = {"key": self._key, "validator": asdict(self._validator)}
        write_json(self._half, note)
        return response

    def _remembered(self, info: dict[str, Any]) -> Validator | None:
        """What is known of half a download of this format of this source; None where there is none."""
        assert self._half is not None
        self._key = digest([self._location, info.get("format_id"), info.get("ext")])
        note = try_json(self._half, mapping) or {}
        try:
            return Validator(**note["validator"]) if note["key"] == self._key and self._received() else None
        except (KeyError, TypeError):
            return None

    def _received(self) -> int:
        try:
            return self._part.stat().st_size
        except OSError:
            return 0

    def _checked(self, response: Response) -> Response:
        """Refuses a web page that comes in place of a file."""
        named = response.headers.get_content_type() == "text/html"
        head = response.read(_HEAD if named else _BEGINNING)
        if not (head.lstrip()[:1] == b"<" if named else _PAGE.match(head)):  # a page may go by the type of a video
            return Response(_Rest(head, response), response.url, response.headers, response.status, response.reason)
        head += b"" if named else response.read(_HEAD)
        response.close()
        if is_bot_check(head.decode("utf-8", "replace")):
            raise SourceError(ErrorKind.BOT_CHECK, "a page that checks for machines came in place of the video")
        if self._received():
            raise SourceError(ErrorKind.NETWORK, "a web page came in the middle of the download")
        raise SourceError(ErrorKind.NOT_VIDEO, "a web page came in place of the video")

    def _overheard(self, response: Response) -> Response:
        """The same answer; the text of a web page is remembered."""
        if response.headers.get_content_type() != "text/html":
            return response
        body = response.read(_LONGEST_PAGE)
        response.close()
        self._page = body[:_HEAD].decode("utf-8", "replace")
        return Response(
            io.BytesIO(body), response.url, response.headers, response.status, response.reason, response.extensions
        )

    def _hear(self, error: HTTPError) -> None:
        """Learns from a refusal when the host wants to be asked again."""
        if error.status in (429, 503):
            self.retry_after_s = seconds_to_wait(error.response.headers.get("Retry-After"))

    def _check_size(self, state: dict[str, Any]) -> None:
        """Stops a download that turns out too large, whatever its server announced."""
        received = state.get("downloaded_bytes") or 0
        beat(FETCH, bytes=max(0, received - self._heard))
        self._heard = received
        if received > self._settings.max_bytes:
            raise too_large(self._settings)

    def refuse_size(self) -> None:
        """Notes that the file is larger than the recipe allows."""
        self.refused = too_large(self._settings)

    def _refuse(self, info: dict[str, Any], *, incomplete: bool) -> str | None:
        """yt-dlp's match filter: the reason to pass a video over."""
        try:
            self._check_video(info)
            if info.get("direct") and self._settings.robots and not incomplete:
                robots.check_tags(self._tags)
                robots.check_rules(info["url"], self._rules, self._read)
        except SourceError as error:
            self.refused = error
            return error.message
        return None

    def _check_video(self, info: dict[str, Any]) -> None:
        size = info.get("filesize") or info.get("filesize_approx") or 0
        limit = self._settings.max_duration_s
        if (info.get("n_entries") or 1) > 1:
            raise SourceError(
                ErrorKind.UNSUPPORTED, "this is a playlist, or a page with several videos; list its videos one by one"
            )
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise SourceError(ErrorKind.UNSUPPORTED, "this is a live stream; list it again when it has ended")
        if limit is not None and (info.get("duration") or 0) > limit:
            raise SourceError(
                ErrorKind.TOO_LARGE, f"{info['duration']:g} s are longer than fetch.max_duration_s = {limit:g}"
            )
        if size > self._settings.max_bytes and self._wanted.seconds is None:
            raise too_large(self._settings)

    def _read(self, url: str) -> tuple[int, bytes]:
        """Status and body of a small file; 0 where nothing answers."""
        try:
            with self.send(Request(url)) as response:
                return response.status, response.read(_LONGEST_PAGE)
        except HTTPError as error:
            return error.status, b""
        except RequestError:
            return 0, b""


class _Ear:
    """yt-dlp's logger: what it says is heard by the client, and shown to nobody."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def debug(self, message: str) -> None:
        if "larger than max-filesize" in message:
            self._client.refuse_size()

    def warning(self, message: str) -> None:
        self._client.last = message

    info = debug
    error = warning


class _Rest(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: Response) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return bytes(self._rest.read(None if size < 0 else size))
        cut = len(self._head) if size < 0 else size
        head, self._head = self._head[:cut], self._head[cut:]
        return head + (bytes(self._rest.read()) if size < 0 else b"")


def options(settings: Fetch, folder: Path | None) -> dict[str, Any]:
    """Options of yt-dlp by which it fetches one video into one folder, runs nothing, and leaves no trace elsewhere."""
    headers = {"User-Agent": settings.user_agent} if settings.user_agent else {}
    runtime, _, path = (settings.js_runtime or "").partition(":")
    chosen: dict[str, Any] = {
        "format": settings.format,
        "format_sort": list(settings.format_sort),
        "paths": {"home": str(folder or ".")},
        "outtmpl": {"default": "media.%(ext)s"},  # nothing of a stranger's metadata but a vetted ending
        "quiet": True,
        "noprogress": True,
        "noplaylist": True,
        "playlistend": 2,  # enough to see that it is a playlist
        "max_filesize": settings.max_bytes,
        "ratelimit": settings.rate_limit,
        "socket_timeout": settings.timeout_s,
        "retries": 0,  # the client continues what gets on, and the run asks again for what does not
        "fragment_retries": settings.retries,
        "extractor_retries": settings.retries,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), wait_s),
        "skip_unavailable_fragments": False,
        "proxy": settings.proxy,
        "http_headers": headers,
        "extractor_args": {
            extractor: {key: list(values) for key, values in arguments.items()}
            for extractor, arguments in settings.extractor_args.items()
        },
        "fixup": "never",  # would need the ffmpeg program
        "cachedir": False,
        "updatetime": False,
        "check_formats": None,
    }
    if settings.cookies:  # in memory, because yt-dlp writes the jar back
        chosen["cookiefile"] = io.StringIO(read_cookies(settings.cookies))
    if settings.cookies_from_browser:
        browser, _, profile = settings.cookies_from_browser.partition(":")
        chosen["cookiesfrombrowser"] = (browser.lower(), profile or None, None, None)
    if settings.impersonate:
        chosen["impersonate"] = ImpersonateTarget.from_str(settings.impersonate.lower())
    if runtime:
        chosen["js_runtimes"] = {runtime.lower(): {"path": path} if path else {}}
    return chosen


def seconds_to_wait(text: str | None) -> float | None:
    """What a header `Retry-After` asks for: seconds from now; None where it says nothing that can be read."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _clear(target: Path) -> None:
    """Removes what an earlier try left of a download."""
    for path in target.parent.glob(f"{glob.escape(target.name)}.*"):
        path.unlink(missing_ok=True)
