"""A manifest's faces for other programs: WebDataset shards, a folder of pictures, a Hugging Face data set, clips."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curate import locations
from curate.choices import ExportFormat
from curate.errors import UsageError
from curate.manifests import clips, huggingface, shared
from curate.storage.build import Build
from curate.storage.files import TEMPORARY, atomic_write, storage_error, write_bytes
from curate.storage.manifest import Manifest, ManifestMetadata, open_manifest
from curate.storage.parquet import open_parquet, read_rows

SHARD_FACES = 10_000
"""Faces of a WebDataset shard: about 150 MB."""
VIDEO = ("source", "license")
"""Columns of `videos.parquet` that go with every face."""
Face = tuple[bytes, dict[str, Any]]
"""A picture, and what is known of it."""

LEFT_OUT = ("image", "phash", "first_instant", "last_instant", "scene")
"""Columns of `faces/*.parquet` that no other program needs; all others go with every face."""


def export(manifest: Path, format_: ExportFormat, out: Path, advance: Callable[[int], None] = lambda _: None) -> int:
    """Writes the faces of a manifest, in its order.

    Args:
        format_: `webdataset` (`faces-000000.tar`, each face a .jpg and a .json), `imagefolder`
            (`<video_id>/<face_id>.jpg` and `metadata.jsonl`), `huggingface`, `clips` or `shared` (see the modules
            of `curate.manifests` of that name; `shared` holds no pictures).
            Every face carries its columns of `faces/*.parquet`, its cluster, its source and the licence that it states,
            and the number of its person where the build has an identity space.
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
    found = open_manifest(manifest)
    build = Build(Path(found.build))
    faces = _faces(found, build)
    count = 0
    unfinished = out.parent / f"{TEMPORARY}{out.name}"  # the folder appears whole; a killed export begins again
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for _ in _written(faces, unfinished, format_, found, build):
            count += 1
            advance(1)
        if format_ == "huggingface":
            huggingface.describe(unfinished, build, _metadata(found), out.resolve().name)
        unfinished.mkdir(parents=True, exist_ok=True)
        unfinished.replace(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return count


def closed_sources(manifest: Path) -> tuple[int, int]:
    """Of how many sources of a manifest the link is written without what opens it (`***`), and how many there are."""
    found = open_manifest(manifest)
    used = set(found.column("video_id").to_pylist())
    rows = Build(Path(found.build)).videos.select(["video_id", "source"]).to_pylist()
    sources = [row["source"] for row in rows if row["video_id"] in used]
    return sum(map(locations.lacks_credentials, sources)), len(sources)


def _written(faces: Iterator[Face], out: Path, format_: ExportFormat, found: Manifest, build: Build) -> Iterator[None]:
    if format_ == "huggingface":
        return huggingface.write(faces, out, len(found), _columns(build))
    if format_ == "shared":
        return shared.write(faces, out, build, _metadata(found))
    return {"webdataset": _shards, "imagefolder": _folder, "clips": clips.write}[format_](faces, out)


def _metadata(found: Manifest) -> ManifestMetadata:
    if found.metadata is None:
        raise UsageError(f"{found.path}: does not say how it was cut; cut it with curate manifest")
    return found.metadata


def _columns(build: Build) -> list[str]:
    return [name for name in build.face_columns() if name not in LEFT_OUT]


def _faces(found: Manifest, build: Build) -> Iterator[Face]:
    """(picture, what is known of it) of each face; each row group is read once."""
    cluster = found.column("cluster").to_numpy()
    for name in found.files:
        if not (build.path / name).is_file():
            raise UsageError(f"{found.path}: its build is not at {build.path} (no {name})")
    videos = {row["video_id"]: row for row in build.videos.select(["video_id", *VIDEO]).to_pylist()}
    person = _people(build)
    for number, name in enumerate(found.files):
        here = np.flatnonzero(found.file == number)
        clusters = dict(zip(found.row[here].tolist(), cluster[here].tolist(), strict=True))
        rows = sorted(clusters)
        there = open_parquet(build.path / name).metadata.num_rows
        if rows[-1] >= there:
            raise UsageError(f"{found.path}: row {rows[-1]} of {name}, which has {there}; cut the manifest again")
        columns = [*_columns(build), "image"]
        read = (face for table in read_rows(build.path / name, np.array(rows), columns) for face in table.to_pylist())
        for row, face in zip(rows, read, strict=True):
            picture = face.pop("image")["bytes"]
            about = {column: videos[face["video_id"]][column] for column in VIDEO}
            yield picture, face | about | {"cluster": clusters[row], "identity": person.get(face["face_id"])}


def _people(build: Build) -> dict[str, int]:
    """face_id -> number of the person, as the identity space has it; nothing where there is none."""
    if "identity" not in build.spaces:
        return {}
    table = build.clusters("identity")
    return dict(zip(table["face_id"].to_pylist(), table["cluster"].to_pylist(), strict=True))


def _shards(faces: Iterator[Face], out: Path) -> Iterator[None]:
    shard = 0
    face = next(faces, None)
    while face is not None:
        with atomic_write(out / f"faces-{shard:06d}.tar") as temporary, tarfile.open(temporary, "w") as tar:
            for _ in range(SHARD_FACES):
                if face is None:
                    break
                picture, record = face
                _add(tar, f"{record['face_id']}.jpg", picture)
                _add(tar, f"{record['face_id']}.json", json.dumps(record, sort_keys=True).encode())
                yield
                face = next(faces, None)
        shard += 1


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)  # owner and time stay zero, so that equal faces are equal bytes
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def _folder(faces: Iterator[Face], out: Path) -> Iterator[None]:
    with atomic_write(out / "metadata.jsonl") as temporary, temporary.open("w", encoding="utf-8") as lines:
        for picture, record in faces:
            name = f"{record['video_id']}/{record['face_id']}.jpg"
            write_bytes(out / name, picture)
            lines.write(json.dumps({"file_name": name} | record, sort_keys=True) + "\n")
            yield
