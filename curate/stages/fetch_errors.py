"""Which kind of failure it is when a source cannot be fetched.

yt-dlp and the file systems of fsspec raise errors of their own, one inside the other; the kind follows from the
innermost type that says something (a status of HTTP, a broken connection, a full disk), then from what sites are known
to answer.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Any

from curate.errors import ErrorKind, SourceError, one_line
from curate.locations import without_credentials

BY_NAME: dict[str, ErrorKind | None] = {
    # what is asked for, or how, is not for yt-dlp
    **dict.fromkeys(
        (
            *("UnsupportedError", "UserNotLive", "UnsupportedRequest", "NoSupportingHandlers", "_UnsafeExtensionError"),
            *("UnsafeExecExpansionError", "RejectedVideoReached", "ExistingVideoReached", "MaxDownloadsReached"),
            *("DownloadCancelled", "EntryNotInPlaylist", "ImportError", "ModuleNotFoundError"),
        ),
        ErrorKind.UNSUPPORTED,
    ),
    **dict.fromkeys(("GeoRestrictedError", "CookieLoadError", "PermissionError"), ErrorKind.PRIVATE),
    **dict.fromkeys(("FileNotFoundError", "IsADirectoryError", "NotADirectoryError"), ErrorKind.NOT_FOUND),
    **dict.fromkeys(
        (
            *("TransportError", "IncompleteRead", "SSLError", "CertificateVerifyError", "ProxyError"),
            *("ContentTooShortError", "DataTruncatedError", "ConnectionError", "TimeoutError", "ThrottledDownload"),
            *("Socks4Error", "Socks5Error", "InvalidVersionError"),
        ),
        ErrorKind.NETWORK,
    ),
    **dict.fromkeys(
        ("SameFileError", "XAttrMetadataError", "XAttrUnavailableError", "LockingUnsupportedError"), ErrorKind.STORAGE
    ),
    **dict.fromkeys(
        (
            *("PostProcessingError", "AudioConversionError", "EmbedThumbnailPPError", "FFmpegPostProcessorError"),
            *("RegexNotFoundError", "ParserError", "JS_Break", "JS_Continue", "JS_Throw"),
            *("compat_HTMLParseError", "_RequiredError"),
        ),
        None,  # a page that is not what yt-dlp knows: what it says decides
    ),
    # these wrap others, or carry what a site says
    **dict.fromkeys(
        (
            *("YoutubeDLError", "ExtractorError", "DownloadError", "UnavailableVideoError", "ReExtractInfo"),
            *("RequestError", "HTTPError"),
        ),
        None,
    ),
}
"""Names of errors -> kind; None where a status or the text decides. A test fails when yt-dlp has one not here."""

_ANSWERS = (
    (ErrorKind.BOT_CHECK, r"not a (?:bot|robot)|captcha|anti-?bot|cloudflare|unusual traffic|verify you are human"),
    (ErrorKind.RATE_LIMITED, r"too many requests|rate.?limit|\b429\b|try again later"),
    (ErrorKind.NETWORK, r"(?:service|server|backend|temporarily) unavailable"),
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
        r"live (?:event|stream)|premieres? in|is not a valid url|no suitable|ffmpeg|impersonat|redirect loop",
    ),
    (
        ErrorKind.NETWORK,
        r"timed? ?out|connection|resolve|network|unreachable|temporar|getaddrinfo|ssl|certificate|incomplete|proxy|"
        r"more expected|did not get any data|bad gateway|service unavailable|internal server error",
    ),
)
"""What sites and libraries answer, most telling first."""

_CHECKS = re.compile(
    r"<title>\s*(?:just a moment|attention required|access denied|ddos-guard|robot or human|are you a robot|"
    r"security check|bot verification|captcha)|verify(?:ing)? (?:that )?you(?:'|’| a)re (?:a )?human|"
    r"not a (?:bot|robot)|unusual traffic from|checking your browser|challenge-platform|_incapsula_resource|"
    r"px-captcha|complete the (?:captcha|security check)",
    re.IGNORECASE,
)
"""What pages say that want to know whether a human asks."""

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


_STATED = re.compile(r"\bHTTP (?:Error|status(?: code)?)[ :]*(\d{3})\b", re.IGNORECASE)
"""A status of HTTP that is left of an error only in its text."""


def explain(error: BaseException) -> SourceError:
    """The failure of a source, with its kind, from whatever was raised; no password is quoted."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, SourceError):
            return cause
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    text = re.sub(r"; please report this issue on .*|\s*\(caused by .*", "", text, flags=re.DOTALL)
    return SourceError(_kind(causes, text), one_line(without_credentials(text)) or type(error).__name__)


def is_bot_check(page: str) -> bool:
    """Whether a web page is one that asks whether a human is there, instead of showing anything."""
    return bool(_CHECKS.search(page))


def explain_storage(error: OSError) -> SourceError:
    """The failure to keep a download on this machine's disk."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else f"cannot be written ({error.strerror or error})"
    return SourceError(ErrorKind.STORAGE, f"while downloading: {reason}")


def _kind(causes: list[BaseException], text: str) -> ErrorKind:
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return ErrorKind.STORAGE
    for cause in causes:
        kind = _by_type(cause, text)
        if kind:
            return kind
    return _by_text(text) or ErrorKind.OTHER


def _by_type(cause: BaseException, text: str) -> ErrorKind | None:
    from yt_dlp.networking.exceptions import HTTPError  # takes long to load

    if isinstance(cause, HTTPError):
        return _by_status(cause, text)
    for kind in type(cause).__mro__:
        if kind.__name__ in BY_NAME:
            return BY_NAME[kind.__name__]
    return None


def _by_status(error: Any, text: str) -> ErrorKind:
    challenged = (error.response.headers.get("cf-mitigated") or "").lower() == "challenge"
    if challenged or _by_text(text) == ErrorKind.BOT_CHECK:
        return ErrorKind.BOT_CHECK
    if error.redirect_loop:
        return ErrorKind.UNSUPPORTED
    return _of_status(error.status) or ErrorKind.OTHER


def _of_status(status: int) -> ErrorKind | None:
    return _STATUS.get(status) or (ErrorKind.NETWORK if status >= 500 else None)


def _by_text(text: str) -> ErrorKind | None:
    said = next((kind for kind, answer in _ANSWERS if re.search(answer, text, re.IGNORECASE)), None)
    stated = _STATED.search(text)
    if stated and said != ErrorKind.BOT_CHECK:
        return _of_status(int(stated[1])) or said
    return said


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was made from, innermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        carried = getattr(one, "exc_info", None)
        waiting += [one.__context__, one.__cause__, getattr(one, "cause", None), getattr(one, "reason", None)]
        if isinstance(carried, tuple) and len(carried) == 3:
            waiting.append(carried[1])
    return reversed(seen)
