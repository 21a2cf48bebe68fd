"""The command line: parse, call, print. One module for each group of commands; importing it adds them to `app`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from curate import __version__
from curate.cli import building, embedding, evaluation, exploring, forgetting, manifests, pretraining, studying
from curate.cli.options import DONE, FAILED, STOPPED, WRONG, app, as_typed, publish, warn
from curate.errors import CurateError, UsageError, one_line

__all__ = [
    "app",
    "building",
    "embedding",
    "evaluation",
    "exploring",
    "forgetting",
    "main",
    "manifests",
    "pretraining",
    "studying",
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"curate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version, and end.")
    ] = False,
) -> None:
    """Options that stand before any command."""


def main() -> None:
    """Entry point: errors of the tree become one line and an exit status."""
    try:
        status = app(prog_name="curate", standalone_mode=False)
        publish()
        if status == STOPPED:  # typer catches Ctrl-C itself, and says nothing
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        _stop("stopped; run the same command again to go on", STOPPED)
    except CurateError as error:
        _stop(as_typed(str(error)), WRONG if isinstance(error, UsageError) else FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(FAILED)
    except MemoryError:
        _stop("memory ran out; what was done stays done: free some and run the same command again", FAILED)
    except OSError as error:  # of the machine: a disk that fails, a file that may not be read
        _stop(one_line(error), FAILED)
    except typer.Abort:
        _stop("stopped", STOPPED)
    except Exception as error:
        # typer carries its own copy of click, whose errors about options it does not export
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        if not message():  # `curate` alone: its help stands on the page already
            sys.exit(WRONG)
        _stop(str(message()).replace("\n", " ").replace("Value error, ", ""), WRONG)
    sys.exit(status if isinstance(status, int) else DONE)


def _stop(text: str, status: int) -> None:
    warn(text)
    sys.exit(status)
