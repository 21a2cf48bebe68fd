"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from curate import recipe as recipes
from curate.errors import CurateError, UsageError

app = typer.Typer(
    help="How much of a pile of web video is worth training on: from a list of videos to face manifests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DONE, FAILED, WRONG, SOME_FAILED, STOPPED = 0, 1, 2, 3, 130
DEFAULT = recipes.Recipe()

BuildFolder = Annotated[Path, typer.Argument(metavar="BUILD", help="Folder of a finished build.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="YAML recipe; docs/recipe.md lists its keys.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe; repeatable.")
]
Seed = Annotated[int | None, typer.Option("--seed", help=f"Seed of every random choice.  [default: {DEFAULT.seed}]")]
Fps = Annotated[
    float | None, typer.Option("--fps", help=f"Frames a second that are looked at.  [default: {DEFAULT.fps:g}]")
]
FaceBackend = Annotated[
    str | None,
    typer.Option(
        "--faces", metavar="auto|insightface|dlib", help="Face backend; auto: insightface where --models is given."
    ),
]
Models = Annotated[Path | None, typer.Option("--models", help="insightface root: a pack at DIR/models/PACK/*.onnx.")]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold", help=f"Cosine of near-duplicates, 0 to 1.  [default: {DEFAULT.dedupe.threshold:g}]"),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Local processes, one thread each.  [default: one a core]")
]


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

    chosen = _recipe(
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
        _warn(line)
    failed = outcome.build.info["counts"]["failed"]
    if failed:
        _warn(f"{failed} of {outcome.build.info['counts']['sources']} sources failed; videos.parquet says why")
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
    outcome = run(str(listed), built, _recipe(None, None, settings), workers, report=report)
    _summary(outcome.build.info, built)


@app.command()
def manifest(
    build: BuildFolder,
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    size: Annotated[
        int | None, typer.Option("--size", help="Number of faces.  [default: as many as there are]")
    ] = None,
    redundancy: Annotated[
        str, typer.Option("--redundancy", help="Share in [0, 1) of faces that repeat another one, or natural.")
    ] = "natural",
    space: Annotated[str, typer.Option("--space", help="Embedding space that judges near-duplicates.")] = "appearance",
    threshold: Annotated[float | None, typer.Option("--threshold", help="Cosine.  [default: the build's own]")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed.  [default: the build's own]")] = None,
    order: Annotated[
        str, typer.Option("--order", metavar="largest|met", help="Which clusters come first; see docs/covers.md.")
    ] = "largest",
    where: Annotated[
        str | None, typer.Option("--where", metavar="EXPR", help="SQL condition over face and video columns.")
    ] = None,
    max_per_identity: Annotated[
        int | None, typer.Option("--max-per-identity", min=1, help="At most so many faces a person.")
    ] = None,
    identities_not_in: Annotated[
        Path | None, typer.Option("--identities-not-in", help="Manifest whose people are left out.")
    ] = None,
) -> None:
    """Cut one more manifest from a finished build; nothing before it is computed again."""
    from curate.manifests import cut
    from curate.manifests.filters import Filters
    from curate.storage.build import open_build

    built = open_build(build)
    if order not in ("largest", "met"):
        raise UsageError(f"--order {order}: wanted is largest or met")
    target: Any = redundancy if redundancy == cut.NATURAL else _number("--redundancy", redundancy)
    filters = Filters(where, max_per_identity, identities_not_in)
    chosen_seed = built.info["seed"] if seed is None else seed
    choices = cut.choices(built, space, threshold, chosen_seed, filters, order)  # type: ignore[arg-type]  # checked above
    written = choices.cut(out, size, target).metadata
    print(f"{out}: {written['size']:,} faces in {written['unique']:,} clusters, redundancy {written['redundancy']:.4f}")


@app.command()
def redundancy(
    build: BuildFolder,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for redundancy.json and the plots as SVG, for your own pages.")
    ] = None,
) -> None:
    """Say how redundant a collection is: overall, by video, by track, at all thresholds."""
    import json

    from curate.storage.build import open_build
    from curate.storage.files import write_bytes

    built = open_build(build)
    text = (built.path / "redundancy.json").read_text(encoding="utf-8")
    told = json.loads(text)
    if out is not None:
        from curate.report import plots

        write_bytes(out / "redundancy.json", text.encode())
        write_bytes(out / "curve.svg", plots.redundancy_curve(told["curve"], told["threshold"]).encode())
        write_bytes(out / "by_rate.svg", plots.redundancy_by_rate(told["by_rate"]).encode())
    table = Table(title=f"{told['faces']:,} faces of {told['videos']:,} videos, space {told['space']}")
    for column in ("cosine", "clusters", "redundancy", "within videos", "across videos", "by track"):
        table.add_column(column, justify="right")
    for point in told["curve"]:
        shares = (f"{point[name]:.4f}" for name in ("redundancy", "within", "across", "by_track"))
        table.add_row(f"{point['threshold']:g}", f"{point['clusters']:,}", *shares)
    _console().print(table)
    print(f"all of it: {built.path / 'redundancy.json'}; plots: {built.path / 'report.html'}")


@app.command()
def export(
    manifest: Annotated[Path, typer.Argument(metavar="F.parquet", help="A manifest.")],
    format_: Annotated[str, typer.Option("--format", metavar="webdataset|imagefolder", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", help="New or empty folder.")],
) -> None:
    """Write a manifest's faces for other trainers."""
    from curate.manifests.export import export as run

    run(manifest, format_, out)
    print(f"{out}: written")


@app.command()
def verify(
    build: BuildFolder,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also say which sources are the same, changed or gone.")
    ] = False,
) -> None:
    """Prove a build: hashes, schemas, covers against plain products, manifests against their definition."""
    from curate.manifests.provenance import source_states
    from curate.manifests.verify import verify as run
    from curate.run import progress
    from curate.stages.sources import read_sources
    from curate.storage.build import open_build

    found = run(build, progress.say)
    for finding in found:
        print(f"{finding.check}: {finding.where}: {finding.what}")
    if sources:
        built = open_build(build)
        for state in source_states(built, read_sources(built.info["source"])):
            print(f"{state.state}: {state.source}{f' ({state.why})' if state.why else ''}")
    print(f"{len(found)} findings" if found else "all holds")
    if found:
        raise typer.Exit(FAILED)


@app.command()
def doctor(models: Models = None) -> None:
    """Say what is installed and usable here: GPU, decoder, face backends and their models' licences, FAISS."""
    from curate.run.doctor import examine

    table = Table(show_header=False)
    for name, state, detail in examine(models):
        table.add_row(name, state, detail)
    _console().print(table)


def main() -> None:
    """Entry point: errors of the tree become one line and an exit status."""
    try:
        status = app(standalone_mode=False)
    except KeyboardInterrupt:
        _stop("stopped; run the same command again to go on", STOPPED)
    except CurateError as error:
        _stop(str(error), WRONG if isinstance(error, UsageError) else FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(FAILED)
    except typer.Abort:
        _stop("stopped", STOPPED)
    except Exception as error:
        # typer carries its own copy of click, whose errors about options it does not export
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _stop(str(message()).replace("\n", " "), WRONG)
    sys.exit(status if isinstance(status, int) else DONE)


def _recipe(path: Path | None, assignments: list[str] | None, options: dict[str, Any]) -> recipes.Recipe:
    """The recipe file, under `--set`, under the options."""
    overrides = dict(recipes.parse_assignment(text) for text in assignments or [])
    overrides |= {key: value for key, value in options.items() if value is not None}
    return recipes.load(path, overrides)


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


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} {text}: wanted is a number, or natural") from None


def _console() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty())


def _warn(text: str) -> None:
    print(f"curate: {text}", file=sys.stderr)


def _stop(text: str, status: int) -> None:
    _warn(text)
    sys.exit(status)
