"""Which kind of failure it is when a source cannot be fetched.

yt-dlp and the file systems of fsspec raise errors of their own, one inside the other; the kind is told by the innermost
type that says something (a status of HTTP, a broken connection, a full disk), then by what sites are known to answer.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError, UnsupportedError, UserNotLive

from curate.errors import ErrorKind, SourceError, one_line


class TooLarge(Exception):  # noqa: N818  # travels through yt-dlp and fsspec, and ends as a SourceError
    """The source is larger than the recipe allows."""


_ANSWERS = (
    (ErrorKind.BOT_CHECK, r"not a (?:bot|robot)|captcha|anti-?bot|cloudflare|unusual traffic|verify you are human"),
    (ErrorKind.RATE_LIMITED, r"too many requests|rate.?limit|\b429\b|try again later"),
    (
        ErrorKind.PRIVATE,
        r"\bprivate\b|members?.only|log ?in|sign in|registered users|account|password|confirm your age|age.restrict|"
        r"purchase|subscri|not available (?:in|from) your|geo.?restrict|permission|forbidden|unauthori[sz]ed",
    ),
    (
        ErrorKind.NOT_FOUND,
        r"not found|unavailable|no longer (?:available|exists)|removed|deleted|does(?: not|n't) exist|terminated|"
        r"\b404\b|\b410\b|has been taken down",
    ),
    (
        ErrorKind.UNSUPPORTED,
        r"unsupported url|no (?:video )?formats? found|requested format is not available|\bdrm\b|no video|"
        r"live (?:event|stream)|premieres? in|is not a valid url|no suitable|ffmpeg",
    ),
    (
        ErrorKind.NETWORK,
        r"timed? ?out|connection|resolve|network|unreachable|temporar|getaddrinfo|ssl|certificate|incomplete|"
        r"more expected|did not get any data|bad gateway|service unavailable|internal server error",
    ),
)
"""What sites and libraries answer, most telling first."""

_STATUS = {
    401: ErrorKind.PRIVATE,
    402: ErrorKind.PRIVATE,
    403: ErrorKind.PRIVATE,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.NETWORK,
    410: ErrorKind.NOT_FOUND,
    425: ErrorKind.NETWORK,
    429: ErrorKind.RATE_LIMITED,
    451: ErrorKind.PRIVATE,
}


def explain(error: BaseException) -> SourceError:
    """The failure of a source, with its kind, from whatever was raised."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    text = re.sub(r"; please report this issue on .*|\s*\(caused by .*", "", text, flags=re.DOTALL)
    return SourceError(_kind(error, text), one_line(text) or type(error).__name__)


def explain_storage(error: OSError) -> SourceError:
    """The failure to keep a download on this machine's disk."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else f"cannot be written ({error.strerror or error})"
    return SourceError(ErrorKind.STORAGE, f"while downloading: {reason}")


def _kind(error: BaseException, text: str) -> ErrorKind:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, SourceError):
            return cause.kind
        if isinstance(cause, TooLarge):
            return ErrorKind.TOO_LARGE
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return ErrorKind.STORAGE
    for cause in causes:
        kind = _by_type(cause, text)
        if kind:
            return kind
    return _by_text(text) or ErrorKind.OTHER


def _by_type(cause: BaseException, text: str) -> ErrorKind | None:
    if isinstance(cause, HTTPError):
        bot = _by_text(text) == ErrorKind.BOT_CHECK
        known = ErrorKind.BOT_CHECK if bot else _STATUS.get(cause.status)
        return known or (ErrorKind.NETWORK if cause.status >= 500 else ErrorKind.OTHER)
    if isinstance(cause, GeoRestrictedError):
        return ErrorKind.PRIVATE
    if isinstance(cause, (UnsupportedError, UserNotLive, ImportError)):
        return ErrorKind.UNSUPPORTED
    if isinstance(cause, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return ErrorKind.NOT_FOUND
    if isinstance(cause, PermissionError):
        return ErrorKind.PRIVATE
    if isinstance(cause, (TransportError, ContentTooShortError, ConnectionError, TimeoutError)):
        return ErrorKind.NETWORK
    return None


def _by_text(text: str) -> ErrorKind | None:
    return next((kind for kind, answer in _ANSWERS if re.search(answer, text, re.IGNORECASE)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was made from, innermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        told = getattr(one, "exc_info", None)
        waiting += [one.__context__, one.__cause__, getattr(one, "cause", None), getattr(one, "reason", None)]
        if isinstance(told, tuple) and len(told) == 3:
            waiting.append(told[1])
    return reversed(seen)
