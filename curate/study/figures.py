"""Figures of a study: score against the kept share and against redundancy, and the grid as a heat map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curate.drawing.plots import INK, styled, svg_of
from curate.storage.files import atomic_write, write_bytes
from curate.study.arms import Arm, Question, Score
from curate.study.comparisons import ShareCurve
from curate.study.dose import DoseCurve
from curate.study.findings import Findings
from curate.study.tables import slug

COLOURS = ("#2a7de1", "#e8833a", "#3a9b6f", "#8e63ce", "#c8524a", "#7a8794", "#b3891d", "#2aa3b8", "#c45a9c", "#5c6bc0")
MARKERS = "osD^vP*Xh8"


def draw_all(findings: Findings, folder: Path) -> dict[Question, dict[str, str]]:
    """Every figure that the study allows, as SVG and PNG in `folder`, and as SVG text for a page.

    Returns:
        question -> `faces`, `share`, `redundancy`, `grid` -> SVG.
    """
    found: dict[Question, dict[str, str]] = {}
    for question in findings.headlines:
        scores = [score for score in findings.scores if score.question == question]
        curves = [curve for curve in findings.curves if curve.question == question]
        doses = [curve for curve in findings.doses if curve.question == question]
        makers: dict[str, Callable[[], Figure | None]] = {
            "faces": lambda doses=doses, scores=scores: against_faces(doses, scores),  # type: ignore[misc]
            "share": lambda curves=curves, scores=scores: against_share(curves, scores),  # type: ignore[misc]
            "redundancy": lambda scores=scores: against_redundancy(scores),  # type: ignore[misc]
            "grid": lambda scores=scores: heat_map(scores),  # type: ignore[misc]
        }
        labels = "" if question.shots is None else f"-{question.shots}shots"
        labels += "" if question.fraction == 1 else f"-{question.fraction:g}"
        name = slug(f"{question.title} {question.dataset} {question.mode}{labels}")
        for kind, make in makers.items():
            figure = make()
            if figure is not None:
                found.setdefault(question, {})[kind] = _save(figure, folder / f"{name}-{kind}")
    return found


def against_share(curves: Sequence[ShareCurve], scores: Sequence[Score]) -> Figure | None:
    """Score against the share of the faces that is kept, a line for what differs in size alone."""
    curves = [curve for curve in curves if len(curve.points) + (curve.full is not None) > 1]
    if not curves:
        return None
    figure, axes = _figure(scores[0].question)
    for number, curve in enumerate(curves):
        points = list(curve.points)
        if curve.full is not None:
            points.append(replace(curve.full, kept_share=1.0))
        aside = 1.015 ** (number - (len(curves) - 1) / 2)  # else intervals of one share hide each other
        at = [100 * (p.kept_share or 0) * aside for p in points]
        _line(axes, at, points, number, _line_label(curve.arm, curves))
    _levels(axes, scores, fresh_only=True)
    axes.set_xlabel("kept faces, %")
    axes.set_xscale("log")
    ticks = sorted({round(100 * (p.kept_share or 0), 1) for curve in curves for p in curve.points} | {100.0})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(ticks) / 1.3, 130)
    _legend(figure)
    return figure


def against_faces(curves: Sequence[DoseCurve], scores: Sequence[Score]) -> Figure | None:
    """Score of covers of one size against the number of different faces that they hold; knees with their intervals."""
    if not curves:
        return None
    figure, axes = _figure(scores[0].question)
    for number, curve in enumerate(curves):
        at = [point.unique or 0.0 for point in curve.points]
        _line(axes, at, curve.points, number, curve.arm.label)
        if curve.knee is not None:
            colour = COLOURS[number % len(COLOURS)]
            axes.axvspan(curve.knee.low or at[0], curve.knee.high or at[-1], color=colour, alpha=0.12, linewidth=0)
            axes.axvline(curve.knee.at, color=colour, linewidth=1.0, linestyle=(0, (2, 2)))
    _levels(axes, scores, fresh_only=False)
    axes.set_xlabel("different faces in the manifest")
    axes.set_xscale("log")
    ticks = sorted({point.unique or 0.0 for curve in curves for point in curve.points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    _legend(figure)
    return figure


def against_redundancy(scores: Sequence[Score]) -> Figure | None:
    """Score of covers against the redundancy of the manifest, at equal size; random samples and all faces beside it."""
    groups: dict[Arm, list[Score]] = {}
    for score in scores:
        if score.arm.rule == "cover":
            groups.setdefault(replace(score.arm, redundancy=None), []).append(score)
    groups = {arm: sorted(own, key=lambda s: s.arm.redundancy or 0) for arm, own in groups.items() if len(own) > 1}
    if not groups:
        return None
    figure, axes = _figure(scores[0].question)
    for number, (arm, own) in enumerate(groups.items()):
        _line(axes, [s.arm.redundancy or 0.0 for s in own], own, number, f"{arm.label}")
    _levels(axes, scores, fresh_only=False)
    axes.set_xlabel("redundancy of the manifest (1 - clusters / faces)")
    axes.set_xlim(-0.05, 1.0)
    _legend(figure)
    return figure


def heat_map(scores: Sequence[Score]) -> Figure | None:
    """Means over seeds: a row a choice of faces, a column a size (and training); darker is better."""
    there = [score for score in scores if score.arm.rule is not None]
    rows = list(dict.fromkeys(score.arm.choice for score in there))
    columns = list(dict.fromkeys((score.arm.faces or 0, score.arm.training, score.arm.budget) for score in there))
    columns.sort()
    if len(rows) < 2:
        return None
    values = np.full((len(rows), len(columns)), np.nan)
    for score in there:
        place = columns.index((score.arm.faces or 0, score.arm.training, score.arm.budget))
        values[rows.index(score.arm.choice), place] = score.summary.mean
    question = scores[0].question
    shown = 100 * values if question.percent else values
    figure = Figure(figsize=(2.6 + 1.15 * len(columns), 1.0 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(
        np.ma.masked_invalid(-shown if question.lower_is_better else shown), cmap="Blues", edgecolors="white"
    )
    axes.invert_yaxis()
    low, high = np.nanmin(shown), np.nanmax(shown)
    for (row, column), value in np.ndenumerate(shown):
        if np.isfinite(value):
            strength = (value - low) / (high - low) if high > low else 0.0
            strong = (1 - strength if question.lower_is_better else strength) > 0.6
            text = f"{value:.{2 if question.percent else 3}f}"
            ink = "white" if strong else "#1c2430"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=ink)
    several = len({column[1:] for column in columns}) > 1
    names = [f"{size:,}" + (f"\n{training}\n{budget}" if several else "") for size, training, budget in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, names, fontsize=8, color=INK)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [_plain(row) for row in rows], fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.set_xlabel("faces", color=INK, fontsize=9)
    axes.spines[:].set_visible(False)
    return figure


def _figure(question: Question) -> tuple[Figure, Axes]:
    figure, axes = styled(5.6, 3.6)
    better = "lower" if question.lower_is_better else "higher"
    axes.set_ylabel(_plain(f"{question.metric}{', %' if question.percent else ''} ({better} is better)"))
    return figure, axes


def _legend(figure: Figure) -> None:
    """Below the axes, where it hides nothing."""
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7.5, labelcolor=INK)


def _line(axes: Axes, at: Sequence[float], points: Sequence[Score], number: int, label: str) -> None:
    """Means with bootstrap intervals over seeds."""
    means = [_unit(p.question, p.summary.mean) for p in points]
    low = [_unit(p.question, p.summary.mean if p.summary.low is None else p.summary.low) for p in points]
    high = [_unit(p.question, p.summary.mean if p.summary.high is None else p.summary.high) for p in points]
    spread = np.abs(np.array([low, high]) - means)
    colour = COLOURS[number % len(COLOURS)]
    axes.errorbar(
        at, means, spread, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=4, linewidth=1.3,
        capsize=2.5, elinewidth=0.9, label=_plain(label),
    )  # fmt: skip


def _levels(axes: Axes, scores: Sequence[Score], fresh_only: bool) -> None:
    """Horizontal lines with bands: what random samples, all faces and given backbones reach."""
    styles = [(0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (2, 2))]
    chosen = [s for s in scores if s.arm.rule is None or (not fresh_only and s.arm.rule in ("random", "full"))]
    for number, score in enumerate(chosen):
        question, summary = score.question, score.summary
        axes.axhline(
            _unit(question, summary.mean), color=INK, linewidth=1.1, linestyle=styles[number % len(styles)],
            label=_plain(score.arm.label),
        )  # fmt: skip
        if summary.low is not None and summary.high is not None:
            axes.axhspan(
                _unit(question, summary.low), _unit(question, summary.high), color=INK, alpha=0.08, linewidth=0
            )


def _line_label(arm: Arm, curves: Sequence[ShareCurve]) -> str:
    """What tells a line from the others."""
    several = len({(curve.arm.training, curve.arm.budget, curve.arm.build) for curve in curves}) > 1
    return arm.label if several else arm.choice


def _unit(question: Question, value: float) -> float:
    return 100 * value if question.percent else value


def _plain(text: str) -> str:
    return text.replace("$", "")  # no formulas from names


def _save(figure: Figure, path: Path) -> str:
    """Writes PATH.svg and PATH.png; returns the SVG."""
    text = svg_of(figure)
    write_bytes(path.with_name(path.name + ".svg"), text.encode())
    with atomic_write(path.with_name(path.name + ".png")) as temporary:
        figure.savefig(temporary, format="png", dpi=200, facecolor="white")
    return text
