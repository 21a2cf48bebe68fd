"""The faces of a build laid out for cutting manifests: read once, cut often."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import progress
from curate.choices import Order
from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.errors import UsageError
from curate.manifests.bins import bins_of
from curate.manifests.decontaminated import contaminated, decontamination_of
from curate.manifests.filters import Filters, aligned, remaining
from curate.manifests.index import write_index
from curate.manifests.keys import random_keys
from curate.manifests.select import Layout, choose, choose_natural, largest, lay_out
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.info import BuildState
from curate.storage.manifest import ManifestMetadata, Redundancy
from curate.storage.parquet import open_parquet, take_rows, write_batches
from curate.storage.remote import url_of

ROWS = 1 << 20
"""Rows of a manifest that are written at once, as a row group."""


@dataclass(frozen=True)
class Criteria:
    """By what the manifests of a build are cut.

    Attributes:
        threshold: cosine of the cover; None: the build's own. For another one, the cover is made from stored vectors.
        seed: of the random choices.
        order: which clusters come first; see `curate.manifests.select`.
        filters: which faces may be chosen.
        balance: columns (or `identity`) over whose bins clusters are spread; see `curate.manifests.bins`.
    """

    space: str = "appearance"
    threshold: float | None = None
    seed: int = 0
    order: Order = "largest"
    filters: Filters = field(default_factory=Filters)
    balance: tuple[str, ...] = ()


@dataclass(frozen=True)
class ManifestInfo:
    """A manifest that was written.

    Attributes:
        path: the file.
        metadata: what it says of itself.
    """

    path: Path
    metadata: ManifestMetadata


@dataclass(frozen=True)
class Candidates:
    """The faces of a build that manifests are cut from.

    Attributes:
        ids, video_ids: in build order.
        cluster: int64 [N]; `representative`: bool [N]; both of the whole build's cover.
        keys: uint64 [N], random keys of the faces.
        among: bool [N], faces that pass the filters; None: all.
        layout: the faces that pass, cluster by cluster.
        threshold: cosine of the cover.
        content_hash: of the build.
        decontamination: what the build was compared with, as metadata say it; matching faces are not in `among`.
        bins: int64 [N], bin of each face, over which clusters are spread; None: they are not.
    """

    build: Build
    criteria: Criteria
    ids: pa.ChunkedArray
    video_ids: pa.ChunkedArray
    cluster: NDArray[np.int64]
    representative: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    among: NDArray[np.bool_] | None
    layout: Layout
    threshold: float
    content_hash: str
    decontamination: dict[str, Any] | None = None
    bins: NDArray[np.int64] | None = None

    def cut(self, out: Path, size: int | None = None, redundancy: Redundancy = 0.0) -> ManifestInfo:
        """Writes one manifest, whole or not at all; the index of `BUILD/manifests` is brought up to date.

        Args:
            out: the Parquet file.
            size: number of faces; None: as many as there are at that redundancy.
            redundancy: share in [0, 1) of faces that repeat another one, or `natural`.

        Raises:
            UsageError: no such manifest exists; says what does.
        """
        info = self.write(out, self.choose(size, redundancy), redundancy)
        if self.bins is not None:
            progress.say(
                f"--balance {','.join(self.criteria.balance)}: {self._spread(self.bins, info.metadata.unique)}"
            )
        return info

    def _spread(self, bins: NDArray[np.int64], clusters: int) -> str:
        """How evenly the first clusters are spread over the bins, in words."""
        of_cluster = np.unique(bins[self.layout.rows[self.layout.starts[:-1]]], return_inverse=True)[1]
        there, taken = np.bincount(of_cluster), np.bincount(of_cluster[:clusters], minlength=of_cluster.max() + 1)
        used_up, open_ = taken == there, taken[taken < there]
        said = [f"{len(there):,} bins"]
        if used_up.any():
            said.append(f"{int(used_up.sum()):,} gave all their clusters ({_span(taken[used_up])})")
        if open_.size:
            said.append(f"{'the others' if used_up.any() else 'all'} {_span(open_)} each")
        return ", ".join(said)

    def write(
        self, out: Path, rows: NDArray[np.int64], redundancy: Redundancy | None, rule: str | None = None
    ) -> ManifestInfo:
        """Writes the manifest of some faces of the build, whole or not at all.

        Args:
            out: the Parquet file.
            rows: int64, rows of the faces in the build, ascending.
            redundancy: what was asked for; None where redundancy decided nothing.
            rule: how a study chose the faces, or `shared`.
        """
        unique = len(np.unique(self.cluster[rows]))
        inside = out.parent.resolve() == (self.build.path / "manifests").resolve()
        # A manifest that lies elsewhere says where the pictures are.
        away = None if inside else url_of(self.build.path) or _relative(self.build.path, out.parent)
        metadata = ManifestMetadata(
            size=len(rows),
            unique=unique,
            redundancy=1 - unique / len(rows),
            redundancy_target=redundancy,
            space=self.criteria.space,
            threshold=self.threshold,
            seed=self.criteria.seed,
            build=self.content_hash,
            order=self.criteria.order,
            balance=",".join(self.criteria.balance) or None,
            build_path=away,
            rule=rule,
            decontamination=self.decontamination,
            **self.criteria.filters.summary(),
        )
        starts = np.concatenate(([0], np.cumsum([open_parquet(file).metadata.num_rows for file in self._files])))
        tables = (self._table(rows[start : start + ROWS], starts) for start in range(0, len(rows), ROWS))
        write_batches(out, schemas.MANIFEST, tables, metadata.to_dict())
        if inside:
            write_index(self.build)
        return ManifestInfo(out, metadata)

    def largest(self, redundancy: float) -> int | None:
        """The most faces that a manifest of that redundancy can hold; None where it cannot be had at all."""
        return largest(self.layout, redundancy) or None

    def choose(self, size: int | None, redundancy: Redundancy) -> NDArray[np.int64]:
        """int64 [size]: rows of the faces of a manifest in the build, ascending."""
        if size is not None and size < 1:
            raise UsageError(f"--size {size}: wanted is a number of faces, at least 1")
        if isinstance(redundancy, str):
            if self.criteria.balance:
                raise UsageError("--balance: a natural sample is not balanced; give --redundancy, for example 0")
            faces = len(self.ids) if self.among is None else int(self.among.sum())
            return choose_natural(self.keys, faces if size is None else size, self.among)
        if not 0 <= redundancy < 1:
            raise UsageError(f"--redundancy {redundancy}: wanted is a share from 0 to below 1, or natural")
        return choose(self.layout, size or largest(self.layout, redundancy) or 1, redundancy)

    @property
    def _files(self) -> list[Path]:
        return self.build.face_files()

    def _table(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> pa.Table:
        """Some rows of the manifest; `starts` of the files of faces, in the build."""
        which = np.searchsorted(starts, rows, side="right") - 1
        names = pa.array([file.relative_to(self.build.path).as_posix() for file in self._files])
        return pa.table(
            [
                take_rows(self.ids, rows),
                take_rows(self.video_ids, rows),
                pa.array(self.cluster[rows]),
                pa.array(self.representative[rows]),
                names.take(pa.array(which)),
                pa.array(rows - starts[which]),
            ],
            schema=schemas.MANIFEST,
        )


def _span(counts: NDArray[np.int64]) -> str:
    """`3`, or `3 to 5`."""
    return f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def candidates(build: Build, criteria: Criteria | None = None, state: BuildState | None = None) -> Candidates:
    """Lays out a build for cutting.

    With filters, clusters are those of the whole build's cover, of which only the faces that pass are there; a
    cluster whose representative does not pass is stood for by its best face that does.

    Args:
        criteria: by what; None: the defaults.
        state: of the build; None: as `build.json` says.

    Raises:
        UsageError: the space, a filter or the threshold is wrong.
    """
    criteria = criteria or Criteria()
    state = state or build.info
    faces = build.faces(["face_id", "video_id", "quality"])
    ids = faces["face_id"]
    stored = build.clusters(criteria.space)  # refuses spaces that are not there
    own = state.spaces[criteria.space].threshold
    threshold = own if criteria.threshold is None else criteria.threshold
    rank = priority(faces)
    if threshold == own:
        found = aligned(stored, ids)
        cluster = found["cluster"].to_numpy()
        representative = found["representative"].to_numpy(zero_copy_only=False)
    else:
        cluster, representative, _ = cover(build.vectors(criteria.space), threshold, rank)
    keys = random_keys(ids, criteria.seed)
    among, checked = _clean(build, ids, remaining(build, ids, keys, criteria.filters), state.content_hash)
    bins = bins_of(build, ids, criteria.balance) if criteria.balance else None
    anchor_rank = np.where(representative, np.int64(-1), -rank)
    return Candidates(
        build,
        criteria,
        ids,
        faces["video_id"],
        cluster,
        representative,
        keys,
        among,
        lay_out(cluster, anchor_rank, keys, among, criteria.order, bins),
        threshold,
        state.content_hash,
        checked,
        bins,
    )


def _clean(
    build: Build, ids: pa.ChunkedArray, among: NDArray[np.bool_] | None, content_hash: str
) -> tuple[NDArray[np.bool_] | None, dict[str, Any] | None]:
    """The faces that pass and match no evaluation picture, and what metadata say of that."""
    found = decontamination_of(build)
    if found is None:
        return among, None
    record, faces = found
    if record.build != content_hash:
        progress.say(f"{build.path}: has changed since curate decontaminate; run it again to compare what is new")
    matching = contaminated(ids, faces)
    if matching.any():
        progress.say(f"{int(matching.sum()):,} of {len(matching):,} faces match evaluation pictures and are left out")
    clean = ~matching if among is None else among & ~matching
    if not clean.any():
        raise UsageError(f"{build.path}: every face that passes matches an evaluation picture; loosen the filters")
    return clean, {**record.to_dict(), "left_out": int(matching.sum())}
