"""Charts are sound SVG that stays inside its frame, whatever the numbers are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from curate.drawing import charts

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    """The chart, looked through: all of it lies inside."""
    root = ElementTree.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for node in root.iter():
        corners = [tuple(map(float, pair.split(","))) for pair in node.get("points", "").split()]
        if node.tag in (f"{SVG}text", f"{SVG}rect"):
            x, y = float(node.attrib["x"]), float(node.attrib["y"])
            corners += [(x, y), (x + float(node.get("width", 0)), y + float(node.get("height", 0)))]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in corners), node.attrib
    return root


def words(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{SVG}text")]


def test_a_curve_shows_the_builds_own_threshold() -> None:
    curve = [{"threshold": t, "redundancy": 1 - t, "within": (1 - t) / 2} for t in (0.7, 0.9, 0.99)]
    root = drawn(charts.redundancy_curve(curve, 0.9))
    assert {"this build", "whole collection", "0.75", "100"} <= set(words(root))
    assert root.attrib["aria-label"] == "redundant faces, % against cosine from which two faces are near-duplicates"
    drawn(charts.redundancy_curve(curve[:1], 0.7))  # a build at one threshold alone


def test_bars_are_as_high_as_what_they_show() -> None:
    root = drawn(charts.redundancy_by_rate([{"fps": 1.0, "redundancy": 0.25}, {"fps": 5.0, "redundancy": 0.75}]))
    low, high = (float(node.attrib["height"]) for node in root.iter(f"{SVG}rect"))
    assert high == pytest.approx(3 * low, rel=0.01) and {"25", "75", "1", "5"} <= set(words(root))


@pytest.mark.parametrize("most", [1, 7, 123_456])
def test_ranges_leave_out_empty_ends_and_name_the_unknown(most: int) -> None:
    unknown = {"before": 2, "after": 1}
    root = drawn(charts.ranges([0, 10, 20, 30, None], [0, most, 0, 1], [0, 1, 0, 1], "a < b", unknown))
    said = words(root)
    assert {"10", "20", "30", "unknown", "a < b", "kept"} <= set(said) and "0" in said
    drawn(charts.ranges([0, 10], [0], [0], "nothing"))
