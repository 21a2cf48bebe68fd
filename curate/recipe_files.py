"""Reading recipes of any kind: files, names of those that come with curate, `--set`, and what is said of mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeGuard, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from curate.errors import UsageError

Kind = Literal["build", "pretrain", "evaluate", "study"]
"""Commands that take a recipe."""
SHIPPED = Path(__file__).with_name("pipelines")
"""Recipes that come with curate: in a checkout a link to `pipelines/` at its root."""


class Section(BaseModel):
    """A group of keys; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def shipped(kind: Kind) -> dict[str, Path]:
    """Name -> file of the recipes that come with curate for a command."""
    top = [path for path in SHIPPED.glob("*.yaml") if (kind == "study") == path.stem.endswith("_study")]
    files = {"build": top, "study": [*top, *SHIPPED.glob("paper/*.yaml")]}.get(kind) or SHIPPED.glob(f"{kind}/*.yaml")
    return {path.stem: path for path in sorted(files)}


def load_as(
    model: type[Model], path: Path | None = None, overrides: dict[str, Any] | None = None, kind: Kind = "build"
) -> Model:
    """Reads a recipe of any kind.

    Args:
        model: what the recipe must be.
        path: a YAML file, or the name of one that comes with curate (see `shipped`); None for the defaults.
        overrides: dotted keys to values, over what the file says.
        kind: which command it is for.

    Raises:
        UsageError: the file is missing or no YAML, a key is unknown (the nearest right one is named) or
            a value is wrong.
    """
    docs = "docs/recipe.md" if kind == "build" else f"docs/{kind}.md"
    if path is not None and (path.is_dir() or not path.exists()):
        path = _by_name(path, kind)
    values = _without_empty(_read(path), model) if path else {}
    for key, value in (overrides or {}).items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UsageError(f"{key}: {section} is a key, not a section; see {docs}")
        place[last] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        where = str(path) if path else "recipe"
        raise UsageError(_first(error, where, overrides or {}, [name for name, _ in described(model)], docs)) from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """`section.key=value` as given to `--set`; the value is read as YAML.

    Raises:
        UsageError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: write key=value, for example --set fps=2")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {text}: the value is no YAML") from None


def described(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key of a recipe with its pydantic field, in reading order.

    Keys of a list's sections follow the list's own as `key[].name`, those of a mapping's as `key.*.name`.
    """
    for name, field in model.model_fields.items():
        kind = field.annotation
        if _is_section(kind):
            yield from described(kind, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}", field
        between = ".*." if get_origin(kind) is dict else "[]."
        for held in get_args(kind) if get_origin(kind) in (tuple, dict) else ():
            if _is_section(held):
                yield from described(held, f"{prefix}{name}{between}")


def _by_name(name: Path, kind: Kind) -> Path:
    known = shipped(kind)
    if str(name) in known:
        return known[str(name)]
    raise UsageError(f"{name}: there is no such recipe; name a file, or one of {', '.join(known)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a recipe ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: no valid YAML ({getattr(error, 'problem', error)})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values, for example `fps: 2`")
    return values


def _without_empty(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Sections with nothing below them, as where all their keys are comments, are the defaults."""
    sections = {name: field.annotation for name, field in model.model_fields.items() if _is_section(field.annotation)}
    return {
        key: _without_empty(value, sections[key]) if key in sections and isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None or key not in sections
    }


def _is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _first(error: ValidationError, where: str, overrides: dict[str, Any], known: list[str], docs: str) -> str:
    """The first complaint of pydantic in one line that names the key, as the user wrote it, and the fix."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
    key = next((given for given in overrides if given.startswith(f"{key}.")), key)
    if any(given == key or key.startswith(f"{given}.") for given in overrides):
        where = "recipe"  # the file says nothing of it
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, 1, 0.5) or difflib.get_close_matches(
            key.rsplit(".", 1)[-1], known, 1, 0.3
        )
        hint = f"did you mean {near[0]}?" if near else f"{docs} lists the keys"
        return f"{where}: unknown key {key}; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # about several keys at once, which the message names
        return f"{where}: {message}"
    return f"{where}: {key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"
