"""Curves of results: cumulative errors (CED), ROC, score against training data.

The one place of this package that draws with matplotlib. Seeds are pooled into one line: means with the bootstrap
interval for few-shot curves, all faces or pairs together for CED and ROC.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curate.errors import UsageError
from curate.evaluate import curves, metrics
from curate.evaluate.curves import MeasuredCurve
from curate.evaluate.results import Result, assignments, summarise
from curate.evaluate.tables import HEADLINES, LOWER_IS_BETTER, folders, is_plain, tail
from curate.storage.files import atomic_write


def draw_all(results: Sequence[Result], folder: Path, out: Path, suffix: str = "svg") -> list[Path]:
    """Every figure that the results and the curves of `folder` allow, written to `out`.

    Returns:
        The files: `ced-DATASET-SPLIT`, `roc-DATASET`, `few-shot-DATASET-SPLIT-METRIC`; where there are several folders
        of one format, the folder's name stands behind DATASET.

    Raises:
        UsageError: there is nothing to draw.
    """
    written = []
    measured = {curves.name_of(curves.label_of(r)) for r in results}
    found = [curve for curve in curves.read(folder) if curves.name_of(curve.label) in measured]
    names = _names_of_sets(results)
    by_set: dict[tuple[str, str], list[MeasuredCurve]] = defaultdict(list)
    for curve in found:
        by_set[names[curve.label["dataset"], curve.label["data"]], str(curve.label["split"])].append(curve)
    for (dataset, split), members in sorted(by_set.items()):
        if members[0].label["task"] == "landmarks" and any(curve.errors.size for curve in members):
            written.append(_save(ced(members), out / f"ced-{dataset}-{split}.{suffix}"))
        if any(curve.scores.size for curve in members):
            written.append(_save(roc(members), out / f"roc-{dataset}.{suffix}"))
    by_part: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for r in results:
        by_part[r.task, names[r.dataset, r.data], r.split].append(r)
    for (task, dataset, split), own in sorted(by_part.items()):
        for metric in HEADLINES[task]:
            of_metric = [r for r in own if r.metric == metric and not np.isnan(r.value) and r.n_train > 0]
            if len({r.n_train for r in of_metric}) > 1:
                written.append(_save(few_shot(of_metric), out / f"few-shot-{dataset}-{split}-{metric}.{suffix}"))
    if not written:
        raise UsageError(
            f"{folder}: nothing to draw: no curves of these results lie there, and none has several training sizes"
        )
    return written


def _names_of_sets(results: Sequence[Result]) -> dict[tuple[str, str | None], str]:
    """What files call each data set and folder, fit for a file's name."""
    found: dict[tuple[str, str | None], str] = {}
    for (dataset, data), place in sorted(folders((r.dataset, r.data) for r in results).items(), key=str):
        name = dataset + re.sub(r"[^\w.]+", "-", place).rstrip("-")
        taken = sum(other.split("~")[0] == name for other in found.values())
        found[dataset, data] = f"{name}~{taken + 1}" if taken else name
    return found


def ced(members: Sequence[MeasuredCurve], limit: float = 0.12) -> Figure:
    """Cumulative error distributions, a line a backbone and protocol."""
    figure, axes = _axes("normalised error, %", "faces with at most this error, %")
    at = np.linspace(0, limit, 500)
    for name, own in _grouped(members).items():
        errors = np.concatenate([curve.errors for curve in own])
        axes.plot(100 * at, 100 * metrics.ced(errors, at), label=name)
    axes.set_xlim(0, 100 * limit)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    return figure


def roc(members: Sequence[MeasuredCurve]) -> Figure:
    """True against false acceptance, a line a backbone and protocol; false acceptance in logarithms."""
    figure, axes = _axes("false acceptance rate", "true acceptance rate, %")
    for name, own in _grouped(members).items():
        scores, same = np.concatenate([c.scores for c in own]), np.concatenate([c.same for c in own])
        curve = metrics.roc(scores, same)
        there = curve.far > 0
        axes.step(curve.far[there], 100 * curve.tar[there], where="post", label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    return figure


def few_shot(results: Sequence[Result]) -> Figure:
    """One metric against the number of training samples: means over seeds, bootstrap intervals as bands."""
    metric = results[0].metric
    better = "lower" if metric.startswith(LOWER_IS_BETTER) else "higher"
    unit, scale = ("", 1) if is_plain(metric) else (", %", 100)
    figure, axes = _axes("training samples", f"{metric}{unit} ({better} is better)")
    lines: dict[_Line, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for r in results:
        lines[_Line.of(asdict(r))][r.n_train].append(scale * r.value)
    for name, line_of in _named(lines):
        values = lines[line_of]
        sizes = sorted(values)
        found = [summarise(values[size]) for size in sizes]
        (line,) = axes.plot(sizes, [s.mean for s in found], marker="o", label=name)
        low = [s.low if s.low is not None else s.mean for s in found]
        high = [s.high if s.high is not None else s.mean for s in found]
        axes.fill_between(sizes, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set_xscale("log")
    sizes = sorted({size for values in lines.values() for size in values})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_prop_cycle(cycler(linestyle=["-", "--", ":", "-."]) * rcParams["axes.prop_cycle"])  # colours change first
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


@dataclass(frozen=True)
class _Line:
    """What the measurements of one line have in common: all but their seed, and, along few-shot curves, their budget.

    Weights are distinguished by their digest; a random backbone's are drawn again for each seed.
    """

    backbone: str
    digest: str
    arch: str
    method: str
    manifest: str
    mode: str
    budget: str
    frames: str
    recipe: str
    crop: str

    @classmethod
    def of(cls, about: Mapping[str, Any], budget: str = "") -> _Line:
        text = {name: str(about.get(name) or "") for name in ("arch", "method", "manifest", "mode")}
        random = about["backbone"] == "random"
        return cls(
            backbone=str(about["backbone"]),
            digest="" if random else str(about.get("backbone_digest") or ""),
            budget=budget,
            frames="" if about.get("frames") in (None, "all") else f"frames {about['frames']}",
            recipe=" ".join(assignments(about.get("recipe") or {}).values()),
            crop=json.dumps(about.get("crop") or {}, sort_keys=True),
            **text,
        )

    def name(self, details: Collection[str]) -> str:
        backbone = self.backbone if "backbone" in details else Path(self.backbone).name
        parts = [backbone, self.arch, self.method, self.mode, self.budget, self.frames]
        parts += [self.manifest] if "manifest" in details else []
        parts += [f"{json.loads(self.crop).get('size')} px"] if "size" in details else []
        parts += [getattr(self, detail) for detail in ("recipe", "digest", "crop") if detail in details]
        return " · ".join(dict.fromkeys(part.replace("$", "") for part in parts if part))  # no formulas from names


DETAILS = ("backbone", "manifest", "recipe", "size", "digest", "crop")
"""What a name leaves out as long as it is distinct without; `backbone` is its whole path."""


def _named(lines: Iterable[_Line]) -> list[tuple[str, _Line]]:
    """Each line with the name that it has in the legend, by name: the fewest details that distinguish all."""
    distinct = list(lines)
    found: dict[str, _Line] = {}
    for details in (d for count in range(len(DETAILS) + 1) for d in combinations(DETAILS, count)):
        found = {line.name(details): line for line in distinct}
        if len(found) == len(distinct):
            break
    short: dict[str, _Line] = {}
    for name, line in sorted(found.items()):
        text = tail(name)
        text = f" {text}" if text.startswith("_") else text  # matplotlib hides names that begin so
        again = sum(other.startswith(text) for other in short)
        short[f"{text} ({again + 1})" if again else text] = line
    return list(short.items())


def _grouped(members: Sequence[MeasuredCurve]) -> dict[str, list[MeasuredCurve]]:
    """Curves by the name of their line."""
    lines: dict[_Line, list[MeasuredCurve]] = defaultdict(list)
    for curve in members:
        lines[_Line.of(curve.label, _budget(curve.label))].append(curve)
    return {name: lines[line] for name, line in _named(lines)}


def _budget(about: Mapping[str, Any]) -> str:
    if about.get("shots") is not None:
        return f"{about['shots']} shots"
    return "" if about.get("fraction") in (None, 1.0) else f"{100 * float(about['fraction']):g} %"


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
    return path
