"""What several commands share: the app itself, options, the recipe they make, how they speak, exit statuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from curate import recipe as recipes

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


def make_recipe(path: Path | None, assignments: list[str] | None, options: dict[str, Any]) -> recipes.Recipe:
    """The recipe file, under `--set`, under the options."""
    overrides = dict(recipes.parse_assignment(text) for text in assignments or [])
    overrides |= {key: value for key, value in options.items() if value is not None}
    return recipes.load(path, overrides)


def console() -> Console:
    """Wraps lines on a terminal only."""
    return Console(soft_wrap=not sys.stdout.isatty())


def first(places: tuple[str, ...] = ("RANK",)) -> bool:
    """Whether this process is the one that speaks, of those that torchrun started; alone, it is."""
    return all(os.environ.get(place, "0") == "0" for place in places)


def warn(text: str) -> None:
    """One line on stderr; under torchrun, one a machine."""
    if first(("LOCAL_RANK",)):
        print(f"curate: {text}", file=sys.stderr)
