"""Fetches of a video only what a range of it needs, and gives for it what the whole file would give.

An MP4 file has a table of all its packets (`moov`, ISO/IEC 14496-12). So the file here is as long as that on the server
and holds the headers of its boxes, the table, the first packets, which tell how frames look, and the packets from the
key frame before the range to the last one that decoding its end needs; the rest are holes. Frame numbers and times are
those of the whole video, because they follow from the table. Of packets that are not here it is believed that each
holds one picture.

What has no such table (MPEG-TS, WebM, MP4 in fragments) does not tell the number of a frame without all that lies
before it, and is fetched whole. yt-dlp's own `download_ranges` is no help: the ffmpeg program would cut the range out,
with times and frame numbers that count from the key frame before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import av

from curate.errors import SourceError, one_line
from curate.recipe import Fetch
from curate.records import Fetched, Source, Spans
from curate.stages.decode import places_between
from curate.stages.decode_container import open_container
from curate.stages.decode_index import Index, read_index
from curate.stages.decode_pyav import first_packet
from curate.stages.decode_times import REORDERED

HEAD = 2 * REORDERED
"""First packets that are always fetched: a decoder shows the first frame once it has seen so many at most."""
_BLOCK = 1 << 16
"""Bytes that are asked for at least, and gaps up to which two requests are one."""
_LARGEST_TABLE = 1 << 28
_MOST_BOXES = 256
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class NotAlone(Exception):  # noqa: N818  # no error of the program: the whole file has to be fetched
    """The range cannot be had without the whole file; the message says why."""


class Remote(Protocol):
    """A file on a server."""

    @property
    def length(self) -> int:
        """Bytes of the whole file."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`.

        Raises:
            NotAlone: the server gives no ranges.
            SourceError: it cannot be had.
        """


@dataclass(frozen=True)
class Part:
    """What of a file is here.

    Attributes:
        spans: the bytes, as (start, end), ascending and disjoint.
        header_sha256: hex digest of the table and the length, which tells the file from others.
        fetched: bytes that were asked for by this call.
    """

    spans: Spans
    header_sha256: str
    fetched: int


@dataclass
class Wanted:
    """Whether a range of a video suffices, and what came of it.

    Attributes:
        seconds: start and end of the range; None: the whole video is wanted.
        known: what an earlier call made of the same source.
        part: what was fetched of it.
        whole_because: why the range cannot be had alone.
    """

    seconds: tuple[float | None, float | None] | None = None
    known: Fetched | None = None
    part: Part | None = None
    whole_because: str | None = None

    @classmethod
    def of(cls, source: Source, settings: Fetch, known: Fetched | None) -> Wanted:
        """What is wanted of a source."""
        alone = source.part and settings.only_range and (source.start_s is not None or source.end_s is not None)
        return cls((source.start_s, source.end_s), known) if alone else cls()

    def fetch(self, remote: Callable[[], Remote], path: Path) -> bool:
        """Fetches the range alone, where it is what is wanted and can be had; else says why not.

        Raises:
            SourceError: there is no frame in the range, or the server does not give it.
        """
        if self.seconds is None or self.whole_because:
            return False
        try:
            self.part = fetch_part(remote(), path, self.seconds, self.known)
        except NotAlone as error:
            self.whole_because = one_line(str(error), 200)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if self.part is None:
            path.unlink(missing_ok=True)
        return self.part is not None


def fetch_part(
    remote: Remote, path: Path, wanted: tuple[float | None, float | None], known: Fetched | None = None
) -> Part:
    """Makes a file with holes that gives a range of a video.

    Args:
        path: of the file that is made.
        wanted: start and end of the range, seconds from the first frame; None: from the beginning, to the end.
        known: what an earlier call made of the same source; used where the file still is the same.

    Raises:
        NotAlone: the whole file has to be fetched.
        SourceError: there is no frame in the range, or the server does not give it.
    """
    with path.open("w+b") as file:
        sparse = _Sparse(remote, file)
        header = _table(sparse)
        if known and known.spans is not None and known.header_sha256 == header:
            sparse.adopt(known.path, known.spans)
        file.flush()
        try:
            index = _index(path, sparse)
        except SourceError as error:
            raise NotAlone(f"it cannot be read without the rest ({error.message})") from None
        for _ in range(2):  # the table may call a packet a key frame that is none
            sparse.fetch(needed(path, index, wanted, sparse.spans))
    return Part(sparse.spans, header, sparse.fetched)


def covers(path: Path, spans: Spans, wanted: tuple[float | None, float | None]) -> bool:
    """Whether a file with holes holds all that a range needs."""
    try:
        return not list(_missing(needed(path, read_index(path, spans), wanted, spans), spans))
    except SourceError:
        return False


def needed(path: Path, index: Index, wanted: tuple[float | None, float | None], here: Spans) -> list[tuple[int, int]]:
    """Where the packets lie that decoding a range asks for.

    Args:
        here: what of the file is here.

    Raises:
        SourceError: there is no frame in the range.
    """
    places = places_between(index, *wanted)
    last = int(index.numbers[places.start : places.stop].max()) + 2 * REORDERED
    first = first_packet(path, index, places.start, here)
    return [(start, end) for start, end in index.spans[first : last + 1].tolist()]


def _table(sparse: _Sparse) -> str:
    """Fetches the headers of all boxes and the table; gives the digest of both."""
    place, table = 0, b""
    seen = hashlib.sha256(str(sparse.length).encode())
    for number in range(_MOST_BOXES):
        if place >= sparse.length:
            break
        if not any(start <= place and min(place + 16, sparse.length) <= end for start, end in sparse.spans):
            sparse.fetch([(place, min(place + _BLOCK, sparse.length))])
        header = sparse.read(place, 16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if not number and kind not in _FIRST_BOXES:
            raise NotAlone("only MP4 files have a table of their frames")
        if kind == b"moof":
            raise NotAlone("it is an MP4 file in fragments, without one table of its frames")
        size = int.from_bytes(header[8:16], "big") if size == 1 else size or sparse.length - place
        if size < 8:
            break
        seen.update(header[:8])
        if kind == b"moov":
            if size > _LARGEST_TABLE or place + size > sparse.length:
                raise NotAlone("its table of frames is damaged")
            sparse.fetch([(place, place + size)])
            table = sparse.read(place, size)
            if b"mvex" in table:
                raise NotAlone("it is an MP4 file in fragments, without one table of its frames")
            seen.update(table)
        place += size
    if not table:
        raise NotAlone("it has no table of its frames")
    return seen.hexdigest()


def _index(path: Path, sparse: _Sparse) -> Index:
    """Fetches the first packets, and reads the table."""
    container, stream = open_container(path)
    with container:
        first = []
        try:
            for packet in container.demux(stream):
                if packet.size and packet.pos is not None:
                    first.append((packet.pos, packet.pos + packet.size))
                if len(first) == HEAD:
                    break
        except av.FFmpegError:
            raise NotAlone("its first packets cannot be found") from None
    sparse.fetch(first)
    index = read_index(path, sparse.spans)
    if not index.seekable or (index.spans < 0).any():
        raise NotAlone("its table does not tell the order of its frames")
    return index


class _Sparse:
    """A file with holes, and where it comes from."""

    def __init__(self, remote: Remote, file: BinaryIO) -> None:
        self._remote, self._file = remote, file
        self.length, self.fetched = remote.length, 0
        self.spans: Spans = ()
        file.truncate(self.length)

    def read(self, start: int, size: int) -> bytes:
        """Bytes that are here."""
        self._file.seek(start)
        return self._file.read(size)

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetches what is not here yet, in few requests."""
        for start, end in _merged(_missing(spans, self.spans), _BLOCK):
            end = min(end, self.length)
            self._keep(start, self._remote.read(start, end))
            self.fetched += end - start
        self._file.flush()

    def adopt(self, path: Path, spans: Spans) -> None:
        """Takes over what another file with the same header holds."""
        with path.open("rb") as known:
            for start, end in _missing(spans, self.spans):
                known.seek(start)
                self._keep(start, known.read(end - start))

    def _keep(self, start: int, data: bytes) -> None:
        self._file.seek(start)
        self._file.write(data)
        self.spans = tuple(_merged([*self.spans, (start, start + len(data))], 0))


def _merged(spans: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """The same bytes and gaps of at most `gap`, ascending and disjoint."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _missing(wanted: Iterable[tuple[int, int]], here: Spans) -> Iterable[tuple[int, int]]:
    """What of the wanted bytes is not here; `here` is ascending and disjoint."""
    for start, end in _merged(wanted, 0):
        for have, until in here:
            if until <= start or have >= end:
                continue
            if have > start:
                yield start, have
            start = max(start, until)
        if start < end:
            yield start, end
