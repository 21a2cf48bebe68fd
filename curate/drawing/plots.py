"""Plots for pages, as SVG that stands in the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import escape
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
    figure, axes = styled(3.6, 2.3)
    places = list(range(len(shown)))
    axes.bar(places, [before[k] for k in shown], color=QUIET, width=0.9, label="all faces")
    axes.bar(places, [after[k] for k in shown], color=ACCENT, width=0.6, label="kept")
    marks = [edges[k] for k in (*shown, shown[-1] + 1)]
    axes.set_xticks([place - 0.5 for place in range(len(marks))], ["" if m is None else f"{m:g}" for m in marks])
    if unknown and unknown["before"]:
        axes.bar(len(shown) + 0.5, unknown["before"], color=QUIET, width=0.9)
        axes.bar(len(shown) + 0.5, unknown["after"], color=ACCENT, width=0.6)
        axes.set_xticks(
            [*axes.get_xticks(), len(shown) + 0.5], [*(t.get_text() for t in axes.get_xticklabels()), "unknown"]
        )
    axes.set(xlabel=label, ylabel="faces")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
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
    """A figure as SVG, a file or part of a page; the same bytes for the same figure; its axes name it."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "curate"}):  # equal plots are equal bytes
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    seen = dict.fromkeys(
        f"{axes.get_ylabel()} against {axes.get_xlabel()}" for axes in figure.axes if axes.get_xlabel()
    )
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape("; ".join(seen))}"', 1)
