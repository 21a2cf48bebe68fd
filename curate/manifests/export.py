"""A manifest's faces for other trainers: WebDataset shards, or a folder of pictures."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curate.choices import ExportFormat
from curate.errors import UsageError
from curate.storage.files import TEMPORARY, atomic_write, storage_error, write_bytes
from curate.storage.manifest import open_manifest
from curate.storage.parquet import open_parquet, read_rows

SHARD_FACES = 10_000
"""Faces of a WebDataset shard: about 150 MB."""

FIELDS = [
    "face_id",
    "video_id",
    "frame",
    "time_s",
    "shot",
    "track",
    "score",
    "yaw",
    "pitch",
    "roll",
    "sharpness",
    "brightness",
    "quality",
]
"""What is told of each face beside its picture and its cluster."""


def export(manifest: Path, format_: ExportFormat, out: Path, advance: Callable[[int], None] = lambda _: None) -> int:
    """Writes the faces of a manifest, in its order.

    Args:
        format_: `webdataset` (`faces-000000.tar`, each face a .jpg and a .json) or `imagefolder`
            (`<video_id>/<face_id>.jpg` and `metadata.jsonl`, as Hugging Face reads it).
        out: new or empty folder.
        advance: called with the number of faces done.

    Returns:
        Faces written.

    Raises:
        UsageError: a folder that holds something, or a manifest that cannot be read.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: is not empty; name a new or empty folder")
    faces = _faces(manifest)
    count = 0
    write = {"webdataset": _shards, "imagefolder": _folder}[format_]
    unfinished = out.parent / f"{TEMPORARY}{out.name}"  # the folder appears whole; a killed export is begun anew
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for _ in write(faces, unfinished):
            count += 1
            advance(1)
        unfinished.mkdir(parents=True, exist_ok=True)
        unfinished.replace(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return count


def _faces(manifest: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(picture, what is told of it) of each face; each row group is read once."""
    found = open_manifest(manifest)
    build, cluster = Path(found.build), found.column("cluster").to_numpy()
    for number, name in enumerate(found.files):
        here = np.flatnonzero(found.file == number)
        clusters = dict(zip(found.row[here].tolist(), cluster[here].tolist(), strict=True))
        if not (build / name).is_file():
            raise UsageError(f"{manifest}: its build is not at {build} (no {name})")
        rows = sorted(clusters)
        there = open_parquet(build / name).metadata.num_rows
        if rows[-1] >= there:
            raise UsageError(f"{manifest}: row {rows[-1]} of {name}, which has {there}; cut the manifest again")
        faces = (
            face for table in read_rows(build / name, np.array(rows), [*FIELDS, "image"]) for face in table.to_pylist()
        )
        for row, told in zip(rows, faces, strict=True):
            picture = told.pop("image")["bytes"]
            yield picture, told | {"cluster": clusters[row]}


def _shards(faces: Iterator[tuple[bytes, dict[str, Any]]], out: Path) -> Iterator[None]:
    shard = 0
    face = next(faces, None)
    while face is not None:
        with atomic_write(out / f"faces-{shard:06d}.tar") as temporary, tarfile.open(temporary, "w") as tar:
            for _ in range(SHARD_FACES):
                if face is None:
                    break
                picture, told = face
                _add(tar, f"{told['face_id']}.jpg", picture)
                _add(tar, f"{told['face_id']}.json", json.dumps(told, sort_keys=True).encode())
                yield
                face = next(faces, None)
        shard += 1


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)  # owner and time stay zero, so that equal faces are equal bytes
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def _folder(faces: Iterator[tuple[bytes, dict[str, Any]]], out: Path) -> Iterator[None]:
    with atomic_write(out / "metadata.jsonl") as temporary, temporary.open("w", encoding="utf-8") as lines:
        for picture, told in faces:
            name = f"{told['video_id']}/{told['face_id']}.jpg"
            write_bytes(out / name, picture)
            lines.write(json.dumps({"file_name": name} | told, sort_keys=True) + "\n")
            yield
