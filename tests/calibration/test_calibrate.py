from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from curate.calibration import calibrate, expression
from curate.errors import UsageError
from curate.recipe import CropSettings
from curate.stages.appearance import describe
from tests.study.conftest import write_build

appearance = partial(describe, margin=CropSettings().margin)


def test_a_build_of_small_faces_alone_asks_for_a_threshold(tmp_path: Path) -> None:
    build = write_build(tmp_path / "build")
    assert calibrate.sizes(build.faces(["bbox"])).max() < expression.SMALLEST
    with pytest.raises(UsageError, match=r"only 0 pairs .* give --threshold"):
        calibrate.calibrate(build, "appearance", appearance, 0.5)
