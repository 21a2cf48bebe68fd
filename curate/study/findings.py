"""From `results.jsonl` to findings: scores of arms, grouped by question and arm, and compared.

Questions and arms are those of `curate.study.arms`, comparisons those of `curate.study.comparisons`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.evaluate.results import summarise
from curate.evaluate.tables import headline_metrics
from curate.storage.documents import mapping, read_json
from curate.study import answers, results
from curate.study.answers import Answers, Lookup
from curate.study.arms import COMPARED, Arm, Question, Score
from curate.study.comparisons import Analysis, Comparison, ShareCurve, by_share, compared, curves, reference_of
from curate.study.dose import DoseCurve, dose_curves, grouped
from curate.study.evidence import Evidence
from curate.study.results import Line
from curate.study.statistics import LEVEL

CONSTANT = ("space", "threshold", "order")
"""Columns that distinguish arms only where a study varies them."""
SPLITS = ("full", "test")
"""Parts of a test set that stand for all of it, in order; else its folds, else its first part."""


@dataclass(frozen=True)
class Findings:
    """All that a study found."""

    scores: tuple[Score, ...]
    headlines: tuple[Question, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[ShareCurve, ...]
    doses: tuple[DoseCurve, ...]
    seeds: int
    constant: dict[str, Any]
    margin: float


def find(lines: Iterable[Line], analysis: Analysis | None = None, look: Lookup | None = None) -> Findings:
    """Groups measurements and compares them.

    Args:
        lines: of results.jsonl.
        analysis: how, as the recipe has it; None: its defaults.
        look: finds what a measurement answered to every test picture; None: that is not known.
    """
    analysis = analysis or Analysis()
    lines = list(lines)
    constant = _constant(lines)
    scores = _scores(lines, constant)
    chosen = set(headlines(score.question for score in scores))
    shown = [score for score in scores if score.question in chosen]
    seeds = max((len(score.values) for score in scores), default=0)
    ordered = tuple(dict.fromkeys(score.question for score in shown))
    known = Evidence.of(shown, _answers(lines, constant, chosen, look) if look is not None else None)
    with_all = sum(reference_of(own[0], "full", {}, shown) is not None for own in by_share(shown).values())
    tested = len(grouped(shown)) + with_all
    level = (1 - LEVEL) / max(1, 2 * tested)  # two directions a curve
    return Findings(
        tuple(scores),
        ordered,
        tuple(compared(shown, analysis, known)),
        tuple(curves(shown, analysis.margin, known, level)),
        tuple(dose_curves(shown, analysis.margin, known, level)),
        seeds,
        constant,
        analysis.margin,
    )


def of_study(out: Path) -> Findings:
    """What the measurements of a study's present recipe say.

    Args:
        out: folder of the study.
    """
    record = read_json(out / "study.json", mapping, "run the same curate study again")
    path, wanted = out / results.NAME, set(record["cells"])
    lines = results.read(path) if path.exists() else []
    own = (line for line in lines if line.columns["cell"] in wanted)
    return find(own, Analysis.of(record["recipe"]), answers.of_study(out))


def headlines(questions: Iterable[Question]) -> list[Question]:
    """Of each task, data set, mode and number of labels the metrics that are compared, on one part of the test set."""
    groups: dict[tuple[Any, ...], list[Question]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        groups[question.title, question.dataset, question.mode, question.fraction, question.shots].append(question)
    return [
        min((one for one in members if one.metric == metric), key=_whole)
        for members in groups.values()
        for metric in headline_metrics(members[0].task, members[0].dataset, (one.metric for one in members))
    ]


def as_json(findings: Findings) -> dict[str, Any]:
    """Plain values, for `statistics.json`."""
    return {
        "seeds": findings.seeds,
        "margin": findings.margin,
        "constant": findings.constant,
        "scores": [_plain(asdict(score)) for score in findings.scores],
        "comparisons": [
            _plain(asdict(one)) | {"shown": one.shown, "no_worse": one.no_worse, "better": one.better}
            for one in findings.comparisons
        ],
        "curves": [
            _plain(
                {
                    "question": asdict(curve.question),
                    "arm": asdict(curve.arm),
                    "shares": [point.kept_share for point in curve.points],
                    "smallest": asdict(curve.smallest) if curve.smallest else None,
                    "seconds_saved": curve.seconds_saved,
                }
            )
            for curve in findings.curves
        ],
        "doses": [
            _plain(
                {
                    "question": asdict(curve.question),
                    "arm": asdict(curve.arm),
                    "different_faces": [point.unique for point in curve.points],
                    "smallest": asdict(curve.smallest) if curve.smallest else None,
                    "worst": curve.worst,
                    "knee": asdict(curve.knee) if curve.knee else None,
                }
            )
            for curve in findings.doses
        ],
    }


def _answers(
    lines: Iterable[Line], constant: Mapping[str, Any], chosen: Set[Question], look: Lookup
) -> dict[tuple[Question, Arm], dict[int, Answers]]:
    """What is kept of the answers to the questions that are compared, by arm and seed."""
    found: dict[tuple[Question, Arm], dict[int, Answers]] = defaultdict(dict)
    for line in lines:
        question = _question(line)
        own = look(line, question) if question in chosen else None
        if own is not None:
            found[question, _arm(line, constant)][line.result.seed] = own
    return found


def _constant(lines: list[Line]) -> dict[str, Any]:
    """What all arms of the study that have it have in common."""
    found = {}
    for name in CONSTANT:
        values = {line.columns[name] for line in lines} - {None}
        if len(values) == 1:
            found[name] = values.pop()
    return found


def _scores(lines: list[Line], constant: Mapping[str, Any]) -> list[Score]:
    groups: dict[tuple[Question, Arm], dict[int, Line]] = defaultdict(dict)
    for line in lines:
        groups[_question(line), _arm(line, constant)][line.result.seed] = line
    found = []
    for (question, arm), by_seed in groups.items():
        values = {seed: line.result.value for seed, line in sorted(by_seed.items())}
        means = {
            name: _mean(line.columns[name] for line in by_seed.values())
            for name in ("kept_share", "unique", "train_seconds", "train_images")
        }
        found.append(Score(question, arm, values, summarise(list(values.values())), **means))
    return sorted(found, key=_place)


def _place(score: Score) -> tuple[Any, ...]:
    """Trainings in their order by name; given backbones first, then by size and rule."""
    arm = score.arm
    return (
        arm.rule is not None, arm.training, arm.budget, arm.build or "", arm.rule == "full", arm.faces or 0,
        arm.rule != "random", arm.rule or "", arm.redundancy or 0.0, arm.space or "", arm.threshold or 0.0,
        arm.fps or 0.0, arm.frames != "all", arm.frames,
    )  # fmt: skip


def _question(line: Line) -> Question:
    r = line.result
    return Question(
        line.columns["title"], r.task, r.dataset, r.split, r.metric, r.mode,
        r.fraction if r.shots is None else 1.0, r.shots,
    )  # fmt: skip


def _arm(line: Line, constant: Mapping[str, Any]) -> Arm:
    values: dict[str, Any] = {name: line.column(name) for name in COMPARED}
    return Arm(**values | dict.fromkeys(constant))


def _whole(question: Question) -> tuple[int, str]:
    """Parts of a test set by how far they stand for all of it."""
    known = SPLITS.index(question.split) if question.split in SPLITS else 2 if question.split.startswith("cv") else 3
    return known, question.split


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _plain(value: Any) -> Any:
    """JSON values: NaN is null, keys are text."""
    if isinstance(value, dict):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
