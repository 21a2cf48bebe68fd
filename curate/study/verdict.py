"""What a study shows, in plain words, and never more than that.

A difference is said to be there only where Holm's corrected p of the paired t test is below 0.05 and the bootstrap
interval over seeds excludes zero. Otherwise nothing is said to be equal either: the sentence tells how large a
difference would have had to be.
"""

from __future__ import annotations

from collections.abc import Sequence

from curate.study.arms import Question
from curate.study.findings import NAMES, Comparison, Findings, Kind, ShareCurve
from curate.study.statistics import LEVEL, Difference, difference


def headline(findings: Findings) -> str:
    """One sentence above all others."""
    if findings.seeds < 2:
        return "One seed: numbers, but nothing to tell a difference from noise"
    kind: Kind | None = next((k for k in NAMES if any(one.kind == k for one in findings.comparisons)), None)
    if kind is None:
        return f"Scores over {findings.seeds} seeds; nothing to compare them with"
    own = [one for one in findings.comparisons if one.kind == kind]
    shown = [one for one in own if one.shown]
    against = f"{_count(len(own), 'comparison')} with {NAMES[kind]}"
    if not shown:
        return f"No difference beyond seed noise in {against}"
    better = sum(one.better for one in shown)
    told = [f"{better} better"] * bool(better) + [f"{len(shown) - better} worse"] * (len(shown) > better)
    return (
        f"{len(shown)} of {against} {'differs' if len(shown) == 1 else 'differ'} beyond seed noise: {', '.join(told)}"
    )


def sentences(findings: Findings) -> list[str]:
    """The verdict: what differs, what was enough, how far the study sees."""
    told = []
    for question in findings.headlines:
        for kind in NAMES:
            told += _of_kind([c for c in findings.comparisons if (c.question, c.kind) == (question, kind)], kind)
        told += enough([c for c in findings.curves if c.question == question and c.smallest is not None])
        told += _learned(findings, question)
    return told + cautions(findings)


def cautions(findings: Findings) -> list[str]:
    """What a reader must know of the numbers."""
    told = []
    if findings.seeds < 2:
        return ["With one seed there are no intervals. Add seeds: only they will run."]
    if findings.seeds < 6:
        reach = 1 - 2.0 ** (1 - findings.seeds)
        told.append(
            f"With {findings.seeds} seeds the bootstrap intervals are rough: they lie between the smallest and the "
            f"largest of {findings.seeds} differences, which hold the middle of what further seeds would give only "
            f"{reach:.0%} of the time. The test that decides uses t quantiles instead."
        )
    told.append(
        "Intervals are over seeds (choice of faces, training, few-shot labels), not over other test pictures, other "
        "builds or longer training: nothing here says that the same holds there."
    )
    return told


def _learned(findings: Findings, question: Question) -> list[str]:
    """A warning for each given backbone that no training of the study is shown to beat."""
    own = [score for score in findings.scores if score.question == question]
    trained = [score for score in own if score.arm.rule is not None]
    told = []
    for given in (score for score in own if score.arm.rule is None):
        if not trained:
            continue
        pick = min if question.lower_is_better else max
        best = pick(trained, key=lambda score: score.summary.mean)
        found = difference(best.values, given.values)
        better = (found.summary.mean < 0) == question.lower_is_better
        if not (better and found.p is not None and found.p < 1 - LEVEL):
            told.append(
                f"{question.label}: no training of this study is shown to beat {given.arm.label} "
                f"({shown(question, given.summary.mean)} against {shown(question, best.summary.mean)} of the best). "
                "As long as that is so, differences between trainings say little."
            )
    return told


def _of_kind(own: Sequence[Comparison], kind: Kind) -> list[str]:
    """Of one question: a sentence for each difference that is shown, and one for all that are not."""
    told = [_shown(one) for one in own if one.shown]
    unclear = [one for one in own if not one.shown]
    return [*told, _not_shown(unclear[0].question, unclear, kind)] if unclear else told


def _shown(one: Comparison) -> str:
    size = _amount(one.question, abs(one.difference.summary.mean))
    word = "better" if one.better else "worse"
    return (
        f"{one.question.label}: {one.arm.label} is {word} than {_named(one)} by {size} "
        f"{interval(one.question, one.difference)}, {one.difference.summary.seeds} seeds, corrected p "
        f"{one.adjusted:.2g}."
    )


def _named(one: Comparison) -> str:
    return one.reference.label if one.kind == "compare" else NAMES[one.kind]


def _not_shown(question: Question, members: Sequence[Comparison], kind: Kind) -> str:
    """No difference shown is not no difference."""
    against = "the reference" if kind == "compare" else NAMES[kind]
    widths = [one.difference.half_width for one in members if one.difference.half_width is not None]
    line = f"{question.label}: no difference from {against} could be shown for {_named_briefly(members)}"
    if not widths:
        return f"{line}, for want of seeds."
    low, high = shown(question, min(widths)), _amount(question, max(widths))
    reach = high if high.startswith(low) else f"{low} to {high}"
    return f"{line}. Differences smaller than about {reach} could not have been told from seed noise."


def _named_briefly(members: Sequence[Comparison]) -> str:
    names = [one.arm.label for one in members]
    return "; ".join(names) if len(names) <= 3 else f"{len(names)} arms"


def enough(curves: Sequence[ShareCurve]) -> list[str]:
    """What the smallest share within seed noise is, and what it saves; arms of which the same is said, together."""
    arms: dict[str, list[str]] = {}
    for curve in curves:
        arms.setdefault(_enough(curve), []).append(curve.arm.label)
    return [f"{curves[0].question.label}, {'; '.join(names)}: {said}" for said, names in arms.items()]


def _enough(curve: ShareCurve) -> str:
    found = curve.smallest
    assert found is not None
    tested = ", ".join(f"{100 * share:.3g} %" for share in found.tested)
    noise = _amount(curve.question, found.noise)
    if found.share == 1:
        line = f"no tested share ({tested}) did as well as all faces within seed noise ({noise})"
    else:
        line = (
            f"{100 * found.share:.3g} % of the faces did as well as all of them within seed noise ({noise}); "
            f"tested were {tested}"
        )
    if found.low == found.high:
        line += ". So it is for nearly all redrawings of the seeds."
    else:
        line += f". Interval over seeds: {_share(found.low)} to {_share(found.high)}."
    return line + (_saving(curve) if found.share < 1 else "")


def _saving(curve: ShareCurve) -> str:
    full = curve.full
    if curve.seconds_saved is None or full is None or full.train_seconds is None:
        return ""
    own = next(point for point in curve.points if curve.smallest and point.kept_share == curve.smallest.share)
    if own.train_images == full.train_images:
        return " Both runs see as many pictures, so training itself is not shorter."
    saved, whole = curve.seconds_saved / 3600, full.train_seconds / 3600
    return f" A run takes {saved:.2g} hours less of {whole:.2g}, by the clock of this machine."


def interval(question: Question, found: Difference) -> str:
    """The bootstrap interval of a difference, with its sign."""
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


def _share(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
