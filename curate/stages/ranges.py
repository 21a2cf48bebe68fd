"""Which part of a video a row of a list means: cells of `start` and `end`, and `#t=START,END` behind a source.

A time is a number of seconds, `h:m:s` or `m:s` (seconds may have a fraction), or `1h2m3s`; the fragment is that of the
W3C's Media Fragments (temporal dimension, normal play time).
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_FRAGMENT = re.compile(r"#t=(?:npt:)?([^,#&]*)(?:,([^,#&]*))?$")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d*)?)")
_UNITS = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.IGNORECASE)
_SECONDS = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """A part of a video.

    Attributes:
        start_s, end_s: seconds from the first frame, the end not included; None where it begins or ends with the video.
    """

    start_s: float | None = None
    end_s: float | None = None

    def __str__(self) -> str:
        """As a fragment, the same for equal ranges; empty for a whole video."""
        start, end = (("" if not value else repr(value).removesuffix(".0")) for value in (self.start_s, self.end_s))
        return "" if not start and not end else f"#t={start or 0},{end}".removesuffix(",")


def of_cells(start: Any, end: Any) -> Range:
    """The range that two cells of a row mean; an empty one leaves that side open.

    Raises:
        ValueError: one is no time, or nothing lies between them; the message is for the user.
    """
    return _checked(_seconds(start, "start"), _seconds(end, "end"))


def split(source: str) -> tuple[str, Range]:
    """A source without its fragment `#t=START,END`, and the range; any other fragment is left to the source.

    Raises:
        ValueError: nothing lies between the two times.
    """
    found = _FRAGMENT.search(source)
    if not found or not (found[1] or found[2]):
        return source, Range()
    try:
        start, end = _seconds(found[1], "start"), _seconds(found[2], "end")
    except ValueError:
        return source, Range()  # a page may name a part of itself so
    return source[: found.start()], _checked(start, end)


def _checked(start: float | None, end: float | None) -> Range:
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"nothing lies between start {start or 0:g} s and end {end:g} s; the end must come later")
    return Range(start, end) if start or end else Range()  # from 0 on is the whole video


def _seconds(value: Any, name: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:  # pandas writes NaN
        return None
    seconds = _of_text(value.strip()) if isinstance(value, str) else _of_value(value)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError(
            f"{name} = {str(value)[:40]!r} is no time; give seconds or h:m:s, or rename the column if it is none"
        )
    return seconds


def _of_text(text: str) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(text)
    clock = _CLOCK.fullmatch(text)
    found = clock or _UNITS.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    beyond = clock and (seconds >= 60 or (clock[1] and minutes >= 60))
    return None if beyond else 3600 * hours + 60 * minutes + seconds


def _of_value(value: Any) -> float | None:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, dt.time):
        return dt.timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        ).total_seconds()
    return None
