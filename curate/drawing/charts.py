"""The charts of a build's report, as SVG that stands in the page.

They are written by hand: matplotlib, which `plots` uses, takes longer to load and to draw them than all the rest of the
report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import escape

INK, QUIET, ACCENT, SECOND = "#7a8794", "#c5ccd3", "#2a7de1", "#e8833a"
"""Colours that can be read on white and on black."""
SMALL, TEXT = 8.0, 9.0
"""Sizes of letters at ticks and beside axes."""
LETTER = 0.56
"""Width of a letter as a share of its size, on average, rather more than less."""
TOP, BOTTOM, RIGHT, TICK = 24.0, 31.0, 8.0, 3.0
"""Room around the axes, and the length of a tick."""

Point = tuple[float, float]
Edges = tuple[float, float]


def redundancy_curve(curve: Sequence[Mapping[str, Any]], threshold: float) -> str:
    """Redundancy against the cosine from which faces count as the same, whole and inside videos."""
    at = [point["threshold"] for point in curve]
    labels = "cosine from which two faces are near-duplicates", "redundant faces, %"
    chart = Chart((446, 223), labels, _padded(min(*at, threshold), max(*at, threshold)), (0, 100))
    chart.mark(_ticks(*chart.x, 9), _ticks(0, 100))
    whole = [(point["threshold"], 100 * point["redundancy"]) for point in curve]
    within = [(point["threshold"], 100 * point["within"]) for point in curve]
    chart.area(within, ACCENT)
    chart.line([(threshold, 0), (threshold, 100)], INK, dash="3 3")
    chart.text(chart.across(threshold), TOP - 3, "this build", "middle")
    chart.line(whole, ACCENT, dots=2.2)
    chart.line(within, SECOND, dots=1.6)
    chart.legend({"whole collection": ACCENT, "inside videos alone": SECOND})
    return chart.svg()


def redundancy_by_rate(rates: Sequence[Mapping[str, Any]]) -> str:
    """Redundancy against frames a second."""
    chart = Chart((259, 223), ("frames a second", "redundant faces, %"), (-0.6, len(rates) - 0.4), (0, 105))
    chart.mark({place: f"{rate['fps']:g}" for place, rate in enumerate(rates)}, _ticks(0, 100))
    for place, rate in enumerate(rates):
        height = 100 * rate["redundancy"]
        chart.bar(place, height, 0.55, ACCENT)
        chart.text(chart.across(place), chart.up(height) - 3, f"{height:.0f}", "middle")
    return chart.svg()


def ranges(
    edges: Sequence[float | None],
    before: Sequence[int],
    after: Sequence[int],
    label: str,
    unknown: Mapping[str, int] | None = None,
) -> str:
    """Faces in each range of a value, all of them and those that are kept.

    Args:
        edges: [k + 1], as in `coverage` of `redundancy.json`; a last one of None is open.
        before, after: [k] faces; ranges without any at either end are left out.
        label: of the value, with its unit.
        unknown: `before` and `after`, faces without the value; a bar of their own at the right.
    """
    held = [place for place, count in enumerate(before) if count]
    shown = range(held[0], held[-1] + 1) if held else range(len(before))
    bars = {float(place): (before[k], after[k]) for place, k in enumerate(shown)}
    marks = {
        place - 0.5: "" if edges[k] is None else f"{edges[k]:g}" for place, k in enumerate((*shown, shown[-1] + 1))
    }
    if unknown and unknown["before"]:
        bars[len(shown) + 0.5] = unknown["before"], unknown["after"]
        marks[len(shown) + 0.5] = "unknown"
    most = max(max(all_, kept) for all_, kept in bars.values())
    chart = Chart((259, 166), (label, "faces"), (-0.55, max(bars) + 0.55), (0, max(most, 1) * 1.05))
    chart.mark(marks, _ticks(0, max(most, 1), 5))
    for place, (all_, kept) in bars.items():
        chart.bar(place, all_, 0.9, QUIET)
        chart.bar(place, kept, 0.6, ACCENT)
    chart.legend({"all faces": QUIET, "kept": ACCENT})
    return chart.svg()


@dataclass
class Chart:
    """Two axes and what is drawn between them.

    Attributes:
        size: width and height, in points of a printed page.
        labels: of the horizontal and of the vertical axis.
        x, y: values at both ends of the axes.
    """

    size: tuple[float, float]
    labels: tuple[str, str]
    x: Edges
    y: Edges
    _left: float = 0.0
    _parts: list[str] = field(default_factory=list)

    def across(self, value: float) -> float:
        """Where a value of the horizontal axis lies."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return self._left + share * (self.size[0] - RIGHT - self._left)

    def up(self, value: float) -> float:
        """Where a value of the vertical axis lies."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return self.size[1] - BOTTOM - share * (self.size[1] - BOTTOM - TOP)

    def mark(self, x: Mapping[float, str], y: Mapping[float, str]) -> None:
        """Draws the axes, with labels at some values; to be called first."""
        width, height = self.size
        self._left = TEXT + 10 + LETTER * SMALL * max(map(len, y.values()))
        base = height - BOTTOM
        for value, label in y.items():
            at = self.up(value)
            self._stroke([(self._left, at), (width - RIGHT, at)], QUIET, 0.6, 0.35)
            self._stroke([(self._left - TICK, at), (self._left, at)], INK, 0.8)
            self.text(self._left - TICK - 2, at + SMALL / 3, label, "end")
        for value, label in _apart(x, self.across):
            at = self.across(value)
            self._stroke([(at, base), (at, base + TICK)], INK, 0.8)
            self.text(at, base + TICK + SMALL, label, "middle")
        self._stroke([(self._left, TOP), (self._left, base), (width - RIGHT, base)], QUIET, 0.8)
        self.text((self._left + width - RIGHT) / 2, height - 5, self.labels[0], "middle", TEXT)
        turned = f' transform="rotate(-90 {TEXT:g} {(TOP + base) / 2:.1f})"'
        self.text(TEXT, (TOP + base) / 2, self.labels[1], "middle", TEXT, turned)

    def text(self, x: float, y: float, words: str, anchor: str, size: float = SMALL, more: str = "") -> None:
        """Writes at a place, which is the `start`, `middle` or `end` of what is written."""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}"{more}'
        self._parts.append(f'<text {place} fill="{INK}">{escape(words)}</text>')

    def line(self, points: Sequence[Point], color: str, dash: str = "", dots: float = 0.0) -> None:
        """A line through points (values of both axes), dashed or with dots of a radius at the points."""
        places = [(self.across(x), self.up(y)) for x, y in points]
        self._stroke(places, color, 1.4 if dots else 1.0, dash=dash)
        if dots:
            self._parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{dots:g}" fill="{color}"/>' for x, y in places]

    def area(self, points: Sequence[Point], color: str) -> None:
        """What lies below a line, faintly."""
        closed = [(points[0][0], self.y[0]), *points, (points[-1][0], self.y[0])]
        corners = _path([(self.across(x), self.up(y)) for x, y in closed])
        self._parts.append(f'<polygon points="{corners}" fill="{color}" fill-opacity="0.12"/>')

    def bar(self, x: float, height: float, width: float, color: str) -> None:
        """A bar in the middle of which `x` lies."""
        left, right, top, base = self.across(x - width / 2), self.across(x + width / 2), self.up(height), self.up(0)
        shape = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{base - top:.1f}"'
        self._parts.append(f'<rect {shape} fill="{color}"/>')

    def legend(self, entries: Mapping[str, str]) -> None:
        """Names of colours, in a row above the axes."""
        x = self._left
        for words, color in entries.items():
            self._parts.append(f'<rect x="{x:.1f}" y="3" width="10" height="5" fill="{color}"/>')
            self.text(x + 13, 8.5, words, "start")
            x += 13 + LETTER * SMALL * len(words) + 10

    def svg(self) -> str:
        """A file or part of a page; its axes name it."""
        width, height = self.size
        named = f'role="img" aria-label="{escape(f"{self.labels[1]} against {self.labels[0]}")}"'
        about = f'{named} xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        shown = f'width="{width:g}pt" height="{height:g}pt" font-family="system-ui, sans-serif"'
        return f"<svg {about} {shown}>{''.join(self._parts)}</svg>"

    def _stroke(self, places: Sequence[Point], color: str, width: float, opacity: float = 1.0, dash: str = "") -> None:
        look = f'stroke="{color}" stroke-width="{width:g}"'
        look += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
        look += f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<polyline points="{_path(places)}" fill="none" {look}/>')


def _path(places: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _padded(low: float, high: float) -> Edges:
    room = 0.04 * (high - low) or 0.04
    return low - room, high + room


def _apart(labels: Mapping[float, str], across: Any) -> list[tuple[float, str]]:
    """Values with their labels; without those that would run into the one before."""
    kept: list[tuple[float, str]] = []
    free = -math.inf
    for value, label in sorted(labels.items()):
        half = LETTER * SMALL * len(label) / 2
        fits = across(value) - half >= free
        kept.append((value, label if fits else ""))
        if fits and label:
            free = across(value) + half + 2
    return kept


def _ticks(low: float, high: float, most: int = 6) -> dict[float, str]:
    """Round values between two, `most` at most, and how they are written."""
    least = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return {number * step: f"{round(number * step, 10):,g}" for number in range(first, last + 1)}
