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
    for key in ("recall", "false", "precision"):
        assert MEASURED[key] == [round(share, 3) for share in found[key]]
        assert MEASURED[key][1] <= MEASURED[key][0] <= MEASURED[key][2]
    for name, ends in found["by_change_interval"].items():
        assert MEASURED["by_change_interval"][name] == [round(end, 3) for end in ends]
    assert MEASURED["threshold"] == found["threshold"]


def test_the_default_threshold_is_the_measured_one() -> None:
    assert BuildRecipe().dedupe.threshold == MEASURED["threshold"]


def test_words_tell_what_stays_one_and_what_becomes_two() -> None:
    told = words({"meaning": MEASURED})
    assert "One picture" in told
    share, low, high = MEASURED["precision"]
    assert f"{share:.1%} ({low:.1%} to {high:.1%}) of the matches are right" in told
    assert "Mostly taken for another: watermark; mirrored." in told
    assert "Two pictures" in told
    assert words({}) == ""


def test_an_interval_is_told_where_there_is_one() -> None:
    measured = {"by_edit": {}, "by_change": {"eyes": 0.04, "yaw": 0.2}, "by_change_interval": {"eyes": [0.01, 0.09]}}
    told = words({"meaning": measured})
    assert "of their width (96%, 91% to 99%)" in told and "a yaw of 12 degrees (80%)" in told
    assert "Measured on" not in told
