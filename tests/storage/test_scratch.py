"""Folders among the system's temporary files, and what a killed process leaves of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from curate.storage.scratch import scratch

HOLD = """
import sys, tempfile
from curate.storage.scratch import scratch
tempfile.tempdir = sys.argv[1]
with scratch("test") as folder:
    (folder / "large").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(temporary: Path) -> None:
    others = temporary / "curate-of-somebody-else"
    others.mkdir()
    held = [sys.executable, "-c", HOLD, str(temporary)]
    with (
        subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
    ):
        assert killed.stdout is not None and living.stdout is not None
        left, used = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
        killed.kill()
        killed.wait()
        assert (left / "large").exists()
        with scratch("test") as own:
            assert not left.exists()
            assert (used / "large").exists() and others.exists() and own.is_dir()
        assert not own.exists()
        living.communicate()
    assert not used.exists()


def test_the_folder_goes_when_the_block_fails(temporary: Path) -> None:
    with pytest.raises(KeyError), scratch("test") as folder:
        (folder / "below").mkdir()
        raise KeyError
    assert not list(temporary.iterdir())
