"""What several commands share: the app itself, options, keys of recipes, how they speak, exit statuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from curate import choices, locations, recipe_files
from curate import recipe as recipes
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.storage.remote import RemoteBuild

app = typer.Typer(
    help="How much of a pile of web video is worth training on: from a list of videos to face manifests.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DONE, FAILED, WRONG, INCOMPLETE, STOPPED = 0, 1, 2, 3, 130
DEFAULT = recipes.BuildRecipe()


def place(text: str, tables: bool = False, vectors: str | None = None) -> Path:
    """A path of a build or of what lies in one; of a URL its copy here, which is brought up to date and, if the command
    changes it, published at the end.

    Args:
        tables: whether tables are enough, without pictures and all vectors but those of the space `vectors`.
    """
    if locations.is_local(text):
        return Path(locations.local_path(text))
    from curate.storage.remote import remote_build, split_manifest

    url, inside = split_manifest(text) or (text, "")
    build = remote_build(url, tables, vectors)
    if _opened.get(build.path) != build:
        build.refresh()
        _opened[build.path] = build
    return build.path / inside


def as_it_stands(text: str) -> Path:
    """As `place`, for a build that need not be finished: on the machine that works on it, the copy as it is now."""
    if not locations.is_local(text):
        from curate.storage.remote import remote_build

        build = remote_build(text)
        if build.unfinished:
            return build.path
    return place(text)


def as_typed(text: str) -> str:
    """A message about a build, with its URL in place of the copy here, of which the user knows nothing."""
    for path, build in _opened.items():
        text = text.replace(str(path), build.url)
    return text


def here(given: str | Path) -> Path:
    """A path on this machine, as it was typed or as an option has it by default."""
    text = str(given)
    if not locations.is_local(text):
        raise UsageError(f"{text}: only builds can be written to a URL; name a place on this machine")
    return Path(locations.local_path(text))


def publish() -> None:
    """Brings the URLs of opened builds up to date with what the command changed."""
    for build in _opened.values():
        build.publish()


_opened: dict[Path, RemoteBuild] = {}

BuildFolder = Annotated[Path, typer.Argument(metavar="BUILD", parser=place, help="Folder or URL of a finished build.")]
RecipeFile = Annotated[
    Path | None, typer.Option(help="YAML file or name of a shipped recipe; docs/recipe.md has the keys.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe; repeatable.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random choice.", show_default=str(DEFAULT.seed))]
Models = Annotated[Path | None, typer.Option(help="insightface root: a pack at DIR/models/PACK/*.onnx.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Local processes, one thread each; as many more fetch for them where sources are URLs.",
        show_default="one a core",
    ),
]
Scheduler = Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask cluster that exists: tcp://HOST:PORT.")]
Device = Annotated[choices.Device | None, typer.Option(help="Where networks run.", show_default="auto")]


def keys(set_: list[str] | None, **options: Any) -> dict[str, Any]:
    """Keys of a recipe: those of `--set`, under the options that were given."""
    return dict(map(recipe_files.parse_assignment, set_ or [])) | {k: v for k, v in options.items() if v is not None}


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
