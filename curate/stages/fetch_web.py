"""Parts of a file on a web server (RFC 9110, 14), through yt-dlp's connection: its cookies, headers and proxy."""

from __future__ import annotations

from typing import Any, Protocol

from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, TransportError

from curate.errors import ErrorKind, SourceError
from curate.heartbeat import FETCH, beat
from curate.recipe import Fetch
from curate.stages.fetch_limits import Pace
from curate.stages.fetch_part import NotAlone
from curate.stages.fetch_validator import Validator

_BLOCK = 1 << 16
_READ = 1 << 13
"""Bytes that are read at a time; of an answer that breaks off, as many may be lost."""
_NO_RANGES = "its server gives no byte ranges"
CHANGED = "the file changed on the server while parts of it were read"


class Connection(Protocol):
    """What asks a server."""

    def send(self, request: Request) -> Response:
        """Asks, and gives the answer."""


class WebFile:
    """A file of which parts are read, as long as it stays the same.

    Args:
        info: yt-dlp's, of the format that was chosen.
        one_file: the format is one file, not pieces of a list.

    Raises:
        NotAlone: it cannot be read in parts.
    """

    def __init__(self, connection: Connection, info: dict[str, Any], settings: Fetch, one_file: bool) -> None:
        if not one_file:
            raise NotAlone("its site gives it in pieces of a list")
        self._connection, self._info = connection, info
        self._pace, self._tries = Pace(settings), settings.retries
        self._validator = Validator()  # agrees with all
        with self._ask(0, _BLOCK) as response:
            self._validator = Validator.of(response.status, response.headers)
            if self._validator.length is None:
                raise NotAlone("its server does not say how long it is")
            self.length = self._validator.length
            self._head = self._taken(response, min(_BLOCK, self.length))

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`; where an answer breaks off that had got on, the rest is asked for.

        Raises:
            NotAlone: the server gives no ranges.
            SourceError: the file is not the same any more, or the recipe does not allow so many bytes.
            TransportError: nothing comes any more.
        """
        data, tries = bytearray(self._head[start:end]), self._tries
        while len(data) < end - start:
            before = len(data)
            try:
                with self._ask(start + before, end) as response:
                    data += self._taken(response, end - start - before)
            except TransportError:
                if not tries:
                    raise
                tries -= 1
                continue
            if len(data) == before:
                raise SourceError(ErrorKind.NETWORK, "the server ends its answer too early")
            tries = self._tries
        return bytes(data)

    def _taken(self, response: Response, size: int) -> bytes:
        """So many bytes of an answer, or those that come before it breaks off."""
        data = bytearray()
        while len(data) < size:
            try:
                block = response.read(min(_READ, size - len(data)))
            except TransportError:
                if data:
                    break
                raise
            if not block:
                break
            self._pace.take(len(block))
            data += block
        return bytes(data)

    def _ask(self, start: int, end: int) -> Response:
        beat(FETCH)
        headers = {**(self._info.get("http_headers") or {}), "Range": f"bytes={start}-{end - 1}"}
        headers["Accept-Encoding"] = "identity"
        if self._validator.condition:
            headers["If-Range"] = self._validator.condition
        try:
            response = self._connection.send(Request(self._info["url"], headers=headers))
        except HTTPError as error:
            if error.status == 416:
                raise NotAlone(_NO_RANGES) from None
            raise
        if not self._validator.agrees(Validator.of(response.status, response.headers)):
            raise SourceError(ErrorKind.NETWORK, CHANGED)
        if response.status != 206:
            raise NotAlone(_NO_RANGES)
        if not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            raise NotAlone("its server gives other bytes than those that were asked for")
        return response
