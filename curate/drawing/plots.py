"""Plots for pages, as SVG that stands in the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, QUIET, ACCENT, SECOND = "#7a8794", "#c5ccd3", "#2a7de1", "#e8833a"
"""Colours that can be read on white and on black."""


def redundancy_curve(curve: Sequence[dict[str, Any]], threshold: float) -> str:
    """Redundancy against the cosine from which faces count as the same, whole and inside videos."""
    figure, axes = styled()
    at = [point["threshold"] for point in curve]
    whole = [100 * point["redundancy"] for point in curve]
    within = [100 * point["within"] for point in curve]
    axes.fill_between(at, within, color=ACCENT, alpha=0.12, linewidth=0)
    axes.plot(at, whole, color=ACCENT, marker="o", markersize=4, label="whole collection")
    axes.plot(at, within, color=SECOND, marker="o", markersize=3, linewidth=1.2, label="inside videos alone")
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.annotate("this build", (threshold, 101), ha="center", fontsize=8, color=INK, annotation_clip=False)
    axes.set(xlabel="cosine from which two faces are near-duplicates", ylabel="redundant faces, %", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower left")
    return svg_of(figure)


def redundancy_by_rate(rates: Sequence[dict[str, Any]]) -> str:
    """Redundancy against frames a second."""
    figure, axes = styled(3.6)
    names = [f"{rate['fps']:g}" for rate in rates]
    bars = axes.bar(names, [100 * rate["redundancy"] for rate in rates], color=ACCENT, width=0.55)
    axes.bar_label(bars, fmt="%.0f", fontsize=8, color=INK, padding=2)
    axes.set(xlabel="frames a second", ylabel="redundant faces, %", ylim=(0, 105))
    return svg_of(figure)


def over_steps(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    label: str,
    level: tuple[float, str] | None = None,
) -> str:
    """What changes while a network learns.

    Args:
        lines: names to steps and values; one line has no legend.
        label: of the values.
        level: a value that is drawn across, and its name.
    """
    figure, axes = styled(4.2)
    for (name, (steps, values)), color in zip(lines.items(), (ACCENT, SECOND), strict=False):
        few = len(steps) <= 30
        axes.plot(steps, values, color=color, linewidth=1.4, marker="o" if few else None, markersize=3, label=name)
    if level is not None:
        axes.axhline(level[0], color=INK, linewidth=1, linestyle=(0, (3, 3)), label=level[1])
    axes.set(xlabel="step", ylabel=label)
    if len(lines) > 1 or level is not None:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return svg_of(figure)


def styled(width: float = 6.2, height: float = 3.1) -> tuple[Figure, Axes]:
    """A figure of so many inches in the style of all reports."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    axes.grid(axis="y", color=QUIET, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def svg_of(figure: Figure) -> str:
    """A figure as SVG, a file or part of a page; the same bytes for the same figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "curate"}):  # equal plots are equal bytes
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
