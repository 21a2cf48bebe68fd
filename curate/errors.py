"""Every error that reaches a user, drawn as a tree.

    CurateError
    ├── UsageError        the user can fix it: a file, line, key or option is named, and the fix
    │   └── UnavailableError  it needs something that is not installed or not on this machine
    ├── SourceError       one source cannot be used; becomes a row with `status = failed`, never stops a build
    ├── BuildError        a folder is not the build that it should be, or no source at all could be read
    ├── StorageError      the disk is full or refuses to be written
    └── TrainingError     training went wrong (not a number): names the step, the faces and the last good checkpoint

The command line turns `UsageError` into exit status 2 and every other one into 1, each in one line. One more stays
inside `evaluate`: a `DamagedPictureError`, whose sample is counted and left out.
"""

from __future__ import annotations

from enum import StrEnum


class CurateError(Exception):
    """Base of all errors below; its text is one line that a user can act on."""


class UsageError(CurateError):
    """Wrong usage or unusable input: names the file, line, key or option, and the fix."""


class UnavailableError(UsageError):
    """A library, model or device that this work needs is missing here; says how to get it."""


class BuildError(CurateError):
    """A build is damaged, is not finished, or had no source that could be read."""


class StorageError(CurateError):
    """Writing failed: the disk is full, or the folder cannot be written."""


class TrainingError(CurateError):
    """Training went wrong in a way that no further step repairs."""


class ErrorKind(StrEnum):
    """Why a source failed (`videos.parquet`, column `error_kind`)."""

    NOT_FOUND = "not_found"
    PRIVATE = "private"
    BOT_CHECK = "bot_check"
    RATE_LIMITED = "rate_limited"
    NETWORK = "network"
    UNSUPPORTED = "unsupported"
    NOT_VIDEO = "not_video"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    STORAGE = "storage"
    OTHER = "other"

    @property
    def passing(self) -> bool:
        """Whether the failure may go away by itself, so that the next run tries again."""
        return self in (ErrorKind.BOT_CHECK, ErrorKind.RATE_LIMITED, ErrorKind.NETWORK, ErrorKind.STORAGE)

    @property
    def fix(self) -> str:
        """What a user can do about failures of this kind, with what curate has for it."""
        return _FIXES[self]


_FIXES = {
    ErrorKind.NOT_FOUND: "correct or drop these lines of the list",
    ErrorKind.PRIVATE: "send the cookies of an account that may see them (--set fetch.cookies=FILE or "
    "fetch.cookies_from_browser=firefox); where robots.txt or X-Robots-Tag refuses and you may, --set "
    "fetch.robots=false; then --retry private",
    ErrorKind.BOT_CHECK: "run again later, slower (--set fetch.per_host=1 --set fetch.per_minute=6), with cookies "
    "(--set fetch.cookies=FILE) or as a browser (--set fetch.impersonate=chrome)",
    ErrorKind.RATE_LIMITED: "run again later, slower: --set fetch.per_host=1, --set fetch.per_minute=6",
    ErrorKind.NETWORK: "run again; where it stays, --set fetch.timeout_s=120, --set fetch.retries=10, or look at "
    "fetch.proxy",
    ErrorKind.UNSUPPORTED: "list the page or file of one video; for sites that changed pip install -U yt-dlp, then "
    "--retry unsupported",
    ErrorKind.NOT_VIDEO: "drop these lines of the list, or list the video itself",
    ErrorKind.DAMAGED: "get sound copies, then --retry damaged",
    ErrorKind.TOO_LARGE: "raise fetch.max_bytes or fetch.max_duration_s, or take a smaller format "
    "(--set 'fetch.format_sort=[res:480, +size]'), then --retry too_large",
    ErrorKind.STORAGE: "free space, or see to the rights of these files, then run again",
    ErrorKind.OTHER: "read the column error of videos.parquet, then --retry other",
}


class SourceError(CurateError):
    """One source cannot be used.

    Args:
        kind: what sort of failure this is; decides whether a later run tries again.
        message: one line for the column `error`; may quote hostile text, so it is cut and stripped of controls.
        retry_after_s: seconds for which its host asks to be left alone; None where it does not.
    """

    def __init__(self, kind: ErrorKind, message: str, retry_after_s: float | None = None) -> None:
        self.kind = kind
        self.message = one_line(message)
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[SourceError], tuple[ErrorKind, str, float | None]]:
        return SourceError, (self.kind, self.message, self.retry_after_s)  # crosses process borders whole


def one_line(text: object, limit: int = 300) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
