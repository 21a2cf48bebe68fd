"""What a run was made from, so that a number can be traced to its faces and a face to the runs that saw it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from curate import __version__
from curate.errors import StorageError
from curate.pretrain.config import PretrainRecipe, Provenance
from curate.pretrain.faces import Faces
from curate.storage.documents import append_lines, mapping, read_lines

REGISTER = "runs.jsonl"
"""File in a build that names the runs that learned from it."""


def provenance_of(faces: Faces, damaged: int, identity: dict[str, Any]) -> Provenance:
    """What a run of that identity is made from: these faces, `damaged` of which cannot be read."""
    return Provenance(
        manifest=faces.path,
        manifest_sha256=faces.sha256,
        data=faces.build is None,
        build=faces.build_hash,
        build_path=faces.build,
        faces=len(faces),
        damaged=damaged,
        init_sha256=identity["init_sha256"],
        decode=identity["data"]["decode"],
        curate=__version__,
        torch=str(torch.__version__),
    )


def register(out: Path, recipe: PretrainRecipe, provenance: Provenance) -> None:
    """Notes the run in its build, once, if the build is a folder that can be written to."""
    build = Path(provenance.build_path or "")
    if provenance.build_path is None or not build.is_dir():
        return
    line = {
        "run": str(out.resolve()),
        "manifest": str(Path(provenance.manifest).resolve()),
        "manifest_sha256": provenance.manifest_sha256,
        "method": recipe.method,
        "arch": recipe.arch,
    }
    if line not in registered(build):
        with contextlib.suppress(StorageError):
            append_lines(build / REGISTER, [line])


def registered(build: Path) -> list[dict[str, str]]:
    """The runs that learned from a build: `run`, `manifest`, `manifest_sha256`, `method`, `arch` of each."""
    path = build / REGISTER
    return list(read_lines(path, mapping, "remove the line")) if path.exists() else []
