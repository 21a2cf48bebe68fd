"""`evaluate`: cells of the five-task benchmark, and tables of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate import choices, progress
from curate.cli.options import Device, Settings, app, first, here, keys, warn
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.evaluate import Result


@app.command(
    epilog="Example: curate evaluate --backbone RUN/backbone.pt --task recognition --dataset lfw --data LFW --mode knn"
)
def evaluate(
    backbone: Annotated[
        str | None,
        typer.Option(metavar="FILE|random", help="backbone.pt, a checkpoint, TorchScript, ONNX; or random."),
    ] = None,
    task: Annotated[choices.TaskName | None, typer.Option(help="The face task.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of a data set; docs/evaluate.md lists them.")] = None,
    data: Annotated[Path | None, typer.Option(help="Its folder, as its owners distribute it.")] = None,
    mode: Annotated[choices.Mode, typer.Option(help="What is learned.")] = "linear",
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Share of the training samples, above 0 and at most 1; repeatable.", show_default="1"),
    ] = None,
    shots: Annotated[
        list[int] | None, typer.Option(help="Instead: samples of each class (without classes: in all); repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds; each is measured.")] = 1,
    arch: Annotated[
        choices.Arch | None,
        typer.Option(help="Architecture of random; checked against a file.", show_default="resnet50"),
    ] = None,
    out: Annotated[Path, typer.Option(parser=here, metavar="FILE", help="Results are appended to it.")] = Path(
        "results.jsonl"
    ),
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML file or name of a shipped recipe; docs/evaluate.md has the keys."),
    ] = None,
    set_: Settings = None,
    device: Device = None,
    table: Annotated[
        Path | None, typer.Option(metavar="RESULTS", help="Measure nothing; print the tables of these results.")
    ] = None,
    format_: Annotated[choices.TableFormat, typer.Option("--format", help="Of the tables.")] = "text",
    figures: Annotated[
        Path | None,
        typer.Option(parser=here, metavar="DIR", help="With --table: folder for CED, ROC and few-shot curves as SVG."),
    ] = None,
) -> None:
    """Measure a backbone on a face task: one cell of the five-task benchmark; --table prints the tables.

    Under torchrun fine-tuning is shared out among the processes.
    """
    if table is not None:
        _tables(table, format_, figures)
        return
    if figures is not None:
        raise UsageError("--figures: needs --table RESULTS, whose curves are drawn")
    if fraction and shots:
        raise UsageError("--fraction and --shots: give one of them")
    given = {"--backbone": backbone, "--task": task, "--dataset": dataset, "--data": data}
    missing = [name for name, value in given.items() if value is None]
    if backbone is None or task is None or dataset is None or data is None:
        raise UsageError(
            f"evaluate: {', '.join(missing)} missing; or --table RESULTS for the tables of what was measured"
        )
    from curate.evaluate import run

    found = run(
        task, dataset, backbone, data=data, mode=mode, fraction=fraction or 1.0, shots=shots or None, seeds=seeds,
        arch=arch, recipe=recipe, overrides=keys(set_), out=out, device=device or "auto", progress=progress.stage,
    )  # fmt: skip
    if not first():
        return
    _print(found, format_)
    for note in dict.fromkeys(note for result in found for note in result.notes):
        warn(f"{dataset}: {note}")
    skipped = max(result.skipped for result in found)
    if skipped:
        warn(f"{skipped} samples or pairs were left out: their pictures are damaged")
    progress.say(f"{len(found)} measurements appended to {out}")


def _tables(path: Path, form: choices.TableFormat, figures: Path | None) -> None:
    from curate.evaluate import read_results

    found = read_results(path)
    if not found:
        raise UsageError(f"{path}: holds no measurements yet")
    _print(found, form)
    if figures is not None:
        from curate.evaluate.figures import draw_all

        for written in draw_all(found, path.parent / "curves", figures):
            progress.say(str(written))


def _print(found: list[Result], form: choices.TableFormat) -> None:
    from curate.evaluate import render, tables

    sys.stdout.write(render(tables(found), form))
