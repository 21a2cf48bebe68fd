"""Arms against their references: differences, what stays within the margin, and curves against the kept share.

Of all comparisons those are tested that the recipe planned (all, where it planned none): Holm's correction runs over
the whole family, once for differences and once for staying within the margin. The others are exploratory: numbers, no
claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from curate.study.arms import COMPARED, Arm, Question, Score
from curate.study.config import PlannedComparisons, StudyRecipe
from curate.study.evidence import Evidence
from curate.study.statistics import LEVEL, Difference, Smallest, detectable, holm, smallest_enough

Kind = Literal["random", "full", "compare"]
NAMES: dict[Kind, str] = {"random": "random at equal size", "full": "all faces", "compare": "the other arm"}


@dataclass(frozen=True)
class Analysis:
    """How measurements are compared; keys of the recipe.

    Attributes:
        compare: columns and their values in one more reference beside random and full.
        planned: the comparisons that are tested; none: all.
        margin: by which share of the reference's error an arm may be worse and still do no worse.
    """

    compare: Mapping[str, Any] = field(default_factory=dict)
    planned: tuple[PlannedComparisons, ...] = ()
    margin: float = float(StudyRecipe.model_fields["margin"].default)

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Analysis:
        """That of a recipe as `study.json` holds it; of an earlier version the keys that it lacks are the defaults."""
        planned = tuple(PlannedComparisons.model_validate(one) for one in recipe.get("planned", ()))
        return cls(recipe["compare"], planned, float(recipe.get("margin", cls.margin)))


@dataclass(frozen=True)
class Comparison:
    """An arm against a reference on the headline metric of a task.

    Attributes:
        planned: whether it is tested.
        within, beyond: p of staying within the margin, and of being beyond it, see `statistics.exceeds`.
        adjusted, adjusted_within: p and `within` after Holm's correction over all planned comparisons.
        detectable: the true difference that would be shown four times in five, at the corrected level.
        shown: whether the data show a difference: adjusted p below 0.05.
        no_worse: whether they show that the arm stays within the margin: adjusted `within` below 0.05.
    """

    kind: Kind
    question: Question
    arm: Arm
    reference: Arm
    difference: Difference
    planned: bool
    within: float | None = None
    beyond: float | None = None
    adjusted: float | None = None
    adjusted_within: float | None = None
    detectable: float | None = None

    @property
    def shown(self) -> bool:
        """See the class."""
        return self.planned and self.adjusted is not None and self.adjusted < 1 - LEVEL

    @property
    def no_worse(self) -> bool:
        """See the class."""
        return self.planned and self.adjusted_within is not None and self.adjusted_within < 1 - LEVEL

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
        seconds_saved: of a run on the smallest share that is enough; None where that is unknown.
    """

    question: Question
    arm: Arm
    points: tuple[Score, ...]
    full: Score | None
    smallest: Smallest | None
    seconds_saved: float | None


def compared(scores: Sequence[Score], analysis: Analysis, known: Evidence) -> list[Comparison]:
    """Every arm against every reference that it has, corrected."""
    there = {(score.question, score.arm): score for score in scores}
    found = []
    for kind in NAMES:
        for score in scores:
            reference = reference_of(score, kind, analysis.compare, scores)
            if reference is not None and reference != score.arm:
                found.append(_compared(score, there[score.question, reference], kind, known, analysis))
    return _corrected(found)


def _compared(score: Score, other: Score, kind: Kind, known: Evidence, analysis: Analysis) -> Comparison:
    tests = known.exceeds(score, other, analysis.margin)
    within, beyond = tests if tests is not None else (None, None)
    planned = not analysis.planned or any(_is_planned(score, kind, one) for one in analysis.planned)
    found = known.difference(score, other)
    return Comparison(kind, score.question, score.arm, other.arm, found, planned, within, beyond)


def _is_planned(score: Score, kind: Kind, plan: PlannedComparisons) -> bool:
    question = score.question
    if kind != plan.against or (plan.tasks and question.title not in plan.tasks):
        return False
    if plan.fraction and (question.shots is not None or question.fraction not in plan.fraction):
        return False
    for name, wanted in plan.arms.items():
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not any(_has(score, name, value) for value in values):
            return False
    return True


def _has(score: Score, name: str, value: Any) -> bool:
    """Whether an arm has a value in a column; a `size` below 1 is a share of the build, as in the recipe."""
    if name != "size":
        return bool(getattr(score.arm, name) == value)
    faces, share = score.arm.faces, score.kept_share
    if isinstance(value, float) and value < 1 and faces and share:
        return faces == max(1, round(value * faces / share))
    return bool(faces == value)


def reference_of(score: Score, kind: Kind, compare: Mapping[str, Any], scores: Sequence[Score]) -> Arm | None:
    """The arm that a score is compared with, if it is among the scores of the same question."""
    arm = score.arm
    sampled = arm.frames != "all"
    if kind == "compare":
        wanted = {name: value for name, value in compare.items() if name in COMPARED}
        if not wanted or all(getattr(arm, name) == value for name, value in wanted.items()):
            return None
        ignored = {"arch"} if "training" in wanted else set()
        ignored |= {"redundancy", "space", "threshold", "order"} - wanted.keys() if "rule" in wanted else set()
        ignored |= {"threshold"} if "build" in wanted else set()
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
    """Holm's correction over all planned ones, and what could have been seen at that level."""
    places = [place for place, one in enumerate(comparisons) if one.planned]
    adjusted = holm([comparisons[place].difference.p for place in places])
    adjusted_within = holm([comparisons[place].within for place in places])
    found = list(comparisons)
    for place, p, within in zip(places, adjusted, adjusted_within, strict=True):
        one = comparisons[place]
        error, df = one.difference.error, one.difference.df
        reach = None if error is None or df is None else detectable(error, df, len(places))
        found[place] = replace(one, adjusted=p, adjusted_within=within, detectable=reach)
    return found


def by_share(scores: Sequence[Score]) -> dict[tuple[Question, Arm], list[Score]]:
    """Arms that differ in size alone."""
    groups: dict[tuple[Question, Arm], list[Score]] = defaultdict(list)
    for score in scores:
        if score.arm.rule not in (None, "full") and score.kept_share is not None:
            groups[score.question, replace(score.arm, faces=None)].append(score)
    return groups


def curves(scores: Sequence[Score], margin: float, known: Evidence, level: float) -> list[ShareCurve]:
    """Scores against the kept share, a curve for each choice of faces.

    Args:
        level: of each sequence of tests along a curve.
    """
    there = {(score.question, score.arm): score for score in scores}
    found = []
    for (question, arm), members in by_share(scores).items():
        points = tuple(sorted(members, key=lambda score: score.kept_share or 0.0))
        reference = reference_of(points[0], "full", {}, scores)
        full = there[question, reference] if reference is not None else None
        smallest = None
        if full is not None:
            tests = {p.kept_share: known.exceeds(p, full, margin) for p in points if p.kept_share and p.kept_share < 1}
            smallest = smallest_enough(tests, level)
        found.append(ShareCurve(question, arm, points, full, smallest, _saved(points, full, smallest)))
    return found


def _saved(points: tuple[Score, ...], full: Score | None, smallest: Smallest | None) -> float | None:
    if full is None or smallest is None or smallest.enough is None or full.train_seconds is None:
        return None
    own = next((point.train_seconds for point in points if point.kept_share == smallest.enough), None)
    return None if own is None else full.train_seconds - own
