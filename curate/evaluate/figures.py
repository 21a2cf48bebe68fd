"""Curves of results: cumulative errors (CED), ROC, score against training data; and a picture of each crop.

The one place of this package that draws with matplotlib. Seeds are pooled into one line: means with the bootstrap
interval for few-shot curves, all faces or pairs together for CED and ROC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curate.errors import UsageError
from curate.evaluate import curves, metrics
from curate.evaluate.crops import Crop, apply, invert
from curate.evaluate.curves import Curve
from curate.evaluate.features import crop_of
from curate.evaluate.results import Result, summarise
from curate.evaluate.samples import Sample
from curate.evaluate.tables import HEADLINES, LOWER_IS_BETTER, is_plain
from curate.storage.files import whole

Label = tuple[str, ...]


def draw_all(results: Sequence[Result], folder: Path, out: Path, suffix: str = "svg") -> list[Path]:
    """Every figure that the results and the curves of `folder` allow, written to `out`.

    Returns:
        The files: `ced-DATASET-SPLIT`, `roc-DATASET`, `few-shot-TASK-DATASET-METRIC`.
    """
    written = []
    found = list(curves.read(folder))
    by_set: dict[tuple[str, str], list[Curve]] = defaultdict(list)
    for curve in found:
        by_set[str(curve.label["dataset"]), str(curve.label["split"])].append(curve)
    for (dataset, split), members in sorted(by_set.items()):
        if any(curve.errors.size for curve in members):
            written.append(_save(ced(members), out / f"ced-{dataset}-{split}.{suffix}"))
        if any(curve.scores.size for curve in members):
            written.append(_save(roc(members), out / f"roc-{dataset}.{suffix}"))
    for task, dataset, split in sorted({(r.task, r.dataset, r.split) for r in results}):
        own = [r for r in results if (r.task, r.dataset, r.split) == (task, dataset, split)]
        for metric in HEADLINES[task]:
            of_metric = [r for r in own if r.metric == metric and not np.isnan(r.value) and r.n_train > 0]
            if len({r.n_train for r in of_metric}) > 1:
                written.append(_save(few_shot(of_metric), out / f"few-shot-{dataset}-{split}-{metric}.{suffix}"))
    return written


def ced(members: Sequence[Curve], limit: float = 0.12) -> Figure:
    """Cumulative error distributions, a line a backbone and protocol."""
    figure, axes = _axes("normalised error, %", "faces with at most this error, %")
    at = np.linspace(0, limit, 500)
    for label, own in _grouped(members).items():
        errors = np.concatenate([curve.errors for curve in own])
        axes.plot(100 * at, 100 * metrics.ced(errors, at), label=" · ".join(label))
    axes.set_xlim(0, 100 * limit)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    return figure


def roc(members: Sequence[Curve]) -> Figure:
    """True against false acceptance, a line a backbone and protocol; false acceptance in logarithms."""
    figure, axes = _axes("false acceptance rate", "true acceptance rate, %")
    for label, own in _grouped(members).items():
        scores, same = (np.concatenate([getattr(c, name) for c in own]) for name in ("scores", "same"))
        curve = metrics.roc(scores, same)
        there = curve.far > 0
        axes.step(curve.far[there], 100 * curve.tar[there], where="post", label=" · ".join(label))
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
    lines: dict[Label, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for r in results:
        lines[_label({"backbone": r.backbone, "method": r.method, "arch": r.arch, "mode": r.mode, "frames": r.frames})][
            r.n_train
        ].append(scale * r.value)
    for label, values in lines.items():
        sizes = sorted(values)
        found = [summarise(values[size]) for size in sizes]
        (line,) = axes.plot(sizes, [s.mean for s in found], marker="o", label=" · ".join(label))
        low = [s.low if s.low is not None else s.mean for s in found]
        high = [s.high if s.high is not None else s.mean for s in found]
        axes.fill_between(sizes, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set_xscale("log")
    sizes = sorted({size for values in lines.values() for size in values})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure


def crop_picture(sample: Sample, crop: Crop, title: str = "") -> Figure:
    """A sample's picture with the square that the crop takes, beside the crop: what the backbone sees.

    Raises:
        UsageError: the picture is damaged or cannot be cropped.
    """
    found = crop_of(sample, crop)
    if found is None:
        raise UsageError(f"{sample.id}: damaged, or without the box that its crop needs")
    picture, (pixels, matrix) = sample.picture.read(), found
    side = crop.size - 0.5
    corners = np.array([[-0.5, -0.5], [side, -0.5], [side, side], [-0.5, side], [-0.5, -0.5]])
    square = apply(invert(matrix), corners)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(picture)
    left.plot(*square.T, color="#d62728")
    if sample.box is not None:
        x0, y0, x1, y1 = sample.box
        left.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linestyle=":")
    right.imshow(pixels)
    left.set_title(title, fontsize=9)
    right.set_title(f"{crop.rule}, margin {crop.margin:g}, {crop.size} px", fontsize=9)
    for axes in (left, right):
        axes.set_axis_off()
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _grouped(members: Sequence[Curve]) -> dict[Label, list[Curve]]:
    """Curves by all but their seed."""
    found: dict[Label, list[Curve]] = defaultdict(list)
    for curve in members:
        found[_label(curve.label)].append(curve)
    return dict(sorted(found.items()))


def _label(about: dict[str, str | int | float | None]) -> Label:
    parts = [Path(str(about["backbone"])).name, about.get("arch"), about.get("method"), about.get("mode")]
    if about.get("shots") is not None:
        parts.append(f"{about['shots']} shots")
    elif about.get("fraction") not in (None, 1.0):
        parts.append(f"{100 * float(about['fraction'] or 0):g} %")
    if about.get("frames") not in (None, "all"):
        parts.append(f"frames {about['frames']}")
    texts = [str(part).replace("$", "") for part in parts if part]  # no formulas from names
    return tuple(dict.fromkeys(texts))


def _save(figure: Figure, path: Path) -> Path:
    with whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
    return path
