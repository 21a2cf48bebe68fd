"""What a study can show, before it runs: the family of comparisons, and the effect that its seeds can see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from curate.evaluate import Result
from curate.evaluate.tables import FIRST, headline_metrics
from curate.study import results
from curate.study.comparisons import Analysis
from curate.study.findings import find
from curate.study.grid import Plan, Selection, StudyCell, TrainedBackbone
from curate.study.results import Line
from curate.study.statistics import POWER, effect_seen, seeds_needed

UNKNOWN_BUILD = 1_000_000
"""Faces of a build that is not there, so that shares of it can be distinguished."""


@dataclass(frozen=True)
class Power:
    """How far a study will see.

    Attributes:
        planned, exploratory: comparisons.
        arms: of the question that has the fewest, of those with planned comparisons.
        seeds: of every arm.
        effect: the difference, in standard deviations of a run, that is shown with probability 0.8.
        wanted: the effect that the recipe asks for.
        needed: seeds that it takes; None: more than a thousand.
    """

    planned: int
    exploratory: int
    arms: int
    seeds: int
    effect: float
    wanted: float
    needed: int | None

    def sentences(self) -> list[str]:
        """In words."""
        if not self.planned:
            return ["no planned comparison: nothing will be tested"]
        family = f"{self.planned} planned comparisons" + (
            f" ({self.exploratory} exploratory)" if self.exploratory else ""
        )
        if self.seeds < 2:
            said = f"{family}, one seed: nothing can be tested"
        else:
            said = (
                f"{family}, {self.seeds} seeds of {self.arms} arms: shows differences from {self.effect:.2g} standard "
                f"deviations of a run on (with probability {POWER:g})"
            )
        if self.effect <= self.wanted:
            return [said]
        seeds = f"{self.needed} seeds" if self.needed is not None else "more than 1,000 seeds"
        return [said, f"warning: to see {self.wanted:g} of them takes {seeds}, or fewer planned comparisons"]


def power(plan: Plan) -> Power:
    """Lays out the comparisons of a study as if it were measured."""
    findings = find(_lines(plan), Analysis.of(plan.recipe.model_dump(mode="json")))
    tested = [one for one in findings.comparisons if one.planned]
    arms = [len({s.arm for s in findings.scores if s.question == one.question}) for one in tested]
    least, seeds = min(arms, default=0), len(set(plan.recipe.seeds))
    wanted = plan.recipe.effect
    effect = effect_seen(least, seeds, len(tested)) if tested else float("inf")
    needed = seeds_needed(wanted, least, len(tested)) if least > 1 else None
    return Power(len(tested), len(findings.comparisons) - len(tested), least, seeds, effect, wanted, needed)


def _lines(plan: Plan) -> Iterator[Line]:
    """A line for each headline metric of each cell; the values mean nothing."""
    for cell in plan.cells:
        for metric in headline_metrics(cell.task, cell.dataset, FIRST.get(cell.dataset, ("value",))):
            yield Line(_result(cell, metric), _columns(cell, plan))


def _result(cell: StudyCell, metric: str) -> Result:
    return Result(
        cell.backbone.name, None, None, cell.task, cell.dataset, "test", metric, 0.5, cell.fraction, cell.mode,
        cell.seed, 1, 1, 0.0, shots=cell.shots, arch=cell.backbone.arch, frames=_frames(dict(cell.keys)),
    )  # fmt: skip


def _frames(keys: dict[str, Any]) -> str:
    rule, share = keys.get("frames.rule", "all"), keys.get("frames.share")
    return rule if share is None else f"{rule}:{share:g}"


def _columns(cell: StudyCell, plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(results.COLUMNS)
    found |= {"cell": cell.key, "title": cell.title, "training": cell.backbone.training, "budget": cell.backbone.budget}
    if isinstance(cell.backbone, TrainedBackbone):
        chosen = cell.backbone.selection
        known = plan.sources[chosen.build].faces or UNKNOWN_BUILD
        faces = known if chosen.size is None else chosen.size if chosen.size >= 1 else round(chosen.size * known)
        found |= {field.name: getattr(chosen, field.name) for field in fields(Selection) if field.name in found}
        found |= {"faces": int(faces), "kept_share": faces / known}
    return found
