"""Findings: recomputed from the lines alone, and never more than they show."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.study import config, results, tables, verdict
from curate.study.findings import Arm, as_json, find
from curate.study.results import Line
from tests.study.invented import lines, nothing, redundancy_hurts


def values(found: list[Line], rule: str, faces: int, redundancy: float | None = None) -> dict[int, float]:
    return {
        line.result.seed: line.result.value
        for line in found
        if (line.columns["rule"], line.columns["faces"], line.columns["redundancy"]) == (rule, faces, redundancy)
    }


def test_differences_are_those_of_the_lines() -> None:
    """Computed again from what stands in the file, with scipy alone."""
    measured = lines(redundancy_hurts)
    findings = find(measured)
    references = {"random": lambda faces: ("random", faces), "full": lambda _: ("full", 1000)}
    ps: dict[str, dict[Arm, float]] = {"random": {}, "full": {}}
    for one in findings.comparisons:
        own = values(measured, one.arm.rule or "", one.arm.faces or 0, one.arm.redundancy)
        other = values(measured, *references[one.kind](one.arm.faces or 0))
        seeds = sorted(own)
        test = stats.ttest_rel([own[s] for s in seeds], [other[s] for s in seeds])
        assert one.difference.p == pytest.approx(test.pvalue)
        assert one.difference.summary.mean == pytest.approx(np.mean([own[s] - other[s] for s in seeds]))
        ps[one.kind][one.arm] = float(test.pvalue)
    assert len(ps["random"]) == 4 and len(ps["full"]) == 6
    for kind, known in ps.items():
        ranked = sorted(known.items(), key=lambda item: item[1])
        largest = 0.0
        for place, (arm, p) in enumerate(ranked):
            largest = max(largest, min(1.0, p * (len(ranked) - place)))
            adjusted = next(c.adjusted for c in findings.comparisons if c.kind == kind and c.arm == arm)
            assert adjusted == pytest.approx(largest)


def test_what_is_there_is_said_and_what_is_not_is_not() -> None:
    findings = find(lines(redundancy_hurts))
    shown = {(c.arm.faces, c.arm.redundancy) for c in findings.comparisons if c.kind == "random" and c.shown}
    assert shown == {(100, 0.5), (500, 0.5)}
    said = verdict.headline(findings)
    assert said.startswith("2 of 4 comparisons with random at equal size differ beyond seed noise: 2 worse")
    text = "\n".join(verdict.sentences(findings))
    assert re.search(r"cover, r = 0.5 · 500 faces .* is worse than random at equal size by 2[3-7]\.", text)


@given(seeds=st.integers(2, 6), noise=st.floats(0.01, 1), metric=st.sampled_from(["nme", "accuracy"]))
@settings(max_examples=15)
def test_without_effects_a_verdict_claims_no_equality(seeds: int, noise: float, metric: str) -> None:
    findings = find(lines(nothing, seeds, noise, metric, task="landmarks" if metric == "nme" else "recognition"))
    text = " ".join([verdict.headline(findings), *verdict.sentences(findings)])
    claimed = sum(one.shown for one in findings.comparisons)
    assert ("better than" in text or "worse than" in text) == bool(claimed)
    for word in ("equal to", "the same as", "no effect", "proves", "does not matter"):
        assert word not in text
    assert "could not have been told from seed noise" in text or claimed == len(findings.comparisons)


def test_one_seed_allows_no_verdict() -> None:
    findings = find(lines(redundancy_hurts, seeds=1))
    text = " ".join([verdict.headline(findings), *verdict.sentences(findings)])
    assert "One seed" in text and "better than" not in text and "worse than" not in text


def test_better_means_lower_for_errors_and_higher_for_scores() -> None:
    for metric, task, better in (("nme", "landmarks", False), ("accuracy", "recognition", True)):
        findings = find(lines(redundancy_hurts, metric=metric, task=task))
        shown = [c for c in findings.comparisons if c.kind == "random" and c.shown]
        assert shown and all(one.better is better for one in shown)


def test_the_smallest_share_and_what_it_saves() -> None:
    findings = find(lines(redundancy_hurts))
    curve = next(c for c in findings.curves if c.arm.rule == "random")
    assert curve.smallest is not None and curve.smallest.share == 0.5
    assert curve.seconds_saved == pytest.approx(3.6 * 500)
    [said] = verdict.enough([curve])
    assert "50 % of the faces did as well as all of them within seed noise" in said and "0.5 hours less of 1" in said


def test_what_is_true_of_several_arms_is_said_once() -> None:
    curve = next(c for c in find(lines(redundancy_hurts)).curves if c.arm.rule == "random")
    other = replace(curve, arm=replace(curve.arm, rule="uniform"))
    [said] = verdict.enough([curve, other])
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
    findings = find([*measured, *other], {"training": "supervised"})
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


def test_what_may_be_compared_is_what_an_arm_is() -> None:
    assert set(config.COMPARED) == set(Arm.__dataclass_fields__)


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
    results.mend(path)
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
