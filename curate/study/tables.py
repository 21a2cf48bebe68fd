"""What a study leaves for a paper: `statistics.json`, and a table a task as CSV and LaTeX below `DIR/tables`."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from curate.evaluate.tables import latex, markdown
from curate.storage.documents import write_json
from curate.storage.files import write_bytes
from curate.study import verdict
from curate.study.arms import Arm, Question, Score
from curate.study.comparisons import Comparison, Kind
from curate.study.findings import Findings, as_json

HEADS = ("faces", "size", "differ", "training")
SHORT: dict[Kind, str] = {"random": "- random", "full": "- all faces", "compare": "- other"}


@dataclass(frozen=True)
class TableEntry:
    """One number of a table.

    Attributes:
        detail: of a difference: its interval and p.
        shown: whether the data show the difference.
    """

    text: str
    detail: str = ""
    shown: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".strip()


@dataclass(frozen=True)
class TaskTable:
    """One task: a row an arm; for each question a score and its differences."""

    title: str
    questions: tuple[Question, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Arm, tuple[str, ...], tuple[TableEntry, ...]], ...]


def tables(findings: Findings) -> list[TaskTable]:
    """A table for each task of the recipe, of its headline metrics."""
    titles = dict.fromkeys(question.title for question in findings.headlines)
    return [_table(findings, title) for title in titles]


def write(findings: Findings, out: Path) -> None:
    """Writes `statistics.json`, `tables/TASK.csv`, `tables/TASK.tex` and `tables/scores.csv` (every metric)."""
    write_json(out / "statistics.json", as_json(findings))
    for table in tables(findings):
        write_bytes(out / "tables" / f"{slug(table.title)}.csv", as_csv(table).encode())
        write_bytes(out / "tables" / f"{slug(table.title)}.tex", as_latex(table, findings.seeds).encode())
    write_bytes(out / "tables" / "scores.csv", _all(findings).encode())


def slug(text: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "task"


def score_text(score: Score) -> str:
    """Mean and deviation over seeds."""
    text = verdict.shown(score.question, score.summary.mean)
    deviation = score.summary.deviation
    return text if deviation is None else f"{text} ± {verdict.shown(score.question, deviation)}"


def _table(findings: Findings, title: str) -> TaskTable:
    questions = tuple(question for question in findings.headlines if question.title == title)
    kinds = [kind for kind in SHORT if any(c.kind == kind and c.question.title == title for c in findings.comparisons)]
    scores = {(score.question, score.arm): score for score in findings.scores}
    differences = {(c.question, c.arm, c.kind): c for c in findings.comparisons}
    columns = [name for question in questions for name in (_head(question), *(SHORT[kind] for kind in kinds))]
    rows = []
    for arm in dict.fromkeys(score.arm for score in findings.scores if score.question in questions):
        own = [scores.get((question, arm)) for question in questions]
        unique = next((score.unique for score in own if score is not None and score.unique is not None), None)
        labels = (
            arm.choice or "-",
            "" if arm.faces is None else f"{arm.faces:,}",
            "" if unique is None else f"{unique:,.0f}",
            " · ".join(part for part in (arm.training, arm.budget, arm.build if arm.build != "main" else "") if part),
        )
        entries = []
        for question, score in zip(questions, own, strict=True):
            entries.append(TableEntry("" if score is None else score_text(score)))
            entries += [_difference(differences.get((question, arm, kind))) for kind in kinds]
        rows.append((arm, labels, tuple(entries)))
    return TaskTable(title, questions, tuple(columns), tuple(rows))


def _head(question: Question) -> str:
    unit = " %" if question.percent else ""
    better = "lower" if question.lower_is_better else "higher"
    return f"{question.metric}{unit}, {question.protocol} ({better} is better)"


def _difference(found: Comparison | None) -> TableEntry:
    """Mean difference, interval, corrected p."""
    if found is None or found.difference.summary.seeds == 0:
        return TableEntry("")
    text = verdict.shown(found.question, found.difference.summary.mean, signed=True)
    bounds = verdict.interval(found.question, found.difference)
    p = "" if found.adjusted is None else f" p {found.adjusted:.2g}"
    p = p if found.planned else " exploratory"
    return TableEntry(text, f"{bounds}{p}", found.shown)


def as_csv(table: TaskTable) -> str:
    """Comma-separated, a line an arm."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*HEADS, *table.columns])
    writer.writerows([[*labels, *map(str, entries)] for _, labels, entries in table.rows])
    return buffer.getvalue()


def as_markdown(table: TaskTable) -> str:
    """For notebooks and pages; differences that the data show are bold."""
    lines = ["| " + " | ".join(map(markdown, (*HEADS, *table.columns))) + " |"]
    lines.append("|" + "---|" * (len(HEADS) + len(table.columns)))
    for _, labels, entries in table.rows:
        texts = [markdown(label) for label in labels]
        texts += [f"**{markdown(str(entry))}**" if entry.shown else markdown(str(entry)) for entry in entries]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def as_latex(table: TaskTable, seeds: int) -> str:
    """A booktabs tabular; differences that the data show are bold."""
    lines = [
        f"% {table.title}: mean and standard deviation over {seeds} seeds; differences with 95 % t intervals",
        "% (variances moderated over arms), p by Holm's method over the planned comparisons; bold where p < 0.05.",
        r"\begin{tabular}{lrrl" + "r" * len(table.columns) + "}",
        r"\toprule",
        " & ".join(map(latex, (*HEADS, *table.columns))) + r" \\ \midrule",
    ]
    for _, labels, entries in table.rows:
        texts = [latex(label) for label in labels]
        texts += [rf"\textbf{{{latex(str(entry))}}}" if entry.shown else latex(str(entry)) for entry in entries]
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _all(findings: Findings) -> str:
    """Every metric of every arm."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            "title",
            "dataset",
            "split",
            "metric",
            "mode",
            "fraction",
            "shots",
            "arm",
            "seeds",
            "mean",
            "deviation",
            "low",
            "high",
        ]
    )
    for score in findings.scores:
        q, s = score.question, score.summary
        asked = [q.title, q.dataset, q.split, q.metric, q.mode, q.fraction, q.shots, score.arm.label]
        writer.writerow([*asked, s.seeds, s.mean, s.deviation, s.low, s.high])
    return buffer.getvalue()
