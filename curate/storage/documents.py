"""Our own JSON on disk (`build.json`, `steps.json`, lines of `results.jsonl` ...): read and written here alone.

A file that is missing, cut off or not what curate writes there is one line that names it and the fix. What a reader
wants of a document is a function of its JSON value, which raises `KeyError`, `TypeError` or `ValueError` where the
value does not have the shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from curate.errors import UsageError, one_line
from curate.storage.files import storage_error, write_bytes

T = TypeVar("T")


def encode(value: Any) -> str:
    """The text of a document: indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_bytes(path, encode(value).encode())


def mapping(value: Any) -> dict[str, Any]:
    """`value`, which must be a JSON object.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object is wanted, not {type(value).__name__}")
    return value


def read_json(path: Path, of: Callable[[Any], T], fix: str) -> T:
    """Reads one document.

    Args:
        of: makes of the JSON value what is wanted; `mapping` for a plain object.
        fix: what the user can do, for the message.

    Raises:
        UsageError: the file is missing, cannot be read, or is damaged.
    """
    try:
        return of(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; {fix}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UsageError(f"{path}: is cut off or damaged ({_what(error)}); {fix}") from None


def try_json(path: Path, of: Callable[[Any], T]) -> T | None:
    """Reads a note beside something that can be had again: None where it is missing or damaged."""
    try:
        return read_json(path, of, "")
    except UsageError:
        return None


def read_lines(path: Path, of: Callable[[Any], T], fix: str) -> Iterator[T]:
    """Reads a file of one JSON value a line; blank lines, and a last line that a kill has cut off, are passed over.

    Args:
        of: makes of a line's JSON value what is wanted; the text of its `ValueError` stands in the message.
        fix: what the user can do about a wrong line.

    Raises:
        UsageError: the file is missing or cannot be read, or a line is damaged; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is damaged ({_what(error)}); {fix}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return
            raise UsageError(f"{path}:{number}: no JSON ({_what(error)}); {fix}") from None
        try:
            yield of(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}:{number}: {_what(error)}; {fix}") from None


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Appends JSON values, one a line, in one write.

    Raises:
        StorageError: the file cannot be written.
    """
    text = "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise storage_error(path, error) from error


def _what(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else one_line(error)
