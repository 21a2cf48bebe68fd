"""Results as the paper's tables: one a task, a row a backbone and protocol, a column a data set and metric.

Our cells are means over seeds with their deviation and bootstrap interval. Cells of the literature stand in rows of
their own, marked `r` (reported), and `m` where the number or its protocol is from memory and unverified.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.choices import TASKS
from curate.errors import UsageError, one_line
from curate.evaluate.reported import REPORTED, Reported
from curate.evaluate.results import Result, Summary, assignments, summarise

HEADLINES: dict[str, tuple[str, ...]] = {
    "recognition": ("accuracy", "eer", "roc_auc", "tar@far=1e-02", "tar@far=1e-04", "rank1", "tpir@fpir=1e-02"),
    "landmarks": ("nme", "nme_diagonal", "fr@0.10", "auc@0.10", "auc_box@0.07"),
    "action_units": ("icc", "mae", "mse", "f1"),
    "emotion": ("accuracy", "macro_f1", "ccc_valence", "ccc_arousal", "rmse_valence", "rmse_arousal"),
    "reconstruction": ("nme_3d", "nme_icp", "nme_2d", "nme_2d_balanced", "nme_dense", "nme_surface"),
}
"""What tables show of each task, in order; results.jsonl holds more."""
FIRST: dict[str, tuple[str, ...]] = {
    "affectnet": ("ccc_valence", "ccc_arousal", "accuracy"),
    "afew_va": ("ccc_valence", "ccc_arousal"),
    "ijbb": ("tar@far=1e-04",),
    "ijbc": ("tar@far=1e-04",),
    "aflw19": ("nme_diagonal",),
}
"""The metrics that the literature compares on a data set, where they are not the first of its task."""
PLAIN = ("icc", "ccc", "mae", "mse", "rmse", "pcc", "sagr")
"""Metrics that are shown as they are; all others are shares, shown in percent."""
LOWER_IS_BETTER = ("nme", "fr@", "eer", "mae", "mse", "rmse")
LEGEND = "r: reported by its authors; m: the number or its protocol is from memory, unverified."
WIDTH = 150
"""Characters that a line of plain text may take; wider tables are printed in several parts."""


def headline_metrics(task: str, dataset: str, measured: Iterable[str]) -> tuple[str, ...]:
    """The metrics by which results on a data set are compared, of those that were measured there."""
    measured = set(measured)
    known = [metric for metric in FIRST.get(dataset, ()) if metric in measured]
    if known:
        return tuple(metric for metric in known if metric.startswith("ccc")) or tuple(known[:1])
    return tuple(next(([metric] for metric in HEADLINES[task] if metric in measured), sorted(measured)[:1]))


def is_plain(metric: str) -> bool:
    """Whether a metric is shown as it is, rather than in percent."""
    return metric.split("_")[0].split("@")[0] in PLAIN


@dataclass(frozen=True)
class TableCell:
    """One number of a table, in the unit that is shown.

    Attributes:
        summary: over seeds; for a reported number its mean alone.
        mark: empty for ours, `r` or `rm` for reported ones.
        best: the best of its column among ours.
    """

    summary: Summary
    digits: int
    mark: str = ""
    best: bool = False

    def text(self) -> str:
        """Mean, deviation and interval, without marks."""
        s, d = self.summary, self.digits
        shown = f"{s.mean:.{d}f}"
        if s.deviation is not None and s.low is not None and s.high is not None:
            shown += f" ± {s.deviation:.{d}f} [{s.low:.{d}f}, {s.high:.{d}f}]"
        return shown


@dataclass(frozen=True)
class ResultTable:
    """One task's table: labels of rows, then a cell for each column or None."""

    title: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[TableCell | None, ...]], ...]


HEADS = ("backbone", "method", "protocol", "training data")
Column = tuple[str, str | None, str, str]
"""Data set, its folder, part and metric, see `Result.column`."""


def tables(results: Iterable[Result]) -> list[ResultTable]:
    """Tables of all tasks that have results, in the order of `TASKS`."""
    of_task: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        of_task[result.task].append(result)
    return [_table(task, of_task[task]) for task in TASKS if of_task[task]]


def _table(task: str, results: list[Result]) -> ResultTable:
    headlines = HEADLINES[task]
    shown = [r for r in results if r.metric in headlines]
    order = {metric: place for place, metric in enumerate(headlines)}
    columns: list[Column] = sorted({r.column() for r in shown}, key=lambda c: (c[0], c[1] or "", c[2], order[c[3]]))
    rows = []
    for labels, found in _by_protocol(shown):
        rows.append((labels, [_cell(summarise(found[c]), c[3]) if c in found else None for c in columns]))
    rows = _with_best(rows, columns)
    for who, cells in _reported(task, columns).items():
        rows.append(((who, "", "as reported", ""), cells))
    frozen = tuple((labels, tuple(cells)) for labels, cells in rows)
    return ResultTable(_title(task), HEADS, _names(columns), frozen)


def _by_protocol(shown: list[Result]) -> Iterator[tuple[tuple[str, ...], dict[Column, list[float]]]]:
    """Labels and, for each column, the seeds of every backbone and protocol.

    Other crops and recipes of one column are rows of their own, labelled with what differs.
    """
    members: dict[tuple[object, ...], dict[Column, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for r in shown:
        members[r.row()][r.column()].append(r)
    differing = {row: _differing(found.values()) for row, found in members.items()}
    seeds: dict[tuple[object, ...], dict[Column, list[float]]] = defaultdict(lambda: defaultdict(list))
    labels: dict[tuple[object, ...], tuple[str, ...]] = {}
    for r in shown:
        apart = {name: value for name, value in _choices(r).items() if name in differing[r.row()]}
        key = (*r.row(), json.dumps(apart, sort_keys=True))
        seeds[key][r.column()].append(r.value)
        labels[key] = _labels(r, differing[r.row()])
    for key, found in seeds.items():
        yield labels[key], found


def _choices(r: Result) -> dict[str, object]:
    """What rows of one backbone and protocol may still differ in."""
    return r.recipe | {"crop": r.crop}


def _differing(columns: Iterable[Sequence[Result]]) -> set[str]:
    """The choices in which results of one column differ."""
    found = set()
    for results in columns:
        sets = [_choices(r) for r in results]
        found |= {name for some in sets for name in some if some[name] != sets[0].get(name)}
        found |= {name for name in sets[0] if any(name not in some for some in sets)}
    return found


def _labels(r: Result, shown: set[str]) -> tuple[str, ...]:
    """What stands at the beginning of a row; of crop and recipe what is in `shown`."""
    crop = f", {r.crop.get('size')} px" if "crop" in shown else ""
    recipe = "".join(f", {text}" for name, text in assignments(r.recipe).items() if name in shown)
    method = " · ".join(part for part in (r.arch, r.method if r.method != r.backbone else None) if part)
    data = f"{r.shots} {'shot' if r.shots == 1 else 'shots'}" if r.shots is not None else f"{100 * r.fraction:g} %"
    frames = "" if r.frames == "all" else f", frames {r.frames}"
    manifest = f" ({Path(r.manifest).name})" if r.manifest else ""
    return (
        tail(r.backbone),
        one_line(method + manifest, 80),
        f"{r.mode}{crop}{one_line(recipe, 120)}",
        f"{data}{frames}",
    )


def _cell(summary: Summary, metric: str, mark: str = "") -> TableCell:
    if is_plain(metric):
        return TableCell(summary, 3, mark)
    deviation, low, high = (None if v is None else 100 * v for v in (summary.deviation, summary.low, summary.high))
    return TableCell(Summary(100 * summary.mean, deviation, low, high, summary.seeds), 2, mark)


Row = tuple[tuple[str, ...], list[TableCell | None]]


def _with_best(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """Marks the best of our cells in each column that has several."""
    for index, (*_, metric) in enumerate(columns):
        there = [cells[index] for _, cells in rows]
        means = [cell.summary.mean for cell in there if cell is not None and cell.summary.mean == cell.summary.mean]
        if len(means) < 2:
            continue
        top = min(means) if metric.startswith(LOWER_IS_BETTER) else max(means)
        for _, cells in rows:
            cell = cells[index]
            if cell is not None and cell.summary.mean == top:
                cells[index] = TableCell(cell.summary, cell.digits, cell.mark, best=True)
    return rows


def _reported(task: str, columns: Sequence[Column]) -> dict[str, list[TableCell | None]]:
    """Rows of the literature for the columns that we have."""
    found: dict[str, list[TableCell | None]] = {}
    for number in REPORTED:
        own = (number.dataset, number.split, number.metric)
        places = [i for i, (dataset, _, *rest) in enumerate(columns) if (dataset, *rest) == own and number.task == task]
        for place in places:
            row = found.setdefault(_who(number), [None] * len(columns))
            row[place] = _cell(Summary(number.value, None, None, None, 1), number.metric, mark_of(number))
    return found


def _who(number: Reported) -> str:
    return f"{number.who}, few-shot" if number.few_shot else number.who


def mark_of(number: Reported) -> str:
    """`r`, and `m` where the number or its protocol is unverified."""
    return "r" if number.verified and number.protocol else "rm"


def _title(task: str) -> str:
    return task.replace("_", " ").capitalize()


def _names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Heads of columns."""
    shown = folders((dataset, data) for dataset, data, *_ in columns)
    return tuple(
        f"{dataset}{shown[dataset, data]} {split} {metric}{'' if is_plain(metric) else ' %'}"
        for dataset, data, split, metric in columns
    )


def folders(given: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], str]:
    """For each data set and folder the folder in brackets, as short as distinguishes it; empty where there is one."""
    of_set: dict[str, set[str | None]] = defaultdict(set)
    for dataset, data in given:
        of_set[dataset].add(data)
    found = {}
    for dataset, places in of_set.items():
        short = {data: Path(data).name if data else None for data in places}
        unique = len(set(short.values())) == len(places)
        for data in places:
            text = short[data] if unique else data
            found[dataset, data] = f" ({tail(text)})" if text and len(places) > 1 else ""
    return found


def tail(text: str, width: int = 60) -> str:
    """One line of at most `width` characters; of a longer one the end, behind an ellipsis: paths differ there."""
    clean = one_line(text, len(text) + 1)
    return clean if len(clean) <= width else f"…{clean[1 - width :]}"


def render(found: Sequence[ResultTable], form: str = "text") -> str:
    """Tables as plain text, Markdown, LaTeX (booktabs) or a self-contained HTML page.

    Raises:
        UsageError: the form is none of these.
    """
    writers: dict[str, Callable[[ResultTable], str]] = {
        "text": _as_text,
        "markdown": _as_markdown,
        "latex": _as_latex,
        "html": _as_html,
    }
    if form not in writers:
        raise UsageError(f"--format {form}: none of {', '.join(writers)}")
    body = "\n\n".join(writers[form](table) for table in found)
    legend = _legend(found, form)
    if form == "html":
        head = f"<!doctype html><meta charset='utf-8'><title>curate evaluate</title><style>{STYLE}</style>"
        return f"{head}{body}<p>{legend}</p>\n"
    if not legend:
        return f"{body}\n"
    return f"{body}\n% {legend}\n" if form == "latex" else f"{body}\n\n{legend}\n"


def _legend(found: Sequence[ResultTable], form: str) -> str:
    """What the signs in these tables mean."""
    cells = [cell for table in found for _, row in table.rows for cell in row if cell is not None]
    best = "*: the best of its column. " if form == "text" else "Bold: the best of its column. "
    several = "Mean ± standard deviation over seeds [95 % bootstrap interval of the mean]. "
    return (
        (best if any(cell.best for cell in cells) else "")
        + (several if any(cell.summary.deviation is not None for cell in cells) else "")
        + (LEGEND if any(cell.mark for cell in cells) else "")
    ).strip()


def _as_text(table: ResultTable) -> str:
    """Columns that do not fit on a line stand below, with their rows' labels again."""
    rows = [[*table.heads, *table.columns]]
    rows += [[*labels, *(_plain(cell) for cell in cells)] for labels, cells in table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    first = len(table.heads)
    parts: list[list[int]] = [[]]
    for column in range(first, len(rows[0])):
        wide = sum(widths[i] + 2 for i in (*range(first), *parts[-1], column))
        if parts[-1] and wide > WIDTH:
            parts.append([])
        parts[-1].append(column)
    blocks = []
    for part in parts:
        shown = [row for row in rows if any(row[i] for i in part)]
        lines = ["  ".join(row[i].ljust(widths[i]) for i in (*range(first), *part)).rstrip() for row in shown]
        blocks.append("\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]]))
    return "\n\n".join([f"{table.title}\n{blocks[0]}", *blocks[1:]])


def _plain(cell: TableCell | None) -> str:
    return "" if cell is None else f"{cell.text()}{'*' if cell.best else ''}{f' ({cell.mark})' if cell.mark else ''}"


def _as_markdown(table: ResultTable) -> str:
    def line(texts: Iterable[str]) -> str:
        return "| " + " | ".join(markdown(text) for text in texts) + " |"

    lines = [f"### {table.title}", "", line((*table.heads, *table.columns))]
    lines.append("|" + "---|" * (len(table.heads) + len(table.columns)))
    for labels, cells in table.rows:
        texts = [*(markdown(label) for label in labels)]
        for cell in cells:
            text = "" if cell is None else cell.text()
            text = f"**{text}**" if cell is not None and cell.best else text
            texts.append(text + (f" <sup>{cell.mark}</sup>" if cell is not None and cell.mark else ""))
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Text with what Markdown and HTML take for marks escaped."""
    return re.sub(r"[\\|`\[*_]", r"\\\g<0>", html.escape(text, quote=False))


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "·": r"$\cdot$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\ldots{}",
    "[": "{[}",  # bare, the first of a row would be an argument of the line break before it
}  # fmt: skip


def latex(text: str) -> str:
    """Text with what LaTeX takes for commands escaped."""
    return "".join(_LATEX.get(c, c) for c in text)


def _as_latex(table: ResultTable) -> str:
    lines = [
        f"% {table.title}",
        r"\begin{tabular}{" + "l" * len(table.heads) + "r" * len(table.columns) + "}",
        r"\toprule",
    ]
    lines.append(" & ".join(map(latex, (*table.heads, *table.columns))) + r" \\ \midrule")
    for labels, cells in table.rows:
        texts = [latex(label) for label in labels]
        for cell in cells:
            text = "" if cell is None else latex(cell.text())
            text = rf"\textbf{{{text}}}" if cell is not None and cell.best else text
            texts.append(text + (rf"$^{{\mathrm{{{cell.mark}}}}}$" if cell is not None and cell.mark else ""))
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em}div{overflow-x:auto}table{border-collapse:collapse;margin:0 0 2em}"
    "td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:left;white-space:nowrap}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}tr.r{color:#666;font-style:italic}"
)


def _as_html(table: ResultTable) -> str:
    lines = [f"<h2>{html.escape(table.title)}</h2><div><table><tr>"]
    lines += [f"<th>{html.escape(text)}</th>" for text in (*table.heads, *table.columns)]
    lines.append("</tr>")
    for labels, cells in table.rows:
        reported = any(cell is not None and cell.mark for cell in cells)
        lines.append(f"<tr{' class=r' if reported else ''}>")
        lines += [f"<td>{html.escape(label)}</td>" for label in labels]
        for cell in cells:
            text = "" if cell is None else html.escape(cell.text())
            text = f"<b>{text}</b>" if cell is not None and cell.best else text
            mark = f"<sup>{cell.mark}</sup>" if cell is not None and cell.mark else ""
            lines.append(f"<td class=n>{text}{mark}</td>")
        lines.append("</tr>")
    return "".join([*lines, "</table></div>"])
