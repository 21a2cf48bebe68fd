"""Which faces a manifest may be chosen from: an SQL condition, a limit an identity, identities to stay away from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.dedupe.curve import sampled_at
from curate.errors import UsageError, one_line
from curate.storage.build import Build
from curate.storage.parquet import named_in, read_table, take_rows

IDENTITY = "identity"
"""The space whose clusters stand for persons."""


@dataclass(frozen=True)
class Filters:
    """What a manifest leaves out; None: nothing for that reason.

    Attributes:
        where: a DuckDB condition over the columns of `faces/*.parquet` (not `image`) and, where names do not clash,
            of `videos.parquet`; `v.NAME` always is the video's. Faces for which it is not true are left out.
        max_per_identity: at most so many faces of an identity, drawn by the faces' random keys.
        identities_not_in: a manifest of the same build; faces of any identity in it are left out.
        fps: only faces that the build would have, had it looked at so many frames a second; exact where that divides
            the build's own rate, else each instant is put off to the build's next (see `sampling.subsample`).
    """

    where: str | None = None
    max_per_identity: int | None = None
    identities_not_in: Path | None = None
    fps: float | None = None

    def summary(self) -> dict[str, Any]:
        """What a manifest's metadata say of them; nothing where there are none."""
        values = {
            "where": self.where,
            "max_per_identity": self.max_per_identity,
            "identities_not_in": self.identities_not_in and self.identities_not_in.name,
            "fps": self.fps,
        }
        return {name: value for name, value in values.items() if value is not None}


def remaining(
    build: Build, ids: pa.ChunkedArray, keys: NDArray[np.uint64], filters: Filters
) -> NDArray[np.bool_] | None:
    """bool [N]: faces that pass; None where there is no filter.

    `max_per_identity` counts the faces that pass the others.

    Args:
        ids: `face_id` in build order.
        keys: uint64 [N], random keys of the faces.

    Raises:
        UsageError: the condition is no condition, a manifest is not of this build, there is no identity space, or
            nothing passes.
    """
    if not filters.summary():
        return None
    passes = np.ones(len(ids), np.bool_)
    if filters.where is not None:
        passes &= matching(build, filters.where)
    if filters.fps is not None:
        passes &= _at_rate(build, filters.fps)
    if filters.identities_not_in is not None or filters.max_per_identity is not None:
        identity = _identities(build, ids)
        if filters.identities_not_in is not None:
            passes &= ~np.isin(identity, identity[_rows_of(filters.identities_not_in, ids)])
        if filters.max_per_identity is not None:
            passes &= _first_of_each(identity, keys, passes, filters.max_per_identity)
    if not passes.any():
        wanted = ", ".join(f"{name} = {value}" for name, value in filters.summary().items())
        raise UsageError(f"no face passes {wanted}; loosen it")
    return passes


def matching(build: Build, where: str) -> NDArray[np.bool_]:
    """bool [N]: faces for which an SQL condition is true.

    The condition runs in a DuckDB of its own that holds copies of two tables and cannot reach files or the network.

    Raises:
        UsageError: it is no valid condition over the columns there are.
    """
    mentioned = where.lower()
    columns = [c for c in build.face_columns(pictures=False) if c == "video_id" or c.lower() in mentioned]
    faces = build.faces(columns)
    faces = faces.append_column("row of face", pa.array(np.arange(faces.num_rows, dtype=np.int64)))
    import duckdb  # nobody else waits for it

    videos = _for_duckdb(build.videos)
    own = [c for c in videos.column_names if c.lower() not in {name.lower() for name in faces.column_names}]
    plain = ", ".join(["f.*", *(f'v."{c.replace(chr(34), chr(34) * 2)}"' for c in own)])
    query = (
        f'SELECT "row of face" FROM (SELECT {plain}, v FROM faces f JOIN videos v ON f.video_id = v.video_id) '  # noqa: S608 - a sandbox
        f"WHERE (\n{where}\n)"
    )
    with duckdb.connect(":memory:") as connection:
        connection.register("faces", faces)
        connection.register("videos", videos)
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            if len(connection.extract_statements(query)) != 1:
                raise UsageError(f"--where {one_line(where)}: give one condition, without semicolons")
            rows = connection.execute(query).fetchnumpy()["row of face"]
        except duckdb.Error as error:
            names = ", ".join([*build.face_columns(pictures=False), *own])
            raise UsageError(
                f"--where {one_line(where, 80)}: {one_line(error, 160)} (columns: {one_line(names, 400)})"
            ) from None
    passes = np.zeros(faces.num_rows, np.bool_)
    passes[np.asarray(rows, dtype=np.int64)] = True
    return passes


def _for_duckdb(table: pa.Table) -> pa.Table:
    """`table`, with columns of types that DuckDB does not know as the nearest that it does."""
    for place, field in enumerate(table.schema):
        if pa.types.is_float16(field.type):
            table = table.set_column(place, field.name, pc.cast(table[field.name], pa.float32()))
        elif pa.types.is_decimal256(field.type):
            table = table.set_column(place, field.name, pc.cast(table[field.name], pa.string()))
    return table


def _at_rate(build: Build, rate: float) -> NDArray[np.bool_]:
    """bool [N]: faces that a build at a lower sampling rate would have."""
    own = float(build.info.recipe["fps"])
    if rate > own:
        raise UsageError(
            f"fps = {rate:g}: {build.path} was sampled at {own:g} frames a second; at most that can be had"
        )
    if rate == own:
        return np.ones(len(build.faces(["time_s"])), np.bool_)
    if "first_instant" not in build.face_columns(pictures=False):
        raise UsageError(
            f"{build.path}: was made before faces kept the instants that they were sampled for, so fps = {rate:g} "
            "cannot be had; run the same curate build again"
        )
    return sampled_at(build.faces(["first_instant", "last_instant"]), rate, own)


def _identities(build: Build, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    if IDENTITY not in build.spaces:
        raise UsageError(
            f"{build.path}: has no identity space, so --max-per-identity and --identities-not-in cannot be had; "
            "build with --faces insightface and a pack that has a recognition model, or with dlib"
        )
    return np.asarray(aligned(build.clusters(IDENTITY), ids)["cluster"].to_numpy(), dtype=np.int64)


def aligned(table: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """`table`, one row a face, in the order of `ids`.

    Raises:
        UsageError: it has not exactly these faces.
    """
    if table["face_id"].equals(ids):
        return table
    # Text of all faces may be more than 32-bit offsets reach.
    there = table["face_id"].cast(pa.large_string()).combine_chunks()
    place = pc.index_in(ids.cast(pa.large_string()), value_set=there)
    if place.null_count or table.num_rows != len(ids):
        raise UsageError("faces and clusters do not name the same face_ids; run the same curate build again")
    return table.take(place)


def _rows_of(manifest: Path, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    try:
        named = read_table(manifest, ["face_id"])["face_id"]
    except (UsageError, KeyError):
        raise UsageError(
            f"--identities-not-in {manifest}: cannot be read as a manifest (Parquet with face_id)"
        ) from None
    rows = np.flatnonzero(named_in(ids, named))
    strangers = np.flatnonzero(~named_in(named, pa.chunked_array([take_rows(ids, rows)])))
    if len(strangers):
        stranger = named[int(strangers[0])]
        raise UsageError(
            f"--identities-not-in {manifest}: face {one_line(stranger, 80)} is not in this build; "
            "name a manifest that was cut from it"
        )
    return rows


def _first_of_each(
    group: NDArray[np.int64], keys: NDArray[np.uint64], passes: NDArray[np.bool_], limit: int
) -> NDArray[np.bool_]:
    """bool [N]: of the rows that pass, the `limit` with the smallest keys in each group."""
    rows = np.flatnonzero(passes)
    rows = rows[np.lexsort((keys[rows], group[rows]))]
    begins = np.flatnonzero(np.diff(group[rows], prepend=group[rows[:1]] - 1)) if len(rows) else rows
    place = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
    first = np.zeros(len(passes), np.bool_)
    first[rows[place < limit]] = True
    return first
