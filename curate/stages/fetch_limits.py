"""What the recipe allows of one download: bytes, and bytes a second; how long to wait between two tries."""

from __future__ import annotations

import random
import time

from curate.errors import ErrorKind, SourceError
from curate.heartbeat import FETCH, beat
from curate.recipe import Fetch


class Pace:
    """Holds a download to `fetch.rate_limit` and `fetch.max_bytes`."""

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings
        self._taken, self._began = 0, time.monotonic()

    def take(self, size: int) -> None:
        """So many bytes have come.

        Raises:
            SourceError: more have come than the recipe allows.
        """
        beat(FETCH, bytes=size)
        self._taken += size
        if self._taken > self._settings.max_bytes:
            raise too_large(self._settings)
        if self._settings.rate_limit:
            ahead = self._taken / self._settings.rate_limit - (time.monotonic() - self._began)
            while ahead > 0:
                time.sleep(min(ahead, 1.0))
                beat(FETCH)
                ahead -= 1.0


def too_large(settings: Fetch) -> SourceError:
    """The failure of a file that is larger than the recipe allows."""
    return SourceError(ErrorKind.TOO_LARGE, f"larger than fetch.max_bytes = {settings.max_bytes}")


def wait_s(n: int) -> float:
    """Seconds before try `n` + 1 after a failure, more or less: many workers must not come back at once."""
    return min(0.5 * 2.0**n, 30.0) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
