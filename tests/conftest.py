"""What all tests share: where real videos and models are, if they are here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CURATE_TEST_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real videos, damaged files, evaluation sets and models; tests that need it are skipped without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no test data at {SHARED} (set CURATE_TEST_DATA)")
    return SHARED


@pytest.fixture(scope="session")
def videos(shared: Path) -> Path:
    """Folder of real, sound videos."""
    return shared / "data" / "videos"


@pytest.fixture(scope="session")
def pack(shared: Path) -> Path:
    """An insightface root with a working pack named `small`."""
    return shared / "models" / "insightface"
