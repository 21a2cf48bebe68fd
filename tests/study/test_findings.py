"""Findings: recomputed from the lines alone, and never more than they show."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.study import results, tables, verdict
from curate.study.arms import Question
from curate.study.comparisons import NAMES, Analysis
from curate.study.config import PlannedComparisons
from curate.study.findings import as_json, find, headlines
from curate.study.results import Line
from tests.study.invented import lines, nothing, redundancy_hurts

METRICS = ("nme", "accuracy")
CCC = {"ccc_valence", "ccc_arousal"}


def values(found: list[Line], rule: str, faces: int, redundancy: float | None = None) -> dict[int, float]:
    return {
        line.result.seed: line.result.value
        for line in found
        if (line.columns["rule"], line.columns["faces"], line.columns["redundancy"]) == (rule, faces, redundancy)
    }


def test_differences_are_those_of_the_lines() -> None:
    """Means computed again from what stands in the file; p against the two-way analysis of variance, corrected once."""
    measured = lines(redundancy_hurts)
    findings = find(measured)
    references = {"random": lambda faces: ("random", faces), "full": lambda _: ("full", 1000)}
    for one in findings.comparisons:
        own = values(measured, one.arm.rule or "", one.arm.faces or 0, one.arm.redundancy)
        other = values(measured, *references[one.kind](one.arm.faces or 0))
        assert one.difference.summary.mean == pytest.approx(np.mean([own[s] - other[s] for s in sorted(own)]))
    table = np.array([[v for _, v in sorted(score.values.items())] for score in findings.scores])
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    df = (len(table) - 1) * (table.shape[1] - 1)
    error = np.sqrt((residual**2).sum() / df * 2 / table.shape[1])
    pooled = [one for one in findings.comparisons if one.difference.df == pytest.approx(df)]
    for one in pooled:
        assert one.difference.p == pytest.approx(2 * stats.t.sf(abs(one.difference.summary.mean) / error, df), rel=1e-6)
    assert len(findings.comparisons) == 10 and all(one.planned for one in findings.comparisons)
    ranked = sorted(findings.comparisons, key=lambda one: one.difference.p or 0)
    largest = 0.0
    for place, one in enumerate(ranked):
        largest = max(largest, min(1.0, (one.difference.p or 0) * (len(ranked) - place)))
        assert one.adjusted == pytest.approx(largest)


def test_what_is_there_is_said_and_what_is_not_is_not() -> None:
    findings = find(lines(redundancy_hurts))
    shown = {(c.arm.faces, c.arm.redundancy) for c in findings.comparisons if c.kind == "random" and c.shown}
    assert shown == {(100, 0.5), (500, 0.5)}
    said = verdict.headline(findings)
    assert said.startswith("2 of 4 comparisons with random at equal size differ beyond noise: 2 worse; ")
    assert "of 6 comparisons with all faces differ" in said  # every kind that is shown is named
    first = verdict.sentences(findings)[0]
    assert re.search(r"cover, r = 0.5 · 100 faces .* is worse than random at equal size by 2[3-7]\.", first)


OPPOSED = ((" is worse than ", " is better than "), (" is worse than ", " no worse than "))


@given(seeds=st.integers(2, 6), noise=st.floats(0.001, 1), seed=st.integers(0, 99), metric=st.sampled_from(METRICS))
@settings(max_examples=8)
def test_no_sentence_contradicts_another(seeds: int, noise: float, seed: int, metric: str) -> None:
    """Whatever the truth: of one comparison one thing is said; without effects equality is only claimed by a test."""
    rng = np.random.default_rng(seed)
    effects: dict[str, float] = defaultdict(lambda: 0.3 + 0.1 * float(rng.normal()))
    task = "landmarks" if metric == "nme" else "recognition"
    findings = find(lines(lambda arm: effects[str(sorted(arm.items()))], seeds, noise, metric, task=task))
    said = verdict.sentences(findings)
    for one in findings.comparisons:
        about = [line for line in said if one.arm.label in line and NAMES[one.kind] in line and "enough" not in line]
        for left, right in OPPOSED:
            assert not (any(left in line for line in about) and any(right in line for line in about)), about
    for word in ("equal to", "the same as", "no effect", "proves", "does not matter", "did as well"):
        assert word not in " ".join([verdict.headline(findings), *said])


def test_equality_is_claimed_only_where_it_is_shown() -> None:
    near = find(lines(nothing, seeds=6, noise=0.01))
    text = "\n".join(verdict.sentences(near))
    assert "no worse than random at equal size by the margin (5 % of its error)" in text
    assert "10 % of the faces are shown to be enough" in text and " is worse than " not in text
    far = "\n".join(verdict.sentences(find(lines(nothing, seeds=2, noise=20.0))))
    assert "no worse than" not in far and "enough" not in far
    assert "would have been seen four times in five" in far


@pytest.mark.parametrize(("planned", "tested"), [({"rule": "cover"}, 4), ({"size": 0.5, "redundancy": [0.0]}, 1)])
def test_only_planned_comparisons_are_tested(planned: dict[str, Any], tested: int) -> None:
    plan = PlannedComparisons(against="random", arms=planned)
    findings = find(lines(redundancy_hurts), Analysis(planned=(plan,)))
    own = [one for one in findings.comparisons if one.planned]
    assert len(own) == tested and all(one.kind == "random" for one in own)
    assert not any(
        one.shown or one.no_worse or one.adjusted is not None for one in findings.comparisons if not one.planned
    )
    said = " ".join(verdict.sentences(findings))
    assert f"{10 - tested} comparisons were not planned" in said and "all faces by" not in said


def test_the_metrics_of_the_literature_are_compared() -> None:
    """AffectNet by CCC, IJB by TAR at 1e-4, AFLW2000-3D by 3D NME, whatever else is measured beside them."""
    cases = [
        (
            "emotion",
            "affectnet",
            {"accuracy", "ccc_valence", "ccc_arousal", "rmse_valence"},
            {"ccc_valence", "ccc_arousal"},
        ),
        ("recognition", "ijbc", {"accuracy", "eer", "tar@far=1e-04", "tar@far=1e-02"}, {"tar@far=1e-04"}),
        ("reconstruction", "aflw2000", {"nme_2d", "nme_3d"}, {"nme_3d"}),
        ("recognition", "lfw", {"accuracy", "eer"}, {"accuracy"}),
    ]
    for task, dataset, measured, wanted in cases:
        questions = [Question("t", task, dataset, "test", metric, "linear", 1.0, None) for metric in sorted(measured)]
        assert {one.metric for one in headlines(questions)} == wanted


def test_one_seed_allows_no_verdict() -> None:
    findings = find(lines(redundancy_hurts, seeds=1))
    text = " ".join([verdict.headline(findings), *verdict.sentences(findings)])
    assert "One seed" in text and "better than" not in text and "worse than" not in text


def test_better_means_lower_for_errors_and_higher_for_scores() -> None:
    for metric, task, better in (("nme", "landmarks", False), ("accuracy", "recognition", True)):
        findings = find(lines(redundancy_hurts, metric=metric, task=task))
        shown = [c for c in findings.comparisons if c.kind == "random" and c.shown]
        assert shown and all(one.better is better for one in shown)


def test_what_is_enough_and_what_it_saves() -> None:
    findings = find(lines(redundancy_hurts, seeds=6, noise=0.02))
    curve = next(c for c in findings.curves if c.arm.rule == "random")
    assert curve.smallest is not None and (curve.smallest.enough, curve.smallest.short) == pytest.approx((0.5, 0.1))
    assert curve.seconds_saved == pytest.approx(3.6 * 500)
    [said] = verdict.enough([curve], findings.margin)
    assert "50 % of the faces are shown to be enough" in said and "0.5 hours less of 1" in said
    assert "10 % are shown to be too few" in said


def test_what_is_true_of_several_arms_is_said_once() -> None:
    curve = next(c for c in find(lines(redundancy_hurts, noise=0.02)).curves if c.arm.rule == "random")
    other = replace(curve, arm=replace(curve.arm, rule="uniform"))
    [said] = verdict.enough([curve, other], 0.05)
    assert f"{curve.arm.label}; {other.arm.label}: 50 % of the faces" in said


def test_seeds_that_lack_an_arm_are_not_paired() -> None:
    measured = [
        line for line in lines(nothing) if not (line.columns["rule"] == "random" and line.result.seed in (0, 3))
    ]
    findings = find(measured)
    assert all(one.difference.summary.seeds == 3 for one in findings.comparisons if one.kind == "random")


def test_one_metric_and_part_of_each_task_is_compared() -> None:
    measured = lines(nothing, seeds=2)
    for metric, split in (("fr@0.10", "test"), ("nme", "hard"), ("made_up", "test")):
        for line in lines(nothing, seeds=2):
            measured.append(Line(replace(line.result, metric=metric, split=split), line.columns))
    findings = find(measured)
    assert [(q.metric, q.split) for q in findings.headlines] == [("nme", "test")]
    assert len(findings.scores) == 4 * 7


def test_another_reference_can_be_named() -> None:
    measured = lines(nothing, title="points")
    other = [
        Line(line.result, line.columns | {"training": "supervised", "cell": line.columns["cell"] + "s"})
        for line in lines(redundancy_hurts)
    ]
    findings = find([*measured, *other], Analysis({"training": "supervised"}))
    own = [one for one in findings.comparisons if one.kind == "compare"]
    assert len(own) == 7 and all(one.reference.training == "supervised" for one in own)
    assert all((one.arm.rule, one.arm.faces) == (one.reference.rule, one.reference.faces) for one in own)


@pytest.mark.parametrize(("level", "warned"), [(0.3, True), (0.9, False)])
def test_trainings_that_beat_nothing_are_told(level: float, warned: bool) -> None:
    fresh = []
    for line in lines(lambda _: level):
        if line.columns["rule"] == "full":
            gone = dict.fromkeys(("rule", "faces", "build", "kept_share", "train_seconds"))
            fresh.append(Line(line.result, line.columns | gone | {"training": "fresh", "budget": "", "cell": "f"}))
    said = " ".join(verdict.sentences(find([*lines(nothing), *fresh])))
    assert ("no training of this study is shown to beat fresh" in said) is warned


def test_numbers_that_are_none_stay_out(tmp_path: Path) -> None:
    measured = lines(nothing, seeds=3)
    measured[0] = Line(replace(measured[0].result, value=math.nan), measured[0].columns)
    findings = find(measured)
    tables.write(findings, tmp_path)
    told = json.loads((tmp_path / "statistics.json").read_text())
    assert told["seeds"] == 3 and "NaN" not in json.dumps(told)
    full = next(c for c in findings.comparisons if c.kind == "full")
    assert full.difference.summary.seeds == 2


def test_results_are_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    measured = lines(nothing, seeds=2)
    results.append(path, measured)
    results.append(path, measured[:3])  # repeated ones count once
    assert {line.line() for line in results.read(path)} == {line.line() for line in measured}
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"half')
    results.repair(path)
    assert path.read_bytes() == whole
    assert as_json(find(results.read(path))) == as_json(find(measured))


def test_tables_for_a_paper() -> None:
    findings = find(lines(redundancy_hurts))
    (table,) = tables.tables(findings)
    assert len(table.rows) == 7 and table.columns[1:] == ("- random", "- all faces")
    text = tables.as_latex(table, findings.seeds)
    assert text.count(r"\\") == 8 and r"\toprule" in text and r"\textbf{" in text and "nme \\%" in text
    rows = tables.as_csv(table).splitlines()
    assert len(rows) == 8 and rows[0].startswith("faces,size,differ,training")
