"""Documentation that is checked, so that it stays true."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from curate import recipe
from curate.cli import app
from curate.errors import ErrorKind
from curate.storage import schemas
from docs import generate

ROOT = Path(__file__).parents[1]
COLUMNS = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "schema", [schemas.VIDEOS, schemas.FACES, schemas.CLUSTERS, schemas.MANIFEST, schemas.embeddings(4)]
)
def test_every_column_is_explained(schema: object) -> None:
    missing = [name for name in schema.names if f"| `{name}` |" not in COLUMNS]  # type: ignore[attr-defined]
    assert not missing


def test_every_kind_of_failure_is_explained() -> None:
    assert not [kind for kind in ErrorKind if f"`{kind}`" not in COLUMNS]


def test_every_command_and_option_has_help() -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    assert {"build", "demo", "manifest", "redundancy", "export", "doctor"} <= set(commands)
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_generated_pages_are_fresh() -> None:
    assert not generate.stale()


@pytest.mark.parametrize("name", generate.KEYS)
def test_every_key_of_a_recipe_is_explained(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    keys = dict(recipe.described(generate.KEYS[name]))
    assert not [key for key, field in keys.items() if f"| `{key}` |" not in page or not field.description]
