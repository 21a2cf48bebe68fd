from __future__ import annotations

import errno
from pathlib import Path

import pytest

from curate.errors import StorageError
from curate.storage.documents import write_json
from curate.storage.files import (
    TEMPORARY,
    atomic_write,
    digest,
    remove_temporaries,
    storage_error,
    write_bytes,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_what_a_kill_left_is_swept_away_and_everything_else_stays(tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "kept.parquet", b"x")
    (tmp_path / "deep" / f"{TEMPORARY}123").write_bytes(b"half")
    remove_temporaries(tmp_path)
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["kept.parquet"]


def test_a_full_disk_is_one_line_that_says_how_to_go_on(tmp_path: Path) -> None:
    error = storage_error(tmp_path / "x", OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(error, StorageError)
    assert "disk is full" in str(error) and "again" in str(error) and "\n" not in str(error)


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        write_bytes(tmp_path / "f" / "x", b"")


def test_only_what_speaks_of_the_disk_is_a_failure_to_write(tmp_path: Path) -> None:
    for number in (errno.EIO, errno.EACCES, errno.ENOENT):  # of another file, which the block reads
        with pytest.raises(OSError, match="theirs"), atomic_write(tmp_path / "x"):
            raise OSError(number, "theirs")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        with pytest.raises(StorageError, match="x: "), atomic_write(tmp_path / "x"):
            raise OSError(number, "ours")
    assert list(tmp_path.iterdir()) == []


def test_digest_ignores_the_order_of_keys_and_sees_values() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
