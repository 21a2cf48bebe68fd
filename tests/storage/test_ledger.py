from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import BuildError
from curate.records import VideoInfo, VideoRecord
from curate.storage.ledger import Done, Ledger

INFO = VideoInfo("matroska", "h264", 640, 480, 29.97, 3.5, 105, 18, 1)
RECORD = VideoRecord(
    "a-1",
    "a.mkv",
    "ok",
    info=INFO,
    content_sha256="ab",
    faces=17,
    title="it's “hostile”; DROP TABLE done",
    retrieved_at=dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    done = Done(RECORD, "12:34", "key", {"appearance": "k"}, {"small": 2}, {"decode": 0.25})
    with Ledger(tmp_path / "work" / "ledger.sqlite") as ledger:
        ledger.put(done)
    with Ledger(tmp_path / "work" / "ledger.sqlite") as ledger:
        assert ledger.get("a-1") == done
        assert ledger.get("b") is None


@given(
    text=st.text(), number=st.one_of(st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.none(), st.booleans())
)
def test_any_metadata_survives(tmp_path_factory: pytest.TempPathFactory, text: str, number: float | None) -> None:
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        return  # lone surrogates are no text; sources.py refuses them
    with Ledger(tmp_path_factory.mktemp("l") / "l.sqlite") as ledger:
        done = Done(replace(RECORD, title=text), "", "")
        ledger.put(done)
        assert ledger.get("a-1") == done


def test_a_later_row_replaces_the_earlier_one(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.put(Done(RECORD, "", "old"))
        ledger.put(Done(RECORD, "", "new"))
        found = ledger.get("a-1")
    assert found is not None and found.key == "new"


def test_a_ledger_of_another_version_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BuildError, match="another version"):
        Ledger(tmp_path / "other.sqlite")
    (tmp_path / "noise.sqlite").write_bytes(b"noise" * 1000)
    with pytest.raises(BuildError, match=r"noise\.sqlite: is damaged .*delete it"):
        Ledger(tmp_path / "noise.sqlite")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.put(Done(RECORD, "", "old"))
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        db.execute("UPDATE done SET row = substr(row, 1, 40)")
    db.close()
    with Ledger(tmp_path / "l.sqlite") as ledger, pytest.raises(BuildError, match=r"l\.sqlite: is damaged"):
        ledger.get("a-1")
