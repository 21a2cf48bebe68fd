"""From `results.jsonl` to findings: scores of arms, paired differences, curves against the kept share.

Questions and arms are those of `curate.study.arms`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curate.evaluate.results import Summary, summarise
from curate.evaluate.tables import HEADLINES
from curate.storage.documents import mapping, read_json
from curate.study import results
from curate.study.arms import COMPARED, Arm, Question
from curate.study.results import Line
from curate.study.statistics import LEVEL, Difference, Smallest, difference, holm, smallest_share

Kind = Literal["random", "full", "compare"]
NAMES: dict[Kind, str] = {"random": "random at equal size", "full": "all faces", "compare": "the other arm"}
CONSTANT = ("space", "threshold", "order")
"""Columns that distinguish arms only where a study varies them."""
SPLITS = ("full", "test")
"""Parts of a test set that stand for all of it, in order; else its folds, else its first part."""


@dataclass(frozen=True)
class Score:
    """An arm's answers to a question.

    Attributes:
        values: of the metric, by seed; `summary` is over them.
        kept_share: faces of the manifest as a share of its build's; `unique`: clusters that they fall into; both, and
            the seconds and pictures of the training run, are means over seeds, None for a backbone not trained here.
    """

    question: Question
    arm: Arm
    values: dict[int, float]
    summary: Summary
    kept_share: float | None
    unique: float | None
    train_seconds: float | None
    train_images: float | None


@dataclass(frozen=True)
class Comparison:
    """An arm against a reference on the headline metric of a task.

    Attributes:
        adjusted: p after Holm's correction over all comparisons of the same kind in the study.
        shown: whether the data show a difference: adjusted p below 0.05, and the bootstrap interval excludes 0.
    """

    kind: Kind
    question: Question
    arm: Arm
    reference: Arm
    difference: Difference
    adjusted: float | None = None

    @property
    def shown(self) -> bool:
        """See the class."""
        low, high = self.difference.summary.low, self.difference.summary.high
        if self.adjusted is None or low is None or high is None:
            return False
        return self.adjusted < 1 - LEVEL and (low > 0 or high < 0)

    @property
    def better(self) -> bool:
        """The sign of the mean difference, in the metric's sense."""
        return (self.difference.summary.mean < 0) == self.question.lower_is_better


@dataclass(frozen=True)
class ShareCurve:
    """Scores of arms that differ in size alone, against the kept share.

    Attributes:
        arm: with `faces` None.
        points: by kept share.
        full: all faces, where the study has them.
        seconds_saved: of a run on the smallest share instead of all faces; None where that cannot be told.
    """

    question: Question
    arm: Arm
    points: tuple[Score, ...]
    full: Score | None
    smallest: Smallest | None
    seconds_saved: float | None


@dataclass(frozen=True)
class Findings:
    """All that a study found."""

    scores: tuple[Score, ...]
    headlines: tuple[Question, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[ShareCurve, ...]
    seeds: int
    constant: dict[str, Any]


def find(lines: Iterable[Line], compare: Mapping[str, Any] | None = None) -> Findings:
    """Groups measurements and compares them.

    Args:
        lines: of results.jsonl.
        compare: columns and their values in one more reference, as in the recipe.
    """
    lines = list(lines)
    constant = _constant(lines)
    scores = _scores(lines, constant)
    chosen = set(headlines(score.question for score in scores))
    shown = [score for score in scores if score.question in chosen]
    comparisons = _corrected(
        [*_compared(shown, "random"), *_compared(shown, "full"), *_compared(shown, "compare", compare)]
    )
    seeds = max((len(score.values) for score in scores), default=0)
    ordered = tuple(dict.fromkeys(score.question for score in shown))
    return Findings(tuple(scores), ordered, tuple(comparisons), tuple(_curves(shown)), seeds, constant)


def of_study(out: Path) -> Findings:
    """What the measurements of a study's present recipe say.

    Args:
        out: folder of the study.
    """
    told = read_json(out / "study.json", mapping, "run the same curate study again")
    path, wanted = out / results.NAME, set(told["cells"])
    lines = results.read(path) if path.exists() else []
    return find((line for line in lines if line.columns["cell"] in wanted), told["recipe"]["compare"])


def headlines(questions: Iterable[Question]) -> list[Question]:
    """Of each task, data set, mode and number of labels the one metric and part that is compared."""
    groups: dict[tuple[Any, ...], list[Question]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        groups[question.title, question.dataset, question.mode, question.fraction, question.shots].append(question)
    return [min(members, key=_prominence) for members in groups.values()]


def as_json(findings: Findings) -> dict[str, Any]:
    """Plain values, for `statistics.json`."""
    return {
        "seeds": findings.seeds,
        "constant": findings.constant,
        "scores": [_plain(asdict(score)) for score in findings.scores],
        "comparisons": [
            _plain(asdict(one)) | {"shown": one.shown, "better": one.better} for one in findings.comparisons
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
    }


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


def _prominence(question: Question) -> tuple[int, int, str, str]:
    known = HEADLINES[question.task]
    metric = known.index(question.metric) if question.metric in known else len(known)
    whole = SPLITS.index(question.split) if question.split in SPLITS else 2 if question.split.startswith("cv") else 3
    return metric, whole, question.split, question.metric


def _compared(scores: list[Score], kind: Kind, compare: Mapping[str, Any] | None = None) -> list[Comparison]:
    there = {(score.question, score.arm): score for score in scores}
    found = []
    for score in scores:
        reference = _reference(score, kind, compare or {}, scores)
        if reference is not None and reference != score.arm:
            other = there[score.question, reference]
            found.append(Comparison(kind, score.question, score.arm, reference, difference(score.values, other.values)))
    return found


def _reference(score: Score, kind: Kind, compare: Mapping[str, Any], scores: list[Score]) -> Arm | None:
    """The arm that a score is compared with, if it is among the scores of the same question."""
    arm = score.arm
    sampled = arm.frames != "all"
    if kind == "compare":
        wanted = {name: value for name, value in compare.items() if name in COMPARED}
        if not wanted or all(getattr(arm, name) == value for name, value in wanted.items()):
            return None
        ignored = {"arch"} if "training" in wanted else set()
    elif sampled and kind == "random":
        share = arm.frames.partition(":")[2]
        wanted, ignored = {"frames": f"random:{share}"}, set()
    elif sampled:
        wanted, ignored = {"frames": "all"}, set()
    elif arm.rule in (None, "full") or (kind == "random" and arm.rule == "random"):
        return None
    else:
        wanted = {"rule": kind}
        ignored = {"redundancy", "space", "threshold", "order"} | ({"faces", "fps"} if kind == "full" else set())
    same = [name for name in COMPARED if name not in wanted and name not in ignored]
    for other in scores:
        if other.question != score.question:
            continue
        fits = all(getattr(other.arm, name) == value for name, value in wanted.items())
        if fits and all(getattr(other.arm, name) == getattr(arm, name) for name in same):
            return other.arm
    return None


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Holm's correction within each kind, over all tasks."""
    found = list(comparisons)
    for kind in NAMES:
        places = [place for place, one in enumerate(comparisons) if one.kind == kind]
        adjusted = holm([comparisons[place].difference.p for place in places])
        for place, p in zip(places, adjusted, strict=True):
            found[place] = replace(comparisons[place], adjusted=p)
    return found


def _curves(scores: list[Score]) -> list[ShareCurve]:
    groups: dict[tuple[Question, Arm], list[Score]] = defaultdict(list)
    for score in scores:
        if score.arm.rule not in (None, "full") and score.kept_share is not None:
            groups[score.question, replace(score.arm, faces=None)].append(score)
    there = {(score.question, score.arm): score for score in scores}
    found = []
    for (question, arm), members in groups.items():
        points = tuple(sorted(members, key=lambda score: score.kept_share or 0.0))
        reference = _reference(points[0], "full", {}, scores)
        full = there[question, reference] if reference is not None else None
        smallest = None
        if full is not None:
            values = {float(point.kept_share or 0): point.values for point in points}
            smallest = smallest_share(values, full.values, question.lower_is_better)
        found.append(ShareCurve(question, arm, points, full, smallest, _saved(points, full, smallest)))
    return found


def _saved(points: tuple[Score, ...], full: Score | None, smallest: Smallest | None) -> float | None:
    if full is None or smallest is None or full.train_seconds is None:
        return None
    seconds = {point.kept_share: point.train_seconds for point in points} | {1.0: full.train_seconds}
    own = seconds.get(smallest.share)
    return None if own is None else full.train_seconds - own


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
