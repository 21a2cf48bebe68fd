"""`manifest`, `redundancy`, `export`, `verify`: what is made of a finished build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.table import Table

from curate import choices
from curate.cli.options import FAILED, BuildFolder, Models, app, as_typed, console, here, place, warn
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.manifests.candidates import Candidates


def _order(word: str) -> str:
    """An order of clusters; a word that was renamed is understood, but not offered."""
    word = choices.FORMER.get(word, word)
    if word not in get_args(choices.Order):
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(map(repr, get_args(choices.Order)))}")
    return word


@app.command(epilog="Example: curate manifest BUILD --size 5000 --redundancy 0.5 --out m.parquet")
def manifest(
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")],
    out: Annotated[
        str | None, typer.Option(metavar="F.parquet", help="Parquet file to write, also in a build at a URL.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Number of faces.", show_default="as many as there are")] = None,
    redundancy: Annotated[
        str, typer.Option(help="Share in [0, 1) of faces that repeat another one, or natural.")
    ] = "natural",
    space: Annotated[str, typer.Option(help="Embedding space that judges near-duplicates.")] = "appearance",
    threshold: Annotated[float | None, typer.Option(help="Cosine.", show_default="the build's own")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed.", show_default="the build's own")] = None,
    order: Annotated[
        str,
        typer.Option(
            parser=_order, metavar="[largest|random_walk]", help="Which clusters come first; see docs/covers.md."
        ),
    ] = "largest",
    balance: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Spread evenly over these, for example yaw,identity; needs --redundancy."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="SQL condition over face and video columns.")
    ] = None,
    max_per_identity: Annotated[int | None, typer.Option(min=1, help="At most so many faces a person.")] = None,
    identities_not_in: Annotated[Path | None, typer.Option(help="Manifest whose people are left out.")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Write nothing; print what sizes and redundancies there are.")
    ] = False,
) -> None:
    """Cut one more manifest from a finished build; nothing before it is computed again."""
    from curate.manifests.candidates import Criteria, candidates
    from curate.manifests.filters import Filters
    from curate.manifests.select import NATURAL
    from curate.storage.build import open_build

    vectors = None if threshold is None else space  # a cover at another threshold is made from them
    built = open_build(place(build, True, vectors))
    target: Any = redundancy if redundancy == NATURAL else _number("--redundancy", redundancy)
    filters = Filters(where, max_per_identity, identities_not_in)
    criteria = Criteria(
        space,
        threshold,
        built.info.seed if seed is None else seed,
        cast(choices.Order, order),
        filters,
        tuple(filter(None, (balance or "").split(","))),
    )
    laid = candidates(built, criteria)
    if list_:
        _print_available(laid, size)
        return
    if out is None:
        raise UsageError("--out: name the Parquet file to write, or give --list to see what can be had")
    written = laid.cut(place(out, True, vectors), size, target).metadata
    print(f"{out}: {written.size:,} faces in {written.unique:,} clusters, redundancy {written.redundancy:.4f}")


def _print_available(laid: Candidates, size: int | None) -> None:
    """What can be had: of each redundancy the largest size, of each size the redundancies."""
    from curate.manifests.select import available, redundancies

    layout = laid.layout
    faces = int(layout.starts[-1])
    console().print(
        f"{faces:,} faces in {layout.clusters:,} clusters ({laid.criteria.space} at cosine {laid.threshold:g}); "
        f"natural manifests: 1 to {faces:,} faces"
    )
    by_share = Table(title="largest manifest at each redundancy")
    by_size = Table(title="redundancies at each size")
    for table, first, second in ((by_share, "redundancy", "faces"), (by_size, "faces", "redundancy")):
        table.add_column(first, justify="right")
        table.add_column(second, justify="right")
    for share, most in available(layout):
        by_share.add_row(f"{share:g}", f"1 to {most:,}" if share == 0 else f"{most:,}")
    sizes = sorted({size} if size else {max(1, faces * part // 10) for part in (1, 2, 5, 10)} | {layout.clusters})
    for count in sizes:
        span = redundancies(layout, count)
        by_size.add_row(f"{count:,}", "more than there are" if span is None else f"{span[0]:g} to {span[1]:g}")
    console().print(by_share)
    console().print(by_size)


@app.command(epilog="Example: curate decontaminate BUILD --against LFW --dataset lfw --identity")
def decontaminate(
    build: BuildFolder,
    against: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder of evaluation pictures; repeatable.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="What the folders hold, as curate evaluate names it.", show_default="all pictures below"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine from which a face, as it is or mirrored, is an evaluation picture.",
            show_default="that of copied faces: 0.985, or 0.975 where embed.descriptor is network",
        ),
    ] = None,
    identity: Annotated[bool, typer.Option("--identity", help="Compare people, too.")] = False,
    identity_threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine from which two faces are one person.",
            show_default="at most one false match is expected in the whole run",
        ),
    ] = None,
    models: Models = None,
) -> None:
    """Find the faces that match evaluation pictures; manifests that are cut afterwards leave them out."""
    from curate import progress
    from curate.decontamination.run import Options
    from curate.decontamination.run import decontaminate as run

    options = Options(dataset, threshold, identity or identity_threshold is not None, identity_threshold, models)
    outcome = run(build, against, options, progress.stage)
    for one in outcome.record.against:
        without = f", {one.without_face:,} without a face" if one.without_face else ""
        unreadable = f", {one.unreadable:,} unreadable" if one.unreadable else ""
        print(f"{one.folder}: {one.pictures:,} pictures{without}{unreadable}")
    record = outcome.record
    print(f"by picture (cosine {record.picture_threshold:g}): {outcome.pictures:,} faces match, with their clusters")
    if record.identity_threshold is not None:
        expected = "" if record.false_matches is None else f"; {record.false_matches:.2g} false matches are expected"
        print(f"by person (cosine {record.identity_threshold:.3f}): {outcome.people:,} faces match{expected}")
    if outcome.replaced:
        warn(
            f"what was found in {', '.join(outcome.replaced)} before is replaced, so that manifests keep it; to leave "
            "out both, give all folders at once: " + " ".join(f"--against {f}" for f in [*outcome.replaced, *against])
        )
    print(f"side by side: {outcome.page}; manifests cut from now on leave these faces out")


@app.command(epilog="Example: curate redundancy BUILD --out plots")
def redundancy(
    build: BuildFolder,
    out: Annotated[
        Path | None,
        typer.Option(parser=here, metavar="DIR", help="Folder for redundancy.json and the plots as SVG."),
    ] = None,
    space: Annotated[str, typer.Option(help="Embedding space: appearance, or one of a backbone.")] = "appearance",
) -> None:
    """Say how redundant a collection is: overall, by video, by track, at all thresholds."""
    from curate.storage.build import open_build, redundancy_file
    from curate.storage.documents import write_json
    from curate.storage.files import write_bytes

    built = open_build(build)
    file = built.path / redundancy_file(space)
    if not file.is_file():
        there = ", ".join(name for name in built.spaces if (built.path / redundancy_file(name)).is_file())
        raise UsageError(f"--space {space}: no redundancy is known for it here; there are: {there}")
    measured = built.redundancy(space)
    if out is not None:
        from curate.drawing import plots

        write_json(out / "redundancy.json", measured)
        write_bytes(out / "curve.svg", plots.redundancy_curve(measured["curve"], measured["threshold"]).encode())
        write_bytes(out / "by_rate.svg", plots.redundancy_by_rate(measured["by_rate"]).encode())
    table = Table(
        title=f"{measured['faces']:,} faces of {measured['videos']:,} videos with faces, space {measured['space']}"
    )
    for column in ("cosine", "clusters", "redundancy", "within videos", "across videos", "by track"):
        table.add_column(column, justify="right")
    for point in measured["curve"]:
        shares = (f"{point[name]:.4f}" for name in ("redundancy", "within", "across", "by_track"))
        table.add_row(f"{point['threshold']:g}", f"{point['clusters']:,}", *shares)
    console().print(table)
    shown = {name: one for name, one in measured.get("coverage", {}).items() if name != "ranges"}
    if shown:
        counts = (
            f"{one['after']:,} of {one['before']:,} {'videos with faces' if name == 'videos' else name}"
            for name, one in shown.items()
        )
        print(f"kept: {', '.join(counts)}")
    print(as_typed(f"all of it: {file}; plots: {built.path / 'report.html'}"))


@app.command(epilog="Example: curate export m.parquet --format huggingface --out faces")
def export(
    manifest: Annotated[Path, typer.Argument(parser=place, metavar="F.parquet", help="Path or URL of a manifest.")],
    format_: Annotated[choices.ExportFormat, typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option(parser=here, metavar="DIR", help="New or empty folder.")],
) -> None:
    """Write a manifest's faces for other trainers."""
    from curate import progress
    from curate.manifests.export import closed_sources
    from curate.manifests.export import export as run
    from curate.storage.manifest import open_manifest

    with progress.stage("writing faces", len(open_manifest(manifest)), "faces") as advance:
        run(manifest, format_, out, advance)
    closed, sources = closed_sources(manifest)
    if closed:
        print(f"{closed} of {sources} links are written without the password, token or signature that opens them (***)")
    print(f"{out}: written")


@app.command(epilog="Example: curate verify BUILD --sources")
def verify(
    build: BuildFolder,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also say which sources are the same, changed or gone.")
    ] = False,
) -> None:
    """Prove a build: hashes, schemas, covers against plain products, manifests against their definition."""
    from curate import progress
    from curate.manifests.provenance import source_states, sources_of
    from curate.manifests.verify import verify as run
    from curate.storage.build import open_build

    found = run(build, progress.say)
    for finding in found:
        print(f"{finding.check}: {finding.where}: {finding.what}")
    if sources:
        built = open_build(build)
        for state in source_states(built, sources_of(built)):
            print(f"{state.state}: {state.source}{f' ({state.why})' if state.why else ''}")
    print(f"{len(found)} findings" if found else "all holds")
    if found:
        raise typer.Exit(FAILED)


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} {text}: wanted is a number, or natural") from None
