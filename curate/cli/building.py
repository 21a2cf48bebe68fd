"""`build`, `demo`, `doctor`: from a list of videos to a build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from curate.cli.options import (
    SOME_FAILED,
    FaceBackend,
    Fps,
    Models,
    RecipeFile,
    Seed,
    Settings,
    Threshold,
    Workers,
    app,
    console,
    make_recipe,
    warn,
)


@app.command()
def build(
    source: Annotated[
        str, typer.Option("--source", help="Text list, CSV or Parquet with a source column, folder, one video or URL.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the build; an unfinished one is gone on with.")],
    recipe: RecipeFile = None,
    set_: Settings = None,
    fps: Fps = None,
    faces: FaceBackend = None,
    models: Models = None,
    threshold: Threshold = None,
    size: Annotated[list[int] | None, typer.Option("--size", help="Faces of a manifest; repeatable.")] = None,
    redundancy: Annotated[
        list[float] | None,
        typer.Option("--redundancy", help="Share in [0, 1) of a manifest's faces that repeat another one; repeatable."),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask cluster that exists: tcp://HOST:PORT.")
    ] = None,
    seed: Seed = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 3 if some source failed.")] = False,
    retry: Annotated[
        str | None, typer.Option("--retry", metavar="KIND", help="Redo the failures of that error_kind, or all.")
    ] = None,
) -> None:
    """Make manifests from videos: sources, decode, faces, embed, dedupe, manifests, report."""
    from curate.report.page import write as report
    from curate.run.build import build as run

    chosen = make_recipe(
        recipe,
        set_,
        {
            "fps": fps,
            "faces.backend": faces,
            "faces.models": str(models) if models else None,
            "dedupe.threshold": threshold,
            "manifests.sizes": size or None,
            "manifests.redundancies": redundancy or None,
            "seed": seed,
        },
    )
    outcome = run(source, out, chosen, workers, scheduler, retry, report)
    _summary(outcome.build.info, out)
    for line in outcome.refused:
        warn(line)
    failed = outcome.build.info["counts"]["failed"]
    if failed:
        warn(f"{failed} of {outcome.build.info['counts']['sources']} sources failed; videos.parquet says why")
        if strict:
            raise typer.Exit(SOME_FAILED)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the clips and their build.")] = Path("demo"),
    workers: Workers = None,
) -> None:
    """Render sample clips from photographs that installed packages ship, and build them."""
    from curate.report.page import write as report
    from curate.run import demo as clips
    from curate.run import progress
    from curate.run.build import build as run
    from curate.run.build import check_folder

    built = out / "build"
    check_folder(built)
    with progress.stage("rendering clips", len(clips.EXPECTED), "clips") as advance:
        listed = clips.render(out / "clips", lambda name: advance(1, name))
    settings = {"manifests.sizes": [40], "manifests.redundancies": [0.0, 0.5]}
    outcome = run(str(listed), built, make_recipe(None, None, settings), workers, report=report)
    _summary(outcome.build.info, built)


@app.command()
def doctor(models: Models = None) -> None:
    """Say what is installed and usable here: GPU, decoder, face backends and their models' licences, FAISS."""
    from curate.run.doctor import examine

    table = Table(show_header=False)
    for name, state, detail in examine(models):
        table.add_row(name, state, detail)
    console().print(table)


def _summary(info: dict[str, Any], out: Path) -> None:
    counts = info["counts"]
    clusters = counts["clusters"].get("appearance", 0)
    share = 1 - clusters / counts["faces"] if counts["faces"] else 0.0
    threshold = info["spaces"]["appearance"]["threshold"]
    print(
        f"{counts['faces']:,} faces from {counts['sources'] - counts['failed']:,} videos; "
        f"{clusters:,} differ at cosine {threshold:g}: {share:.1%} redundant"
    )
    print(f"report: {out / 'report.html'}")
