"""What a threshold is said to mean is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from curate.calibration.meaning import MEASURED, words
from curate.recipe import BuildRecipe


def test_what_is_said_is_what_was_measured() -> None:
    root = Path(__file__).parents[2]
    found = json.loads((root / MEASURED["source"]).read_text())["candidates"]["appearance"]
    for shares in ("by_edit", "by_change"):
        assert MEASURED[shares] == {name: round(share, 3) for name, share in found[shares].items()}


def test_the_default_threshold_is_the_measured_one() -> None:
    assert BuildRecipe().dedupe.threshold == MEASURED["threshold"]


def test_words_tell_what_stays_one_and_what_becomes_two() -> None:
    told = words({"meaning": MEASURED})
    assert "One picture" in told
    assert "Mostly taken for another: watermark; mirrored." in told
    assert "Two pictures" in told
    assert words({}) == ""
