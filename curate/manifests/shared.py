"""Sharing without pictures: a manifest as one file of sources, instants and crops, from which others rebuild it.

`curate export F.parquet --format shared --out DIR` writes `DIR/faces.parquet`: a row a face with its source, the range
and the format that was fetched, the digest of the bytes, its place in time and in the frame; no picture and no vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import UsageError
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.manifest import ManifestMetadata
from curate.storage.parquet import metadata_of, read_table, write_batches

NAME = "faces.parquet"
RULE = "shared"
"""Rule of the manifest that a build made from such a file holds: the faces that were found again."""
FACE = ("face_id", "video_id", "frame", "time_s", "pts", "bbox", "landmarks", "crop_matrix")
VIDEO = ("source", "start_s", "end_s", "format_id", "content_sha256", "header_sha256", "license")
_FIELDS = [*(schemas.FACES.field(name) for name in FACE), *(schemas.VIDEOS.field(name) for name in VIDEO)]
SCHEMA = pa.schema([*_FIELDS, pa.field("cluster", pa.int64())])
MACHINE = (
    *("faces.backend", "faces.models", "faces.pack", "embed.device"),
    *("fetch.cookies", "fetch.cookies_from_browser", "fetch.proxy", "fetch.js_runtime", "fetch.impersonate"),
    *("fetch.user_agent", "fetch.extractor_args", "fetch.keep_media", "fetch.media_budget"),
)
"""Keys of a recipe that say where things lie on a machine, or who asks; they are not shared."""


def write(
    faces: Iterator[tuple[bytes, dict[str, Any]]], out: Path, build: Build, cut: ManifestMetadata
) -> Iterator[None]:
    """Writes the file; yields for each face. Nothing of the pictures is kept."""
    videos = {row["video_id"]: row for row in build.videos.select(["video_id", *VIDEO]).to_pylist()}
    recipe = {section: dict(v) if isinstance(v, dict) else v for section, v in build.info.recipe.items()}
    for key in MACHINE:
        section, _, name = key.partition(".")
        if isinstance(recipe.get(section), dict):
            recipe[section].pop(name, None)
    rows: list[dict[str, Any]] = []
    for _, face in faces:
        known = {name: face.get(name) for name in (*FACE, "cluster")}
        rows.append(known | {name: videos[face["video_id"]][name] for name in VIDEO})
        yield
    about = cut.to_dict() | {"shared": True, "recipe": recipe, "backend": build.info.backend.name}
    write_batches(out / NAME, SCHEMA, [pa.Table.from_pylist(rows, schema=SCHEMA)], about)


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A shared manifest and what it says of itself: its rows, and the metadata of the manifest with `recipe`.

    Raises:
        UsageError: the file is missing, damaged, or no shared manifest.
    """
    if not path.is_file():
        raise UsageError(f"--from-manifest {path}: there is no such file")
    about = metadata_of(path)
    if not about.get("shared"):
        raise UsageError(
            f"--from-manifest {path}: does not say where its faces are from; its owner shares it with "
            "curate export F.parquet --format shared --out DIR"
        )
    table = read_table(path)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise UsageError(f"--from-manifest {path}: lacks the column {missing[0]}")
    return table, about
