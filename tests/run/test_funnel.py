from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curate.recipe import BuildRecipe
from curate.run.funnel import hints
from curate.storage.info import BackendInfo, FaceCounts
from tests.builds import NOTHING, write_info


@pytest.mark.parametrize(
    ("spread", "dropped", "told"),
    [
        (FaceCounts(90, 30, 5), {}, []),
        (FaceCounts(50, 30, 5), {}, ["--faces centerface"]),
        (FaceCounts(90, 30, 20), {}, ["--fps 10"]),
        (FaceCounts(90, 30, 5), {"smaller than faces.min_size = 32 px": 30}, ["faces.min_size=16"]),
        (FaceCounts(90, 30, 5), {"below faces.min_score = 0.5": 50}, ["faces.min_score=0.4"]),
        (FaceCounts(90, 30, 5), {"below faces.min_score = 0.5": 49, "smaller than faces.min_size = 32 px": 24}, []),
        (FaceCounts(0, 0, 0), {"below faces.min_score = 0.5": 500}, []),  # a build of before tracks were counted
    ],
)
def test_what_a_detector_probably_missed_is_said_with_what_to_try(
    spread: FaceCounts, dropped: dict[str, int], told: list[str], tmp_path: Path
) -> None:
    counts = replace(NOTHING, faces=100, frames_sampled=100, spread=spread)
    recipe = BuildRecipe().model_dump(mode="json")
    info = write_info(tmp_path, counts=counts, dropped=dropped, recipe=recipe, backend=BackendInfo("dlib", []))
    said = list(hints(info))
    assert len(said) == len(told) and all(words in line for words, line in zip(told, said, strict=True))
