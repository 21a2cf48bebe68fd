"""What a threshold is said to mean is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.calibration.meaning import MEASURED, words
from curate.recipe import load
from curate.stages import appearance

USUAL = MEASURED[appearance.APPEARANCE.version]


@pytest.mark.parametrize(("version", "name"), [("2", "appearance"), ("3", "network")])
def test_what_is_said_is_what_was_measured(version: str, name: str) -> None:
    root, measured = Path(__file__).parents[2], MEASURED[version]
    found = json.loads((root / measured["source"]).read_text())["candidates"][name]
    for shares in ("by_edit", "by_change"):
        assert measured[shares] == {edit: round(share, 3) for edit, share in found[shares].items()}
    for key in ("recall", "false", "precision"):
        assert measured[key] == [round(share, 3) for share in found[key]]
        assert measured[key][1] <= measured[key][0] <= measured[key][2]
    for change, ends in found["by_change_interval"].items():
        assert measured["by_change_interval"][change] == [round(end, 3) for end in ends]
    assert measured["threshold"] == found["threshold"]


def test_the_default_threshold_is_the_measured_one() -> None:
    for space in (appearance.APPEARANCE, appearance.LEARNED):
        recipe = load(None, {"embed.descriptor": space.descriptor})
        assert recipe.dedupe.threshold == MEASURED[space.version]["threshold"]
        assert appearance.chosen(recipe.embed) == space


def test_words_tell_what_stays_one_and_what_becomes_two() -> None:
    told = words({"meaning": USUAL})
    assert "One picture" in told
    share, low, high = USUAL["precision"]
    assert f"{share:.1%} ({low:.1%} to {high:.1%}) of the matches are right" in told
    assert "Mostly taken for another: watermark; mirrored." in told
    assert "Two pictures" in told
    assert words({}) == ""


def test_an_interval_is_told_where_there_is_one() -> None:
    measured = {"by_edit": {}, "by_change": {"eyes": 0.04, "yaw": 0.2}, "by_change_interval": {"eyes": [0.01, 0.09]}}
    told = words({"meaning": measured})
    assert "of their width (96%, 91% to 99%)" in told and "a yaw of 12 degrees (80%)" in told
    assert "Measured on" not in told
