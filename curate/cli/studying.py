"""`study`: what redundancy does to each task, and how few faces are enough."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curate.cli.options import FAILED, Device, Scheduler, Settings, app, console, here, keys, warn
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.study.grid import Plan, StudyCell


@app.command(epilog="Example: curate study small_study --build BUILD --out STUDY --dry-run")
def study(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="YAML file or name of a shipped recipe; docs/study.md has the keys."),
    ],
    out: Annotated[
        Path, typer.Option(parser=here, metavar="DIR", help="Folder of the study; an unfinished one is resumed.")
    ],
    set_: Settings = None,
    build: Annotated[
        Path | None, typer.Option(metavar="BUILD", help="Folder of the finished build that is called main.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N - 1.", show_default="the recipe's")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Local processes.", show_default="one a GPU, else one a core")
    ] = None,
    scheduler: Scheduler = None,
    device: Device = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells, what they cost, what they can show; run nothing.")
    ] = False,
) -> None:
    """Compare manifests by what they teach: a grid of manifests x methods x tasks x seeds, with statistics."""
    from curate.study import config, findings, grid, verdict
    from curate.study.execute import run as go

    given = {"builds.main": build, "seeds": list(range(seeds)) if seeds else None, "device": device}
    chosen = config.load(recipe, keys(set_, **given))
    if dry_run:
        _show(grid.plan(chosen, dry=True), out, workers)
        return
    outcome = go(chosen, out, workers, scheduler)
    found = findings.of_study(out)
    for line in (verdict.headline(found), *verdict.sentences(found)):
        print(line)
    print(f"report: {out / 'report.html'}")
    for failure in outcome.failures:
        warn(f"{failure.what}: {failure.why}")
    if outcome.failures:
        warn(f"{len(outcome.failures)} failures; run the same command again to try them once more")
        raise typer.Exit(FAILED)


def _show(plan: Plan, out: Path, workers: int | None) -> None:
    """The cells of a study, arm by arm, and their cost."""
    from curate.progress import duration
    from curate.study.estimate import estimate
    from curate.study.execute import worker_count
    from curate.study.power import power
    from curate.study.selection import refusals

    table = Table(title=f"{len(plan.cells)} cells")
    for column in ("faces", "training", "tasks", "cells"):
        table.add_column(column)
    arms: dict[tuple[str, str], list[StudyCell]] = defaultdict(list)
    for cell in plan.cells:
        backbone = cell.backbone
        faces = "" if backbone.selection is None else backbone.selection.label
        arms[faces, f"{backbone.training} {backbone.budget}".strip()].append(cell)
    for arm, cells in arms.items():
        table.add_row(*arm, ", ".join(dict.fromkeys(cell.title for cell in cells)), str(len(cells)))
    console().print(table)
    count = worker_count(plan.recipe, workers)
    cost = estimate(plan, out, count)
    for name, (total, done) in (("manifests", cost.manifests), ("runs", cost.runs), ("cells", cost.cells)):
        print(f"{name}: {total}" + (f", of which {done} are there" if done else ""))
    training, measuring = (duration(seconds / count) for seconds in (cost.training_seconds, cost.measuring_seconds))
    whole = duration((cost.training_seconds + cost.measuring_seconds) / count)
    about = "at least" if cost.unknown else "about"
    print(
        f"{about} {whole} on {count} workers (training {training}, measuring {measuring}), "
        f"{cost.bytes / 1e9:.2g} GB that stay, {cost.peak_bytes / 1e9:.2g} GB while it runs"
    )
    for line in cost.unknown:
        print(f"not counted: {line}")
    for line in power(plan).sentences():
        print(line)
    there = [source for source in plan.sources.values() if source.faces]
    found = [
        line
        for source in there
        for line in refusals(source.path, [s for s in plan.selections if s.build == source.name])
    ]
    if found:
        more = f" ({len(found) - 1} more like it)" if len(found) > 1 else ""
        raise UsageError(f"faces: {found[0]}{more}")
