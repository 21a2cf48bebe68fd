"""Whether a site lets its files be collected: `robots.txt` (RFC 9309) and the header `X-Robots-Tag: noai`.

Asked for direct links only. What a page offers through its player is what its site shows to anybody.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from curate.errors import ErrorKind, SourceError
from curate.storage.files import write_bytes

AGENT = "curate"
"""What curate is called in `robots.txt`."""
_FRESH_S = 24 * 3600.0
_LONGEST = 512_000
"""Bytes of `robots.txt` that are read: RFC 9309 asks for 500 KiB."""
_NO_TRAINING = re.compile(r"no(?:image)?ai")
ANYWAY = "--set fetch.robots=false fetches nevertheless, where you may"


def check_rules(url: str, folder: Path, read: Callable[[str], tuple[int, bytes]]) -> None:
    """Refuses a URL that the `robots.txt` of its host forbids to everybody, or to curate.

    Args:
        folder: where `robots.txt` of each host is kept for a day, so that a host is asked once.
        read: status and body of a URL; 0 where nothing answers.

    Raises:
        SourceError: it is forbidden, or the rules cannot be read now.
    """
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/robots.txt"
    kept = folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.txt"
    try:
        rules = kept.read_bytes() if time.time() - kept.stat().st_mtime < _FRESH_S else None
    except OSError:
        rules = None
    if rules is None:
        status, rules = read(place)
        if status == 0 or status >= 500 or status == 429:
            why = f"status {status}" if status else "no answer"
            raise SourceError(ErrorKind.NETWORK, f"{place} cannot be read ({why}), so nobody knows what it allows")
        rules = rules[:_LONGEST] if status < 400 else b""  # no rules: all is allowed
        write_bytes(kept, rules)
    parser = RobotFileParser()
    parser.parse(rules.decode("utf-8", "replace").splitlines())
    if not parser.can_fetch(AGENT, url):
        raise SourceError(ErrorKind.PRIVATE, f"{place} asks not to collect this; {ANYWAY}")


def check_tags(tags: Iterable[str]) -> None:
    """Refuses a file whose answer carries `X-Robots-Tag` with `noai` or `noimageai`, for everybody or for curate.

    Raises:
        SourceError: its owner asks not to train on it.
    """
    for tag in tags:
        agent, named, rest = tag.partition(":")
        words = rest if named and agent.strip().lower() == AGENT else tag
        if any(_NO_TRAINING.fullmatch(word.strip().lower()) for word in words.split(",")):
            raise SourceError(ErrorKind.PRIVATE, f"its server says X-Robots-Tag: {tag.strip()[:60]}; {ANYWAY}")
