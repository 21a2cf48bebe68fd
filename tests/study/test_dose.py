"""How many different faces are enough: the knee and its interval, on curves whose knee is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.evaluate import Result
from curate.study import verdict
from curate.study.answers import Answers
from curate.study.arms import Question
from curate.study.comparisons import Analysis
from curate.study.dose import bend
from curate.study.findings import Findings, as_json, find
from curate.study.results import COLUMNS, Line

DOSES = np.array([8, 20, 80, 200, 400, 800])
KNEES = (30.0, 80.0, 150.0)


def hinge(knee: float, fall: float = 0.05) -> np.ndarray:
    """Errors of DOSES that fall by `fall` for each doubling below the knee."""
    return 0.2 + fall * np.maximum(0, np.log2(knee / DOSES))


@given(st.floats(10, 700), st.floats(0.01, 10), st.floats(-5, 5))
@settings(max_examples=30)
def test_without_noise_the_knee_is_found(knee: float, fall: float, level: float) -> None:
    found = bend(DOSES.astype(float), level + hinge(knee, fall), np.diag(np.full(6, (0.01 * fall) ** 2)), 30)
    below, above = DOSES[knee > DOSES].max(), DOSES[knee <= DOSES].min()
    tolerance = 1.05 if (knee > DOSES).sum() > 1 else above / below  # with one point below it is only narrowed
    assert knee / tolerance <= found.at <= knee * tolerance and found.fit > 0.05
    assert (found.low or 0) <= knee * 1.01 and knee / 1.01 <= (found.high or 800)


def test_a_common_error_moves_no_knee() -> None:
    """What all arms share (hard test pictures) is no uncertainty of the knee."""
    noise = np.diag(np.full(6, 0.01**2))
    alone = bend(DOSES.astype(float), hinge(80.0), noise, 30)
    other = bend(DOSES.astype(float), hinge(80.0), noise + 1.0, 30)
    assert (other.at, other.low, other.high) == pytest.approx((alone.at, alone.low, alone.high), rel=0.005)


@pytest.mark.parametrize("knee", KNEES)
def test_the_interval_holds_the_knee_as_often_as_it_says(knee: float) -> None:
    rng, rounds = np.random.default_rng(int(knee)), 200
    held = 0
    for _ in range(rounds):
        means = hinge(knee) + 0.03 * rng.normal(size=6) / np.sqrt(6)
        variance = 0.03**2 * rng.chisquare(25) / 25
        found = bend(DOSES.astype(float), means, np.diag(np.full(6, variance / 6)), 25)
        held += (found.low or 0) <= knee <= (found.high or np.inf)
    assert held >= stats.binom.ppf(0.001, rounds, 0.95)


def lines(errors: np.ndarray, rng: np.random.Generator, seeds: int = 6, noise: float = 0.005) -> list[Line]:
    """Covers of 800 faces; `errors` by DOSES."""
    found = []
    for (place, dose), seed in itertools.product(enumerate(DOSES), range(seeds)):
        columns = dict.fromkeys(COLUMNS) | {"training": "simclr", "budget": "300 updates", "build": "main"}
        columns |= {"title": "points", "rule": "cover", "faces": 800, "redundancy": 1 - dose / 800, "threshold": 0.9}
        columns |= {"unique": int(dose), "kept_share": 0.3, "cell": f"{dose}-{seed}"}
        value = float(errors[place] + noise * rng.normal())
        result = Result("b", "simclr", "m", "landmarks", "pts", "test", "nme", value, 1.0, "linear", seed, 9, 9, 1.0)
        found.append(Line(result, columns))
    return found


def test_a_knee_is_said_with_its_interval() -> None:
    findings = find(lines(hinge(80.0), np.random.default_rng(0)))
    (curve,) = findings.doses
    assert curve.knee is not None and curve.knee.low is not None and curve.knee.high is not None
    assert curve.knee.low <= 80 <= curve.knee.high and curve.smallest is not None
    assert curve.smallest.short == 20 and curve.smallest.enough in (80, 200)
    (said,) = [line for line in verdict.sentences(findings) if "knee" in line]
    assert f"is at {curve.knee.at:,.0f} (95 % interval: {curve.knee.low:,.0f} to {curve.knee.high:,.0f})" in said
    assert "20 are shown to be too few" in said
    told = as_json(findings)["doses"][0]
    assert told["different_faces"] == DOSES.tolist() and told["knee"]["at"] == curve.knee.at


def test_what_a_curve_shows_is_called_unclear_nowhere() -> None:
    """The fewest may be shown to be worse along the curve where no comparison shows it by itself."""
    rng = np.random.default_rng(0)
    rounds = [
        find(lines(hinge(20.0, 0.008), rng, noise=0.013), Analysis(compare={"redundancy": 0.0})) for _ in range(20)
    ]
    bent = [one for one in rounds if one.doses[0].bends and not any(c.shown for c in one.comparisons)]
    assert bent
    for findings in bent:
        assert "the fewest different faces are shown to be worse than the most" in verdict.headline(findings)
        (curve,) = findings.doses
        fewest = curve.points[0].arm
        unclear = [line for line in verdict.sentences(findings) if "neither a difference" in line]
        open_ = [c for c in findings.comparisons if not c.shown and not c.no_worse]
        assert fewest in {c.arm for c in open_}
        assert all(f"for {len(open_)} arms" not in line and fewest.label not in line for line in unclear)


def test_three_numbers_of_faces_show_what_they_show_without_a_knee() -> None:
    few = [line for line in lines(hinge(80.0), np.random.default_rng(0)) if line.columns["unique"] in (8, 80, 800)]
    (curve,) = find(few).doses
    (said,) = [line for line in verdict.sentences(find(few)) if "different:" in line]
    assert curve.bends and curve.knee is None and "shown to be worse than the most, but not where" in said


def test_where_nothing_bends_no_knee_is_said() -> None:
    findings = find(lines(hinge(1.0), np.random.default_rng(0)))
    (said,) = [line for line in verdict.sentences(findings) if "different:" in line]
    assert "so there is no knee to be seen" in said and "too few" not in said and findings.doses[0].knee is None


def test_every_sentence_of_a_curve_is_wrong_no_more_often_than_it_says() -> None:
    """Simulated studies with known truth: enough, too few, and a knee where there is none; the same test pictures for
    all arms, so that what is shown of these but not of others counts as wrong."""
    rng, rounds, pictures = np.random.default_rng(3), 40, 80
    wrong = {"enough": 0, "short": 0, "knee": 0, "no worse": 0, "differs": 0}
    for _ in range(rounds):
        # at the edge of the margin: nothing is enough, and nothing too few
        edge = np.array([*[0.2 * 1.05] * 5, 0.2])
        found = studied(edge, rng, pictures)
        wrong["no worse"] += any(one.no_worse for one in found.comparisons)
        (curve,) = found.doses
        assert curve.smallest is not None
        wrong["enough"] += curve.smallest.enough is not None
        wrong["short"] += curve.smallest.short is not None
        flat = studied(np.full(6, 0.2), rng, pictures)
        wrong["knee"] += flat.doses[0].knee is not None
        wrong["differs"] += any(one.shown for one in flat.comparisons)
        assert all(one.difference.over_pictures is not None for one in flat.comparisons)
    for claim, count in wrong.items():
        level = 0.05 if claim in ("no worse", "differs") else 0.025
        assert count <= stats.binom.ppf(0.999, rounds, level), wrong


def studied(errors: np.ndarray, rng: np.random.Generator, pictures: int) -> Findings:
    """A study of which every picture's answer is known; pictures of the test are drawn anew, and arms err on others."""
    own = rng.normal(size=(6, pictures)) * 0.1
    answers: dict[str, np.ndarray] = {}
    measured = []
    for line in lines(errors, rng, noise=0.01):
        place = int(np.flatnonzero(line.columns["unique"] == DOSES)[0])
        each = line.result.value + own[place] + 0.05 * rng.normal(size=pictures)
        answers[line.columns["cell"]] = each
        measured.append(Line(type(line.result)(**{**vars(line.result), "value": float(each.mean())}), line.columns))
    ids = np.array([str(i) for i in range(pictures)])

    def look(line: Line, _: Question) -> Answers:
        return Answers(answers[line.columns["cell"]], ids, ids[:, None])

    return find(measured, Analysis(compare={"redundancy": 0.0}), look)
