"""Manifests checked against their definition: exact, true, nested."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.dedupe.covers import cover
from curate.manifests.certificate import complaints, order_of_faces
from curate.manifests.decontaminated import contaminated, decontamination_of
from curate.manifests.select import clusters_wanted
from curate.storage.build import Build
from curate.storage.manifest import ManifestMetadata, missing_keys
from curate.storage.parquet import metadata_of, open_parquet, read_table

MOST = 20
"""Rows of one file that are named one by one."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a build.

    Attributes:
        check: files, schemas, faces, covers or manifests.
        where: the file, relative to the build, with the face where there is one.
        what: what is wrong.
    """

    check: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class _Cut:
    """What one manifest says and holds."""

    where: str
    metadata: ManifestMetadata
    faces: frozenset[int]
    clusters: frozenset[int]


def manifests(build: Build) -> Iterator[Finding]:
    """Everything that is wrong with the manifests of a build."""
    # Text of all faces may be more than 32-bit offsets reach.
    ids = build.faces(["face_id"])["face_id"].cast(pa.large_string()).combine_chunks()
    cuts: list[_Cut] = []
    leaks = decontamination_of(build)
    for file in sorted((build.path / "manifests").glob("*.parquet")):
        where = f"manifests/{file.name}"
        values = metadata_of(file)
        if missing := missing_keys(values):
            yield Finding("manifests", where, f"says nothing of {', '.join(missing)}")
            continue
        metadata = ManifestMetadata.from_dict(values)
        table = read_table(file)
        rows = pc.index_in(table["face_id"].cast(pa.large_string()), value_set=ids)
        for stranger in table["face_id"].filter(pc.is_null(rows))[:MOST].to_pylist():
            yield Finding("manifests", f"{where} face {stranger}", "is not in the build")
        if rows.null_count:
            continue
        cuts.append(_Cut(where, metadata, frozenset(rows.to_pylist()), frozenset(table["cluster"].to_pylist())))
        yield from _numbers(build, cuts[-1], table)
        if leaks is not None and metadata.decontamination is not None:
            for face in table["face_id"].filter(pa.array(contaminated(table["face_id"], leaks[1])))[:MOST].to_pylist():
                yield Finding("manifests", f"{where} face {face}", "matches an evaluation picture")
        yield from _rows(build, where, table, rows.to_numpy())
        yield from _clusters(build, cuts[-1], table, rows.to_numpy())
    yield from _nesting(cuts)


def _numbers(build: Build, cut: _Cut, table: pa.Table) -> Iterator[Finding]:
    metadata, size, unique = cut.metadata, table.num_rows, len(cut.clusters)
    if len(cut.faces) != size:
        yield Finding("manifests", cut.where, f"names {size - len(cut.faces)} faces more than once")
    if (metadata.size, metadata.unique) != (size, unique):
        yield Finding(
            "manifests",
            cut.where,
            f"says {metadata.size} faces in {metadata.unique} clusters, holds {size} in {unique}",
        )
    if size and abs(metadata.redundancy - (1 - unique / size)) > 1e-12:
        yield Finding("manifests", cut.where, f"says redundancy {metadata.redundancy}, has {1 - unique / size}")
    target = metadata.redundancy_target
    if isinstance(target, int | float) and unique != clusters_wanted(size, target):
        yield Finding(
            "manifests",
            cut.where,
            f"has {unique} clusters; {size} faces at redundancy {target} have {clusters_wanted(size, target)}",
        )
    if metadata.build != build.info.content_hash:
        yield Finding("manifests", cut.where, "was cut from another state of the build")


def _rows(build: Build, where: str, table: pa.Table, rows: NDArray[np.int64]) -> Iterator[Finding]:
    faces = build.faces(["face_id", "video_id"])
    files = [file.relative_to(build.path).as_posix() for file in build.face_files()]
    starts = np.cumsum([0, *(open_parquet(file).metadata.num_rows for file in build.face_files())])
    which = np.searchsorted(starts, rows, side="right") - 1
    wrong = (
        (np.asarray(files, dtype=object)[which] != np.asarray(table["file"].to_pylist(), dtype=object))
        | (rows - starts[which] != table["row"].to_numpy())
        | pc.fill_null(pc.not_equal(faces["video_id"].take(rows), table["video_id"]), True).to_numpy()
    )
    for row in np.flatnonzero(wrong)[:MOST].tolist():
        yield Finding(
            "manifests", f"{where} face {table['face_id'][row]}", "is not at that file and row, or not of that video"
        )
    if (np.diff(rows) <= 0).any():
        yield Finding("manifests", where, "is not in build order")


def _clusters(build: Build, cut: _Cut, table: pa.Table, rows: NDArray[np.int64]) -> Iterator[Finding]:
    space, threshold = cut.metadata.space, cut.metadata.threshold
    if threshold == build.info.spaces[space].threshold:
        clusters = build.clusters(space)
        cluster, representative = (
            clusters["cluster"].to_numpy(),
            clusters["representative"].to_numpy(zero_copy_only=False),
        )
    else:  # no table of this cover is stored: make it, and prove it before it proves anything
        order = order_of_faces(build.faces(["face_id", "quality"]))
        priority = np.empty(len(order))
        priority[order] = -np.arange(len(order))
        made = cover(build.vectors(space), threshold, priority)
        for row, what in itertools.islice(complaints(build.vectors(space), order, threshold, made), MOST):
            yield Finding("manifests", f"{cut.where} row {row} of the cover at {threshold}", what)
        cluster, representative = made.cluster, made.representative
    wrong = (cluster[rows] != table["cluster"].to_numpy()) | (
        representative[rows] != table["representative"].to_numpy(zero_copy_only=False)
    )
    for row in np.flatnonzero(wrong)[:MOST].tolist():
        yield Finding(
            "manifests",
            f"{cut.where} face {table['face_id'][row]}",
            "has another cluster or representative in the cover",
        )


def _nesting(cuts: list[_Cut]) -> Iterator[Finding]:
    """Of manifests that differ in size alone, or in redundancy alone, the one must lie in the other."""

    def common(cut: _Cut) -> ManifestMetadata:
        return replace(cut.metadata, size=0, unique=0, redundancy=0.0, redundancy_target=None)

    for a, b in itertools.combinations(sorted(cuts, key=lambda cut: (cut.metadata.size, cut.where)), 2):
        if common(a) != common(b):
            continue
        targets = a.metadata.redundancy_target, b.metadata.redundancy_target
        if targets[0] == targets[1] and not a.faces <= b.faces:
            yield Finding("manifests", a.where, f"is not a subset of {b.where}, which is larger at the same redundancy")
        if (
            a.metadata.size == b.metadata.size
            and isinstance(targets[0], int | float)
            and isinstance(targets[1], int | float)
        ):
            more, less = (a, b) if targets[0] > targets[1] else (b, a)
            if not more.clusters <= less.clusters:
                yield Finding(
                    "manifests", more.where, f"has clusters that {less.where}, which is less redundant, has not"
                )
