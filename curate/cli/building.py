"""`build`, `status`, `demo`, `doctor`: from a list of videos to a build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from curate import choices
from curate import recipe as recipes
from curate.cli.options import (
    DEFAULT,
    INCOMPLETE,
    Models,
    RecipeFile,
    Scheduler,
    Seed,
    Settings,
    Workers,
    app,
    as_it_stands,
    console,
    here,
    keys,
    warn,
)
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.run.build import BuildOutcome
    from curate.run.cluster import Executor
    from curate.storage.info import BuildInfo


@app.command(
    epilog="Example: curate build --source list.txt --out BUILD --fps 5 --size 10000 --redundancy 0 --redundancy 0.5"
)
def build(
    out: Annotated[str, typer.Option(help="Folder or URL of the build; an unfinished one is resumed.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="Text list, CSV or Parquet with a source column, folder, one video or URL.", show_default=False
        ),
    ] = None,
    from_manifest: Annotated[
        Path | None,
        typer.Option(metavar="F.parquet", help="Instead: rebuild a manifest that was shared (export --format shared)."),
    ] = None,
    recipe: RecipeFile = None,
    set_: Settings = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second that are looked at.", show_default=f"{DEFAULT.fps:g}")
    ] = None,
    faces: Annotated[
        choices.FaceBackend | None,
        typer.Option(help="What finds faces; auto: insightface where --models is given, else centerface."),
    ] = None,
    models: Models = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Cosine of near-duplicates, 0 to 1.", show_default=f"{DEFAULT.dedupe.threshold:g}"),
    ] = None,
    size: Annotated[list[int] | None, typer.Option(help="Faces of a manifest; repeatable.")] = None,
    redundancy: Annotated[
        list[float] | None,
        typer.Option(help="Share in [0, 1) of a manifest's faces that repeat another one; repeatable."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    seed: Seed = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with status 3 if some source failed (as where a --size cannot be had)."),
    ] = False,
    retry: Annotated[
        str | None, typer.Option(metavar="KIND", help="Redo the failures of that error_kind, or all.")
    ] = None,
) -> None:
    """Make manifests from videos: sources, decode, faces, embed, dedupe, manifests, report."""
    from curate.run import child_server, fork_server
    from curate.stages.hidden import without_pandas

    if scheduler is None:
        fork_server.start()
        child_server.start_for(out)
    without_pandas()
    from curate.run.build import build as run
    from curate.run.cluster import Executor
    from curate.run.failures import by_kind
    from curate.run.fetched import ranges

    given = {
        "faces.backend": faces,
        "faces.models": models,
        "dedupe.threshold": threshold,
        "manifests.sizes": size,
        "manifests.redundancies": redundancy,
    }
    chosen = keys(set_, fps=fps, seed=seed, **given)
    executor = Executor(workers, scheduler)
    if (source is None) == (from_manifest is None):
        raise UsageError("give --source LIST, or --from-manifest F.parquet, one of them")
    if from_manifest is not None:
        if recipe is not None:
            raise UsageError("--recipe: a shared manifest brings its own recipe; change keys of it with --set")
        outcome = _rebuilt(from_manifest, out, chosen, executor, retry)
    else:
        outcome = run(str(source), out, recipes.load(recipe, chosen), executor, retry)
    _summary(outcome.build.info, out)
    for line in ranges(outcome.build.videos):
        print(line)
    for line in outcome.refused:
        warn(line)
    counts = outcome.build.info.counts
    if counts.failed:
        warn(f"{counts.failed} of {counts.sources} sources failed; videos.parquet says why")
        for line in by_kind(outcome.build.videos):
            warn(line)
    asked = {"manifests.sizes", "manifests.redundancies"} & chosen.keys()
    if (counts.failed and strict) or (outcome.refused and asked):
        raise typer.Exit(INCOMPLETE)


def _rebuilt(path: Path, out: str, chosen: dict[str, Any], executor: Executor, retry: str | None) -> BuildOutcome:
    """Rebuilds a shared manifest and says what of it is the same, changed and gone."""
    from curate.run.shared import REPORT, rebuild

    found = rebuild(path, out, chosen, executor, retry)
    for video in found.videos:
        why = f" ({video.why})" if video.why else ""
        print(f"{video.state}: {video.source}: {video.found:,} of {video.faces:,} faces found again{why}")
    print(f"{sum(v.found for v in found.videos):,} of {sum(v.faces for v in found.videos):,} faces: {found.manifest}")
    print(f"all of it: {Path(out) / REPORT}")
    return found.outcome


@app.command(epilog="Example: curate demo")
def demo(
    out: Annotated[Path, typer.Option(parser=here, metavar="DIR", help="Folder for the clips and their build.")] = Path(
        "demo"
    ),
    workers: Workers = None,
) -> None:
    """Render sample clips from photographs that installed packages ship, and build them."""
    from curate import progress
    from curate.demo import clips
    from curate.run import child_server, fork_server
    from curate.stages.hidden import without_pandas

    fork_server.start()
    child_server.start_for(out / "build")
    without_pandas()
    from curate.run.build import build as run
    from curate.run.build import check_folder
    from curate.run.cluster import Executor

    built = out / "build"
    check_folder(built)
    with progress.stage("rendering clips", len(clips.EXPECTED), "clips") as advance:
        listed = clips.render(out / "clips", lambda name: advance(1, name))
    settings = {"manifests.sizes": [40], "manifests.redundancies": [0.0, 0.5]}
    outcome = run(str(listed), built, recipes.load(None, settings), Executor(workers))
    _summary(outcome.build.info, str(built))


@app.command(epilog="Example: curate status BUILD")
def status(
    build: Annotated[
        Path, typer.Argument(metavar="BUILD", parser=as_it_stands, help="Folder or URL of a build, finished or not.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a build is doing or did: sources done, failures with the fix, paused hosts, slow sources, time left."""
    from dataclasses import asdict

    from curate.run.status import status as look

    found = look(build)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print("\n".join(found.lines()))


@app.command(epilog="Example: curate doctor --models models")
def doctor(models: Models = None) -> None:
    """Say what is installed and usable here: GPU, decoder, face backends and their models' licences, FAISS."""
    from curate.run.doctor import examine

    table = Table(show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")  # names of files and licences' addresses are of use only whole
    for row in examine(models):
        table.add_row(*map(escape, row))  # what pip takes in brackets is no markup
    console().print(table)


def _summary(info: BuildInfo, out: str) -> None:
    from curate.run.funnel import hints

    counts = info.counts
    clusters = counts.clusters["appearance"]
    print(
        f"{counts.faces:,} faces from {counts.videos:,} videos; {clusters:,} differ at cosine "
        f"{info.spaces['appearance'].threshold:g}: {1 - clusters / counts.faces:.1%} redundant"
    )
    for hint in hints(info):
        print(hint)
    print(f"report: {out}/report.html")
