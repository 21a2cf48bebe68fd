"""`explore`: a build in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.cli.options import BuildFolder, app


@app.command(epilog="Example: curate explore BUILD --no-browser")
def explore(
    build: BuildFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any that is free.")] = 8765,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in the browser.")] = False,
) -> None:
    """Look at a build in the browser: clusters, videos and tracks, what was dropped and why, a threshold slider.

    Read-only, on this machine alone (127.0.0.1). Ctrl-C ends it.
    """
    from curate.explore.serve import serve
    from curate.storage.build import open_build

    serve(open_build(build), port, not no_browser, lambda text: print(text, flush=True))
