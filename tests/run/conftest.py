from __future__ import annotations

from pathlib import Path

import pytest

from curate import recipe
from curate.run.build import BuildOutcome, build
from curate.run.cluster import Executor
from tests.run import clips

SETTINGS = {"fps": 5, "manifests.sizes": [6], "manifests.redundancies": [0.0, 0.5]}


@pytest.fixture(scope="session")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of clips with everything that can go right and wrong."""
    return clips.collection(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def whole(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildOutcome:
    """The build of that list, made in one go by two workers."""
    out = tmp_path_factory.mktemp("whole") / "build"
    return build(str(listed), out, recipe.load(None, SETTINGS), Executor(2))
