"""Cutting manifests from a build, and the index of those that lie in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.choices import Order
from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.errors import UsageError
from curate.manifests.filters import Filters, aligned, remaining
from curate.manifests.keys import random_keys
from curate.manifests.select import Pool, choose, choose_natural, largest, pool
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.files import sha256_file
from curate.storage.parquet import metadata_of, open_parquet, write_table

NATURAL: Literal["natural"] = "natural"
"""The redundancy of a plain random sample, whatever it turns out to be."""
TOLD = frozenset({"size", "unique", "redundancy", "redundancy_target", "space", "threshold", "seed", "build"})
"""What every manifest says of itself."""

Redundancy = float | Literal["natural"]


@dataclass(frozen=True)
class ManifestInfo:
    """A manifest that was written.

    Attributes:
        path: the file.
        metadata: what its schema says under `curate`: size, unique, redundancy, redundancy_target, space, threshold,
            seed, build, order, and the filters.
    """

    path: Path
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """The faces of a build laid out for cutting manifests: read once, cut often.

    Attributes:
        ids, video_ids: in build order.
        cluster: int64 [N]; `representative`: bool [N]; both of the whole build's cover.
        among: bool [N], faces that pass the filters; None: all.
        common: what all manifests cut from here say of themselves.
    """

    build: Build
    ids: pa.ChunkedArray
    video_ids: pa.ChunkedArray
    cluster: NDArray[np.int64]
    representative: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    among: NDArray[np.bool_] | None
    pool: Pool
    common: dict[str, Any]

    def cut(self, out: Path, size: int | None = None, redundancy: Redundancy = 0.0) -> ManifestInfo:
        """Writes one manifest, whole or not at all; in `BUILD/manifests` the index follows.

        Args:
            out: the Parquet file.
            size: number of faces; None: as many as there are at that redundancy.
            redundancy: share in [0, 1) of faces that repeat another one, or `natural`.

        Raises:
            UsageError: no such manifest exists; says what does.
        """
        return self.write(out, self.choose(size, redundancy), redundancy)

    def write(self, out: Path, rows: NDArray[np.int64], redundancy: Redundancy | None, **told: Any) -> ManifestInfo:
        """Writes the manifest of some faces of the build, whole or not at all.

        Args:
            out: the Parquet file.
            rows: int64, rows of the faces in the build, ascending.
            redundancy: what was asked for; None where it was nothing that redundancy decides.
            told: what else the metadata say.
        """
        unique = len(np.unique(self.cluster[rows]))
        metadata = {
            "size": len(rows),
            "unique": unique,
            "redundancy": 1 - unique / len(rows),
            "redundancy_target": redundancy,
            **self.common,
            **told,
        }
        inside = out.parent.resolve() == (self.build.path / "manifests").resolve()
        if not inside:  # so that a reader finds the pictures
            metadata["build_path"] = Path(os.path.relpath(self.build.path.resolve(), out.parent.resolve())).as_posix()
        write_table(out, self._table(rows), metadata)
        if inside:
            write_index(self.build)
        return ManifestInfo(out, metadata)

    def choose(self, size: int | None, redundancy: Redundancy) -> NDArray[np.int64]:
        """int64 [size]: rows of the faces of a manifest in the build, ascending."""
        if size is not None and size < 1:
            raise UsageError(f"--size {size}: wanted is a number of faces, at least 1")
        if isinstance(redundancy, str):
            faces = len(self.ids) if self.among is None else int(self.among.sum())
            return choose_natural(self.keys, faces if size is None else size, self.among)
        if not 0 <= redundancy < 1:
            raise UsageError(f"--redundancy {redundancy}: wanted is a share from 0 to below 1, or natural")
        return choose(self.pool, size or largest(self.pool, redundancy) or 1, redundancy)

    def _table(self, rows: NDArray[np.int64]) -> pa.Table:
        files = self.build.face_files()
        starts = np.concatenate(([0], np.cumsum([open_parquet(file).metadata.num_rows for file in files])))
        which = np.searchsorted(starts, rows, side="right") - 1
        names = pa.array([file.relative_to(self.build.path).as_posix() for file in files])
        return pa.table(
            [
                self.ids.take(rows),
                self.video_ids.take(rows),
                pa.array(self.cluster[rows]),
                pa.array(self.representative[rows]),
                names.take(pa.array(which)),
                pa.array(rows - starts[which]),
            ],
            schema=schemas.MANIFEST,
        )


def choices(
    build: Build,
    space: str = "appearance",
    threshold: float | None = None,
    seed: int = 0,
    filters: Filters | None = None,
    order: Order = "largest",
    info: dict[str, Any] | None = None,
) -> Choices:
    """Lays out a build for cutting.

    With filters, clusters are those of the whole build's cover, of which only the faces that pass are there; a
    cluster whose representative does not pass is stood for by its best face that does.

    Args:
        threshold: cosine of the cover; None: the build's own. For another one, the cover is made from stored vectors.
        order: which clusters come first; see `curate.manifests.select`.
        info: `build.json`, or as much of it as is known before it is written: `content_hash` and `spaces`.

    Raises:
        UsageError: the space, a filter or the threshold is wrong.
    """
    info = info or build.info
    faces = build.faces(["face_id", "video_id", "quality"])
    ids = faces["face_id"]
    stored = build.clusters(space)  # refuses spaces that are not there
    own = float(info["spaces"][space]["threshold"])
    rank = priority(faces)
    if threshold is None or threshold == own:
        found = aligned(stored, ids)
        cluster = found["cluster"].to_numpy()
        representative = found["representative"].to_numpy(zero_copy_only=False)
    else:
        cluster, representative, _ = cover(build.vectors(space), threshold, rank)
    keys = random_keys(ids, seed)
    among = remaining(build, ids, keys, filters or Filters())
    seat = np.where(representative, np.int64(-1), -rank)
    return Choices(
        build,
        ids,
        faces["video_id"],
        cluster,
        representative,
        keys,
        among,
        pool(cluster, seat, keys, among, order),
        {
            "space": space,
            "threshold": own if threshold is None else threshold,
            "seed": seed,
            "build": info["content_hash"],
            "order": order,
            **(filters or Filters()).summary(),
        },
    )


def cut_asked(
    choices: Choices, sizes: Iterable[int] = (), redundancies: Iterable[float] = ()
) -> tuple[list[ManifestInfo], list[str]]:
    """Writes `unique`, `natural` and each size at each redundancy into `BUILD/manifests`.

    Sizes without redundancies are natural samples; redundancies without sizes are as large as they can be.

    Returns:
        What was written, and one line for each that cannot be had.
    """
    folder = choices.build.path / "manifests"
    counts: list[int | None] = [*sorted(set(sizes))] or [None]
    shares: list[Redundancy] = [*sorted(set(redundancies))] or ([] if counts == [None] else [NATURAL])
    asked: list[tuple[str, int | None, Redundancy]] = [("unique", None, 0.0), ("natural", None, NATURAL)]
    asked += [(_name(size, redundancy), size, redundancy) for size in counts for redundancy in shares]
    written, refused = [], []
    for name, size, redundancy in asked:
        try:
            written.append(choices.cut(folder / f"{name}.parquet", size, redundancy))
        except UsageError as error:
            refused.append(str(error))
    return written, refused


def _name(size: int | None, redundancy: Redundancy) -> str:
    count = "largest" if size is None else f"{size}"
    return f"{count}-natural" if redundancy == NATURAL else f"{count}-r{redundancy:g}"


def those_in(build: Build) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The manifests that lie in a build, by name, each with its metadata; foreign files are passed over."""
    for path in sorted((build.path / "manifests").glob("*.parquet"), key=lambda path: path.stem):
        try:
            told = metadata_of(path)
        except UsageError:  # no Parquet file
            continue
        if told.keys() >= TOLD:
            yield path, told


def write_index(build: Build) -> None:
    """Writes `manifests/index.json` anew from the manifests that are there, by name."""
    entries = [
        {"name": path.stem, "file": path.name, "sha256": sha256_file(path), **told} for path, told in those_in(build)
    ]
    write_json(build.path / "manifests" / "index.json", {"manifests": entries})
