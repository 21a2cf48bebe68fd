"""`curate verify`: proves a finished build, or names what is wrong with it.

files      every file is there, with the bytes that `build.json` says; manifests by their index
schemas    every Parquet file has its columns
faces      ids are unique, belong to a video, and have unit vectors in every space
covers     the certificate of every space, from plain products (`curate.manifests.certificate`)
manifests  exact size and redundancy, true rows, clusters of the cover, nested where section "Nesting" says so
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedupe.stored import cover_of
from curate.errors import CurateError, UsageError, one_line
from curate.manifests import decontaminated
from curate.manifests.certificate import complaints, order_of_faces
from curate.manifests.recheck import MOST, Finding, manifests
from curate.storage import schemas
from curate.storage.build import Build, open_build
from curate.storage.documents import encode
from curate.storage.files import digest, seal_holds, sha256_file
from curate.storage.parquet import damage_named, metadata_of, open_parquet

REQUIRED = {"face_id", "video_id", "quality", "vector", "cluster", "representative", "similarity", "file", "row"}
"""Columns that have a value in every row, in whatever file."""


def verify(path: str | Path, say: Callable[[str], object] = lambda _: None) -> list[Finding]:
    """Everything that is wrong with a build; nothing where it is sound.

    Later checks need what earlier ones look at: where a file cannot be read, they are left out.

    Args:
        say: called with what is being checked.

    Raises:
        UsageError: it is no finished build.
    """
    build = open_build(path)
    found: list[Finding] = []
    for name, check in (("files", _files), ("schemas", _schemas), ("faces", _faces)):
        say(f"checking {name}")
        found += check(build)
    if any(finding.check == "schemas" for finding in found):
        return found
    for name, check in (("covers", _covers), ("manifests", manifests)):
        say(f"checking {name}")
        try:
            found += check(build)
        except (CurateError, OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
            if not found:  # damage that no earlier check has named
                found.append(Finding(name, str(build.path), f"cannot be checked: {error}"))
    return found


def _files(build: Build) -> Iterator[Finding]:
    recorded = build.info.files
    there = {file.relative_to(build.path).as_posix(): file for file in _parquet_and_json(build.path)}
    for name in sorted(recorded.keys() - there.keys()):
        if not name.startswith("manifests/"):
            yield Finding("files", name, "is missing")
    for name in sorted(there):
        if name.startswith("manifests/") or name == decontaminated.NAME:
            continue
        if name not in recorded:
            yield Finding("files", name, "is not in build.json")
        elif sha256_file(there[name]) != recorded[name]:
            yield Finding("files", name, "has other bytes than build.json says")
    report = build.path / "report.html"
    if report.is_file() and not seal_holds(report.read_bytes()):
        yield Finding("files", "report.html", "has other bytes than were written")
    text = (build.path / "build.json").read_text(encoding="utf-8")
    if text != encode(build.info.to_dict()):
        yield Finding("files", "build.json", "was edited by hand")
    rest = {key: value for key, value in build.info.to_dict().items() if key != "digest"}
    if build.info.digest != digest(rest):
        yield Finding("files", "build.json", "does not have the digest that it says it has")
    yield from _index(build)


def _parquet_and_json(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        if inside[0] != "work" and file.suffix in (".parquet", ".json") and file.name != "build.json":
            yield file


def _index(build: Build) -> Iterator[Finding]:
    folder = build.path / "manifests"
    try:
        entries = {entry["file"]: entry for entry in build.manifests}
    except (UsageError, KeyError, TypeError):
        yield Finding("files", "manifests/index.json", "is missing or damaged")
        return
    files = {file.name: file for file in folder.glob("*.parquet")}
    for name in sorted(entries.keys() | files.keys()):
        where = f"manifests/{name}"
        if name not in files:
            yield Finding("files", where, "is missing")
        elif name not in entries:
            yield Finding("files", where, "is not in manifests/index.json")
        elif sha256_file(files[name]) != entries[name].get("sha256"):
            yield Finding("files", where, "has other bytes than manifests/index.json says")
        elif entries[name] != {
            "name": files[name].stem,
            "file": name,
            "sha256": entries[name]["sha256"],
            **metadata_of(files[name]),
        }:
            yield Finding("files", "manifests/index.json", f"does not say of {name} what the file says")
    text = (folder / "index.json").read_text(encoding="utf-8")
    if text != encode({"manifests": build.manifests}):
        yield Finding("files", "manifests/index.json", "was edited by hand")


def _schemas(build: Build) -> Iterator[Finding]:
    wanted: list[tuple[Path, pa.Schema]] = [
        (build.path / "videos.parquet", schemas.VIDEOS),
    ]
    wanted += [(file, schemas.FACES) for file in build.face_files()]
    for space in build.spaces:
        info = build.info.spaces.get(space)
        files = sorted((build.path / "embeddings" / space).glob("*.parquet"))
        wanted += [(file, schemas.embeddings(info.dimension) if info else None) for file in files]
        wanted.append((build.path / "clusters" / f"{space}.parquet", schemas.CLUSTERS))
    for name, schema in (("duplicates.parquet", schemas.DUPLICATES), (decontaminated.NAME, schemas.DECONTAMINATION)):
        if (build.path / name).is_file():
            wanted.append((build.path / name, schema))
    wanted += [(file, schemas.MANIFEST) for file in sorted((build.path / "manifests").glob("*.parquet"))]
    for file, schema in wanted:
        where = file.relative_to(build.path).as_posix()
        empty: set[str] = set()  # columns with nulls where there must be none
        try:
            with damage_named(file):
                table = open_parquet(file)
                has = table.schema_arrow
                for group in range(table.num_row_groups):
                    read = table.read_row_group(group, columns=None)  # a page that cannot be decoded raises here
                    empty |= {name for name in REQUIRED & set(read.column_names) if read[name].null_count}
        except (UsageError, OSError) as error:
            yield Finding("schemas", where, f"cannot be read ({one_line(error, 200)})")
            continue
        for name in sorted(empty):
            yield Finding("schemas", where, f"column {name} has rows without a value")
        for field in schema or []:
            if field.name not in has.names:
                yield Finding("schemas", where, f"has no column {field.name}")
            elif has.field(field.name).type != field.type:
                yield Finding(
                    "schemas", where, f"column {field.name} is {has.field(field.name).type}, not {field.type}"
                )


def _faces(build: Build) -> Iterator[Finding]:
    try:
        faces = build.faces(["face_id", "video_id", "quality"])
        videos = build.videos
    except (UsageError, OSError, KeyError, pa.ArrowException):
        return  # the schemas say so
    ids = faces["face_id"]
    for value in _repeated(ids):
        yield Finding("faces", f"faces/ face {value}", "is there more than once")
    counts = {row["values"]: row["counts"] for row in pc.value_counts(faces["video_id"]).to_pylist()}
    recorded = dict(zip(videos["video_id"].to_pylist(), videos["faces"].to_pylist(), strict=True))
    for video in sorted(counts.keys() | recorded.keys(), key=str):
        if video not in recorded:
            yield Finding("faces", f"faces/ video {video}", "is not in videos.parquet")
        elif counts.get(video, 0) != (recorded[video] or 0):
            yield Finding(
                "faces",
                f"videos.parquet video {video}",
                f"has {recorded[video]} faces written down, {counts.get(video, 0)} in faces/",
            )
    quality = faces["quality"].to_numpy()
    for row in np.flatnonzero(~((quality >= 0) & (quality <= 1)))[:MOST].tolist():
        yield Finding("faces", f"faces/ face {ids[row]}", f"has quality {quality[row]}, outside 0 to 1")
    for space in build.spaces:
        yield from _vectors(build, space, ids)


def _repeated(ids: pa.ChunkedArray) -> list[str]:
    counts = pc.value_counts(ids)
    return [row["values"] for row in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()][:MOST]


def _vectors(build: Build, space: str, ids: pa.ChunkedArray) -> Iterator[Finding]:
    where = f"embeddings/{space}"
    try:
        own = build.embeddings(space)["face_id"]
        vectors = build.vectors(space)
    except (UsageError, OSError, KeyError, pa.ArrowException):
        return  # the schemas say so
    if not own.equals(ids):
        yield Finding("faces", where, "does not hold the faces of faces/ in their order")
        return
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    for row in np.flatnonzero(~(np.abs(length - 1) < 5e-3))[:MOST].tolist():
        yield Finding("faces", f"{where} face {ids[row]}", f"has a vector of length {length[row]:.4f}, not 1")


def _covers(build: Build) -> Iterator[Finding]:
    order = order_of_faces(build.faces(["face_id", "quality"]))
    ids = build.faces(["face_id"])["face_id"]
    for space in build.spaces:
        where = f"clusters/{space}.parquet"
        table = build.clusters(space)
        if not table["face_id"].equals(ids):
            yield Finding("covers", where, "does not hold the faces of faces/ in their order")
            continue
        threshold = build.info.spaces[space].threshold
        found = complaints(build.vectors(space), order, threshold, cover_of(table))
        for row, what in itertools.islice(found, MOST):
            yield Finding("covers", f"{where} face {ids[row]}", what)
        counted = build.info.counts.clusters.get(space)
        clusters = pc.sum(table["representative"]).as_py()
        if counted is not None and counted != clusters:
            yield Finding("covers", "build.json", f"counts {counted} clusters in {space}, there are {clusters}")
