"""Parts of a file in a store that fsspec reads, such as s3 or gs."""

from __future__ import annotations

from typing import Any

import fsspec

from curate import locations
from curate.errors import ErrorKind, SourceError
from curate.heartbeat import FETCH, beat
from curate.recipe import Fetch
from curate.stages.fetch_limits import Pace
from curate.stages.fetch_part import NotAlone

_BLOCK = 1 << 22


class StoredFile:
    """A file of which parts are read, as long as it stays the same.

    Raises:
        NotAlone: it cannot be read in parts.
    """

    def __init__(self, location: str, settings: Fetch) -> None:
        if len(locations.links(location)) > 1:
            raise NotAlone("a chained URL is read from its beginning")
        system, self._path = fsspec.core.url_to_fs(location, skip_instance_cache=True)
        self._system: Any = system
        self._pace = Pace(settings)
        about = system.info(self._path)
        if about.get("size") is None:
            raise NotAlone("its store does not say how long it is")
        self.length = int(about["size"])
        self._version = self._said()

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`.

        Raises:
            NotAlone: the store gives no ranges.
            SourceError: the file is not the same any more, or the recipe does not allow so many bytes.
        """
        data = bytearray()
        while len(data) < end - start:
            beat(FETCH)
            block = self._system.cat_file(self._path, start=start + len(data), end=min(start + len(data) + _BLOCK, end))
            if not 0 < len(block) <= min(_BLOCK, end - start - len(data)):
                raise NotAlone("its store gives no ranges")
            self._pace.take(len(block))
            data += block
        if self._said() != self._version:
            raise SourceError(ErrorKind.NETWORK, "the file changed while parts of it were read")
        return bytes(data)

    def _said(self) -> str:
        """What tells this version of the file from others, asked for again."""
        self._system.invalidate_cache()
        return str(self._system.ukey(self._path))
