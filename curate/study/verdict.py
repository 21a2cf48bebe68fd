"""What a study shows, in plain words, and never more than that.

Each planned comparison is said one of four things: it differs (Holm's corrected p below 0.05), and then also whether it
stays within the margin; it does no worse than its reference by the margin (corrected likewise); or neither can be said,
and then how large a difference would have been seen. What is shown along amounts of data (shares of the faces, numbers
of different ones) is another family of tests: an arm of which it shows something is called unclear nowhere. So no
sentence contradicts another. Exploratory comparisons are counted, and nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.study.arms import Arm, Question, Score
from curate.study.comparisons import NAMES, Comparison, Kind, ShareCurve
from curate.study.dose import DoseCurve
from curate.study.evidence import Evidence
from curate.study.findings import Findings
from curate.study.statistics import LEVEL, Difference, Smallest


def headline(findings: Findings) -> str:
    """One sentence above all others: every kind of difference that is shown, or that none is."""
    if findings.seeds < 2:
        return "One seed: numbers, but nothing to distinguish a difference from noise"
    tested = [one for one in findings.comparisons if one.planned]
    if not tested:
        return f"Scores over {findings.seeds} seeds; nothing to compare them with"
    parts, none = [], []
    for kind in NAMES:
        own = [one for one in tested if one.kind == kind]
        differ = [one for one in own if one.shown]
        against = f"{_count(len(own), 'comparison')} with {NAMES[kind]}"
        if differ:
            better = sum(one.better for one in differ)
            worse = len(differ) - better
            words = [f"{better} better"] * bool(better) + [f"{worse} worse"] * bool(worse)
            verb = "differs" if len(differ) == 1 else "differ"
            parts.append(f"{len(differ)} of {against} {verb} beyond noise: {', '.join(words)}")
        elif own:
            none.append(against)
    bent = [f"{curve.question.label}, {curve.arm.label}" for curve in findings.doses if curve.bends]
    along = f"; the fewest different faces are shown to be worse than the most ({'; '.join(bent)})" if bent else ""
    if not parts:
        return f"No difference beyond noise in {' or '.join(none)}{along}"
    return "; ".join(parts) + (f"; none in {' or '.join(none)}" if none else "") + along


def sentences(findings: Findings) -> list[str]:
    """The verdict: what differs, what was enough, how far the study sees; what decides stands first."""
    differ, within, rest = [], [], []
    for question in findings.headlines:
        settled = _settled(findings, question)
        for kind in NAMES:
            own = [c for c in findings.comparisons if (c.question, c.kind, c.planned) == (question, kind, True)]
            differ += [_shown(one, findings.margin) for one in own if one.shown]
            within += _no_worse([one for one in own if one.no_worse and not one.shown], kind, findings.margin)
            open_ = [one for one in own if not one.no_worse and not one.shown]
            rest += _unclear([one for one in open_ if (one.arm, one.reference) not in settled], kind)
        own_curves = [c for c in findings.curves if c.question == question and c.smallest is not None]
        within += enough(own_curves, findings.margin)
        within += [_dose(curve, findings.margin) for curve in findings.doses if curve.question == question]
        rest += _learned(findings, question)
    return [*differ, *within, *rest, *cautions(findings)]


def _settled(findings: Findings, question: Question) -> set[tuple[Arm, Arm]]:
    """Arms and references of which the sentences on amounts of data show something: nobody may call them unclear."""
    found = set()
    for curve in findings.doses:
        if curve.question == question:
            most = curve.points[-1].arm
            found |= {(point.arm, most) for point in _decided(curve.points, curve.smallest, "unique")}
            found |= {(curve.points[0].arm, most)} if curve.bends else set()
    for share in findings.curves:
        if share.question == question and share.full is not None:
            found |= {(point.arm, share.full.arm) for point in _decided(share.points, share.smallest, "kept_share")}
    return found


def _decided(points: Sequence[Score], found: Smallest | None, amount: str) -> list[Score]:
    """The points that are shown to be enough, or too few."""
    if found is None:
        return []
    enough = float("inf") if found.enough is None else found.enough
    short = float("-inf") if found.short is None else found.short
    return [point for point in points if not short < getattr(point, amount) < enough]


def cautions(findings: Findings) -> list[str]:
    """What a reader must know of the numbers."""
    if findings.seeds < 2:
        return ["With one seed there are no intervals. Add seeds: only they will run."]
    found = []
    explored = sum(not one.planned for one in findings.comparisons)
    if explored:
        found.append(
            f"{_count(explored, 'comparison')} were not planned: the tables have their numbers, nothing is claimed."
        )
    parts = [_uncertainty(findings, question) for question in findings.headlines]
    return [*found, *(line for line in parts if line)]


def _uncertainty(findings: Findings, question: Question) -> str:
    """Over what a question's intervals and tests are, and how much each part makes of them."""
    own = [one.difference for one in findings.comparisons if one.question == question]
    seeds = [one.over_seeds.error for one in own if one.over_seeds is not None]
    pictures = [one.over_pictures.error for one in own if one.over_seeds is not None and one.over_pictures is not None]
    if not seeds:
        return ""
    line = f"{question.label}: of the standard error of a difference "
    amount = _amount(question, float(np.median(seeds)))
    if len(pictures) < len(seeds):
        return (
            f"{question.label}: intervals and tests are over seeds alone (choice of faces, training, few-shot labels), "
            "not over other test pictures (the answers to each were not kept, or not for this metric), other "
            "builds or longer training: nothing here says that the same holds there."
        )
    return (
        f"{line}seeds (choice of faces, training, few-shot labels) make {amount}, test pictures "
        f"{_amount(question, float(np.median(pictures)))}; intervals and tests hold both. Other builds and longer "
        "training are in neither: nothing here says that the same holds there."
    )


def _learned(findings: Findings, question: Question) -> list[str]:
    """A warning for each given backbone that no training of the study is shown to beat."""
    own = [score for score in findings.scores if score.question == question]
    trained = [score for score in own if score.arm.rule is not None]
    known = Evidence.of(own)
    found = []
    for given in (score for score in own if score.arm.rule is None):
        if not trained:
            continue
        pick = min if question.lower_is_better else max
        best = pick(trained, key=lambda score: score.summary.mean)
        gain = known.difference(best, given)
        better = (gain.summary.mean < 0) == question.lower_is_better
        if not (better and gain.p is not None and gain.p < (1 - LEVEL) / len(trained)):  # the best of so many
            found.append(
                f"{question.label}: no training of this study is shown to beat {given.arm.label} "
                f"({shown(question, given.summary.mean)} against {shown(question, best.summary.mean)} of the best). "
                "As long as that is so, differences between trainings say little."
            )
    return found


def _shown(one: Comparison, margin: float) -> str:
    size = _amount(one.question, abs(one.difference.summary.mean))
    word = "better" if one.better else "worse"
    line = (
        f"{one.question.label}: {one.arm.label} is {word} than {_reference(one)} by {size} "
        f"{interval(one.question, one.difference)}, {one.difference.summary.seeds} seeds, corrected p "
        f"{one.adjusted:.2g}"
    )
    if one.better or not one.no_worse:
        return f"{line}."
    return f"{line}; that is shown to be less than the margin of {100 * margin:.3g} % of its error."


def _reference(one: Comparison) -> str:
    return one.reference.label if one.kind == "compare" else NAMES[one.kind]


def _no_worse(members: Sequence[Comparison], kind: Kind, margin: float) -> list[str]:
    """What is shown to stay within the margin, though no difference is shown."""
    if not members:
        return []
    largest = max(one.adjusted_within or 0 for one in members)
    against = "the reference" if kind == "compare" else NAMES[kind]
    return [
        f"{members[0].question.label}: no worse than {against} by the margin ({100 * margin:.3g} % of its error), "
        f"corrected p at most {largest:.2g}: {_named(members)}."
    ]


def _unclear(members: Sequence[Comparison], kind: Kind) -> list[str]:
    """Neither a difference nor its absence is shown: how large a difference would have been seen."""
    if not members:
        return []
    question = members[0].question
    against = "the reference" if kind == "compare" else NAMES[kind]
    reach = [one.detectable for one in members if one.detectable is not None]
    line = f"{question.label}: neither a difference from {against} nor its absence could be shown for {_named(members)}"
    if not reach:
        return [f"{line}, for want of seeds."]
    low, high = shown(question, min(reach)), _amount(question, max(reach))
    size = high if high.startswith(low) else f"{low} to {high}"
    return [f"{line}. Only differences from about {size} on would have been seen four times in five."]


def _named(members: Sequence[Comparison]) -> str:
    names = [one.arm.label for one in members]
    return "; ".join(names) if len(names) <= 3 else f"{len(names)} arms"


def enough(curves: Sequence[ShareCurve], margin: float) -> list[str]:
    """Between which shares the margin is reached, and what is saved; arms of which the same is said, together."""
    arms: dict[str, list[str]] = {}
    for curve in curves:
        said = _enough(curve, margin)
        if said:
            arms.setdefault(said, []).append(curve.arm.label)
    return [f"{curves[0].question.label}, {'; '.join(names)}: {said}" for said, names in arms.items()]


def _enough(curve: ShareCurve, margin: float) -> str:
    found = curve.smallest
    assert found is not None
    tested = ", ".join(f"{100 * share:.3g} %" for share in found.tested)
    line = ""
    if found.enough is not None:
        line = (
            f"{100 * found.enough:.3g} % of the faces are shown to be enough: no worse than all of them by the "
            f"margin ({100 * margin:.3g} % of the error){_saving(curve)}"
        )
    if found.short is not None:
        line += "; " if line else ""
        line += f"{100 * found.short:.3g} % are shown to be too few: worse by more than the margin"
    return f"{line}. Tested: {tested}." if line else ""


def _dose(curve: DoseCurve, margin: float) -> str:
    """How many different faces are enough, how many too few, and where the error bends."""
    label = f"{curve.question.label}, {curve.arm.label}"
    counts = ", ".join(f"{point.unique:,.0f}" for point in curve.points)
    line = f"{label}, {counts} of them different: "
    if curve.smallest is None:
        return f"{line}nothing can be tested, for want of seeds."
    line += _amounts(curve.smallest, curve.points[-1].unique or 0, margin)
    if not curve.bends:
        return f"{line}; the fewest are not shown to be worse than the most, so there is no knee to be seen."
    if curve.knee is None:
        return f"{line}; the fewest are shown to be worse than the most, but not where the knee lies."
    if curve.knee.low is None and curve.knee.high is None:
        return (
            f"{line}; the fewest are shown to be worse than the most, but not where the knee lies (best fit "
            f"{curve.knee.at:,.0f}, 95 % interval: from below the fewest to above the most)."
        )
    low = "below the fewest" if curve.knee.low is None else f"{curve.knee.low:,.0f}"
    high = "above the most" if curve.knee.high is None else f"{curve.knee.high:,.0f}"
    line += f"; the knee, from which on more do not help, is at {curve.knee.at:,.0f} (95 % interval: {low} to {high})"
    return line + (", though the errors do not follow such a line." if curve.knee.fit < 1 - LEVEL else ".")


def _amounts(found: Smallest, most: float, margin: float) -> str:
    said = []
    if found.enough is not None:
        said.append(
            f"{found.enough:,.0f} are shown to be enough: no worse than {most:,.0f} by the margin "
            f"({100 * margin:.3g} % of the error)"
        )
    if found.short is not None:
        said.append(f"{found.short:,.0f} are shown to be too few: worse by more than the margin")
    return "; ".join(said) or "none is shown to be enough or too few"


def _saving(curve: ShareCurve) -> str:
    full = curve.full
    if curve.seconds_saved is None or full is None or full.train_seconds is None or curve.smallest is None:
        return ""
    own = next(point for point in curve.points if point.kept_share == curve.smallest.enough)
    if own.train_images == full.train_images:
        return " (both runs see as many pictures, so training itself is not shorter)"
    saved, whole = curve.seconds_saved / 3600, full.train_seconds / 3600
    return f" (a run takes {saved:.2g} hours less of {whole:.2g}, by the clock of this machine)"


def interval(question: Question, found: Difference) -> str:
    """The 95 % t interval of a difference, with its sign."""
    low, high = found.summary.low, found.summary.high
    if low is None or high is None:
        return ""
    return f"[{shown(question, low, True)}, {shown(question, high, True)}]"


def shown(question: Question, value: float, signed: bool = False) -> str:
    """A number in the unit of its metric, without the unit."""
    number = 100 * value if question.percent else value
    return f"{number:{'+' if signed else ''}.{2 if question.percent else 3}f}"


def _amount(question: Question, value: float) -> str:
    return f"{shown(question, value)}{' points' if question.percent else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
