"""`pretrain`: from a manifest to a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate import recipe as recipes
from curate.cli.options import app, first


@app.command()
def pretrain(
    manifest: Annotated[str, typer.Option("--manifest", help="Path or fsspec URL of a manifest of faces.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished one is gone on with.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="YAML recipe; docs/pretrain.md lists its keys.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe; repeatable.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="swav|simclr|moco|byol|simsiam|dino|mae|supervised",
            help="What is learned from.  [default: swav]",
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="resnet18|resnet34|resnet50|vit_s|vit_b",
            help="Backbone.  [default: the method's own]",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Weights to begin with: a backbone.pt, the paper's, torchvision's or timm's."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Budget: passes over the manifest.  [default: the method's own]")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Budget: updates of the weights.")] = None,
    images: Annotated[int | None, typer.Option("--images", help="Budget: pictures seen, repeats counted.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", help="Pictures an update, all processes together.  [default: 256]")
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option("--crop-size", help="Side of the largest crop, pixels; others follow.  [default: 224]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Threads a process that read and decode.  [default: its cores]")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every random choice.  [default: 0]")] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="auto|cpu|cuda", help="Where the network runs.  [default: auto]"),
    ] = None,
) -> None:
    """Pre-train a backbone on a manifest, self-supervised or supervised; under torchrun, in many processes."""
    from curate import pretrain as training
    from curate.errors import TrainingError
    from curate.report.pretrain_page import write as report

    try:
        written = training.run(
            manifest,
            out,
            recipe=recipe,
            overrides=dict(recipes.parse_assignment(text) for text in set_ or []),
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
    except TrainingError:
        if first() and (out / "config.yaml").exists():
            report(out)
        raise
    if first():
        print(f"backbone: {written}")
        print(f"report: {report(out)}")
