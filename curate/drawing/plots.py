"""Plots by matplotlib for pages, as SVG that stands in the page; those of builds are in `charts`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curate.drawing.charts import ACCENT, INK, QUIET, SECOND


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
