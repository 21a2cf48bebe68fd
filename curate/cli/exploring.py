"""`explore`: a build in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.options import BuildFolder, app, here


@app.command(epilog="Example: curate explore BUILD --no-browser")
def explore(
    build: BuildFolder,
    study: Annotated[
        Path | None,
        typer.Option(parser=here, metavar="STUDY", help="Folder of a study whose verdict and curves are shown."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any that is free.")] = 8765,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in the browser.")] = False,
) -> None:
    """Look at a build in the browser: clusters, videos and tracks, what was dropped and why, thresholds, a study.

    Read-only, on this machine alone (127.0.0.1). Ctrl-C ends it.
    """
    from curate.explore.serve import serve
    from curate.explore.study import study_view
    from curate.storage.build import open_build

    shown = study_view(study) if study else None
    serve(open_build(build), shown, port, not no_browser, lambda text: print(text, flush=True))
