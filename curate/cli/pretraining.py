"""`pretrain`: from a manifest to a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from curate import choices
from curate.cli.options import Device, Seed, Settings, app, first, here, keys


@app.command(epilog="Example: curate pretrain --manifest m.parquet --recipe laptop --method swav --out RUN")
def pretrain(
    out: Annotated[
        Path, typer.Option(parser=here, metavar="DIR", help="Folder of the run; an unfinished one is resumed.")
    ],
    manifest: Annotated[str | None, typer.Option(help="Path or fsspec URL of a manifest of faces.")] = None,
    build: Annotated[
        str | None,
        typer.Option(
            metavar="BUILD", help="Folder or URL of the manifest's build.", show_default="where it lay when it was cut"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL",
            help="Instead: pictures in a folder, WebDataset shards (*.tar), or a Hugging Face data set on disk.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML file or name of a shipped recipe; docs/pretrain.md has the keys."),
    ] = None,
    set_: Settings = None,
    method: Annotated[
        choices.Method | None,
        typer.Option(
            metavar="METHOD", help=f"How to learn: {', '.join(get_args(choices.Method))}.", show_default="swav"
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH",
            help=f"Backbone: {', '.join(choices.ARCHITECTURES)}, vit_s/PATCH, MODULE:FUNCTION, or a name of timm.",
            show_default="the method's own",
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Weights to begin with: a backbone.pt, the paper's, torchvision's or timm's.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Budget: passes over the manifest.", show_default="the method's own")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: updates of the weights.")] = None,
    images: Annotated[int | None, typer.Option(help="Budget: pictures seen, repeats counted.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures an update, all processes together.", show_default="256")
    ] = None,
    crop_size: Annotated[
        int | None, typer.Option(help="Side of the largest crop, pixels; others follow.", show_default="224")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads a process that read and decode.", show_default="its cores")
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Pre-train a backbone on a manifest, self-supervised or supervised; under torchrun, in many processes."""
    from curate import pretrain as training

    written = training.run(
        manifest,
        out,
        data=data,
        recipe=recipe,
        overrides=keys(set_, **{"data.build": build}),
        method=method,
        arch=arch,
        init=init,
        epochs=epochs,
        steps=steps,
        images=images,
        batch=batch,
        crop_size=crop_size,
        workers=workers,
        seed=seed,
        device=device,
    )
    if first():
        print(f"backbone: {written}")
        print(f"report: {out / 'report.html'}")
