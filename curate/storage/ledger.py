"""What is done: one row a source, kept in SQLite so that a kill at any moment loses at most the source in hand.

Only the driver writes. A row says for which recipe and bytes it holds, so that a changed recipe or a changed
file is seen.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import BuildError, StorageError, one_line
from curate.records import VideoInfo, VideoRecord
from curate.storage.files import storage_error

VERSION = 1
BATCH = 500
"""Rows that are read at once."""


@dataclass(frozen=True)
class Done:
    """A source that was worked through, well or not.

    Attributes:
        stamp: cheap fingerprint of the source's bytes when it was read (see `stages.fetch.stamp`).
        key: digest of everything but the bytes that decided the faces: recipe, models, version of the stages; the
            bytes are those of `record.content_sha256`.
        vector_keys: space -> digest of everything that decided its vectors, given the faces.
        dropped: reason -> detections that did not become faces.
        seconds: stage -> seconds of work.
        forgotten: ids of faces of this source that were taken down.
        retry_after_s: seconds for which its host asked to be left alone, at the time.
    """

    record: VideoRecord
    stamp: str
    key: str
    vector_keys: dict[str, str] = dataclasses.field(default_factory=dict)
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    forgotten: list[str] = dataclasses.field(default_factory=list)
    retry_after_s: float | None = None


class Ledger:
    """The table of `Done` rows of one build.

    Raises:
        StorageError: the file cannot be opened or written (disk full, read-only).
        BuildError: it is damaged, or was written by another version of curate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
        with self._named():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS done (video_id TEXT PRIMARY KEY, row TEXT NOT NULL)")
            self._db.execute("CREATE TABLE IF NOT EXISTS suspects (video_id TEXT PRIMARY KEY, deaths INTEGER NOT NULL)")
            self._db.execute("CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, snapshot TEXT NOT NULL)")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise BuildError(f"{path}: written by another version of curate; build into a new folder")
            if found == 0:
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def get(self, video_id: str) -> Done | None:
        """The row of a source; None where it was never worked through."""
        with self._named():
            found = self._db.execute("SELECT row FROM done WHERE video_id = ?", (video_id,)).fetchone()
            return _from_json(found[0]) if found else None

    def rows(self, video_ids: Sequence[str]) -> Iterator[Done]:
        """The rows of some sources, in order, a few at a time; those that were never worked through are passed over."""
        for start in range(0, len(video_ids), BATCH):
            few = video_ids[start : start + BATCH]
            query = f"SELECT video_id, row FROM done WHERE video_id IN ({', '.join('?' * len(few))})"  # noqa: S608 - ours
            with self._named():
                found = dict(self._db.execute(query, few).fetchall())
                rows = [_from_json(found[video_id]) for video_id in few if video_id in found]
            yield from rows

    def put(self, done: Done) -> None:
        """Adds or replaces a row; it is safe on disk when this returns."""
        with self._named():
            self._db.execute("BEGIN")
            self._db.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (done.record.video_id, _to_json(done)))
            self._db.execute("DELETE FROM suspects WHERE video_id = ?", (done.record.video_id,))
            self._db.execute("COMMIT")

    def remove(self, video_ids: Iterable[str]) -> None:
        """Takes sources out, and every byte of their rows out of the file."""
        with self._named():
            self._db.execute("PRAGMA secure_delete = ON")
            for video_id in video_ids:
                self._db.execute("DELETE FROM done WHERE video_id = ?", (video_id,))
                self._db.execute("DELETE FROM suspects WHERE video_id = ?", (video_id,))
            self._db.execute("DELETE FROM run")  # what the last run said may name them
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def suspects(self) -> dict[str, int]:
        """Sources that were lost with a worker and wait to be tried alone -> how often each has died alone."""
        with self._named():
            return dict(self._db.execute("SELECT video_id, deaths FROM suspects").fetchall())

    def suspect(self, video_id: str, deaths: int) -> None:
        """Notes that a source was lost with its worker, and has died alone so often."""
        with self._named():
            self._db.execute("INSERT OR REPLACE INTO suspects VALUES (?, ?)", (video_id, deaths))

    def failures(self) -> dict[str, int]:
        """Kind of failure -> sources that failed so."""
        with self._named():
            kind = "json_extract(row, '$.record.error_kind')"
            rows = self._db.execute(f"SELECT {kind}, count(*) FROM done GROUP BY 1").fetchall()  # noqa: S608 - ours
            return {name: count for name, count in rows if name is not None}

    def totals(self) -> tuple[int, int]:
        """How many sources are done, and the faces in them."""
        with self._named():
            faces = "coalesce(sum(json_extract(row, '$.record.faces')), 0)"
            count, found = self._db.execute(f"SELECT count(*), {faces} FROM done").fetchone()  # noqa: S608 - ours
            return int(count), int(found)

    def note(self, snapshot: dict[str, Any]) -> None:
        """Keeps what the run says of itself now, for `curate status`."""
        with self._named():
            self._db.execute("INSERT OR REPLACE INTO run VALUES (1, ?)", (json.dumps(snapshot),))

    def noted(self) -> dict[str, Any] | None:
        """What the last run said of itself; None before the first."""
        with self._named():
            found = self._db.execute("SELECT snapshot FROM run").fetchone()
            return dict(json.loads(found[0])) if found else None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Around every use of the file: what goes wrong is one line that names it and the fix."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "malformed" not in str(error):
                raise StorageError(f"{self._path}: cannot be used ({error}); is the disk full or read-only?") from error
            raise self._damaged(error) from error
        except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BuildError:
        return BuildError(
            f"{self._path}: is damaged ({one_line(error, 80)}); delete it and run the same curate build again, which "
            "works through the sources again from the downloads that are kept"
        )


@dataclass(frozen=True)
class LedgerRows(Collection[Done]):
    """Rows of a ledger, read from disk whenever they are walked over: ten million of them fill no memory.

    Attributes:
        path: of the ledger.
        video_ids: which, in order; all are there.
        with_faces: whether only sources with faces are meant.
    """

    path: Path
    video_ids: Sequence[str]
    with_faces: bool = False

    def __iter__(self) -> Iterator[Done]:
        with Ledger(self.path) as ledger:
            for done in ledger.rows(self.video_ids):
                if done.record.faces or not self.with_faces:
                    yield done

    def __len__(self) -> int:
        return sum(1 for _ in self) if self.with_faces else len(self.video_ids)

    def __contains__(self, done: object) -> bool:
        return any(one == done for one in self)


def _to_json(done: Done) -> str:
    record = vars(done.record) | {"info": done.record.info and vars(done.record.info)}
    return json.dumps(
        vars(done) | {"record": record}, default=_plain
    )  # `asdict` copies every value, which takes longer


def _plain(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _from_json(text: str) -> Done:
    values = json.loads(text)
    record = values.pop("record")
    info = record.pop("info")
    retrieved = record.pop("retrieved_at")
    record.pop("extra", None)  # older ledgers kept the list's own columns
    return Done(
        record=VideoRecord(
            **record,
            info=VideoInfo(**info) if info else None,
            retrieved_at=dt.datetime.fromisoformat(retrieved) if retrieved else None,
        ),
        **values,
    )
