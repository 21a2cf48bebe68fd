"""Runs every notebook's script and keeps what it shows in its .ipynb: `python notebooks/keep.py [NAME ...]`."""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def keep(script: Path) -> None:
    """Runs one script as a notebook, from its own folder."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same each time
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("[0-9]_*.py")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            keep(path)
