"""`embed`: a trained backbone becomes a space of a build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.options import BuildFolder, Device, app
from curate.errors import UsageError


@app.command(epilog="Example: curate embed BUILD --backbone RUN/backbone.pt --space swav")
def embed(
    build: BuildFolder,
    backbone: Annotated[Path, typer.Option(metavar="RUN/backbone.pt", help="Weights of the backbone.")],
    space: Annotated[str, typer.Option(metavar="NAME", help="Name of the new space.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Cosine of near-duplicates, 0 to 1.", show_default="calibrated on edited crops"),
    ] = None,
    device: Device = None,
    batch: Annotated[int, typer.Option(min=1, help="Crops that the backbone takes at once.")] = 64,
) -> None:
    """Give a build one more embedding space, from a trained backbone, with its own threshold and clusters."""
    from curate.run.build import embed as run
    from curate.run.spaces.builtin import NetworkSettings

    if threshold is not None and not 0 < threshold <= 1:
        raise UsageError(f"--threshold {threshold:g}: wanted is a cosine above 0, at most 1")
    info = run(build, backbone, space, threshold, NetworkSettings(device or "auto", batch)).build.info
    faces, clusters = info.counts.faces, info.counts.clusters[space]
    print(
        f"{space}: {faces:,} faces, {clusters:,} differ at cosine {info.spaces[space].threshold:g}: "
        f"{1 - clusters / faces:.1%} redundant"
    )
    found = info.spaces[space].more["calibration"]
    if found:
        print(
            f"calibrated: {found['recall']:.1%} of edited copies recalled, {found['false']:.1%} of changed expressions "
            f"matched ({found['pairs']['same']:,} and {found['pairs']['anew']:,} pairs)"
        )
