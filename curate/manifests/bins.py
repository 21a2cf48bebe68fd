"""Bins that a manifest is spread over: ranges of pose, sharpness, ..., or people, videos, shots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.dedupe.coverage import sizes, within
from curate.dedupe.order import numbered
from curate.errors import UsageError
from curate.manifests.filters import IDENTITY, aligned
from curate.progress import say
from curate.storage.build import Build

DEGREES = 15.0
"""Width of a bin of yaw, pitch or roll."""
PARTS = 10
"""Bins of any other number, of equal width between its 1st and 99th percentile."""
UNKNOWN = -1000
"""Bin of faces without a value."""
ANGLES = ("yaw", "pitch", "roll")
SIZE = "size"
"""The shorter side of a face's box, pixels: no column, but what the report calls size."""
WITHIN_VIDEO = ("shot", "track")
"""Each video counts its own: the first shot of one has nothing to do with the first of another."""


def bins_of(build: Build, ids: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.int64]:
    """int64 [N]: the bin of each face, in build order; a bin is a range (a value) of each of the columns.

    Args:
        names: columns of `faces/*.parquet`; `identity`, the person; `size`, the shorter side of the box.

    Raises:
        UsageError: a name is none of these, or the build has no identity space.
    """
    number = np.zeros(len(ids), np.int64)
    for name in names:
        own = _identities(build, ids) if name == IDENTITY else _column(build, name)
        number = np.unique(np.stack([number, own]), axis=1, return_inverse=True)[1].ravel()
    return number.astype(np.int64)


def _identities(build: Build, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    if IDENTITY not in build.spaces:
        raise UsageError(f"--balance identity: {build.path} has no identity space; balance over columns alone")
    return np.asarray(aligned(build.clusters(IDENTITY), ids)["cluster"].to_numpy(), dtype=np.int64)


def _column(build: Build, name: str) -> NDArray[np.int64]:
    if name == SIZE:
        return _ranges(name, sizes(build.faces(["bbox"])["bbox"]))
    known = build.face_columns(pictures=False)
    column = build.faces([name])[name] if name in known else None
    if column is None or pa.types.is_nested(column.type):
        flat = [c for c in known if not pa.types.is_nested(build.faces([c]).schema.field(c).type)]
        raise UsageError(f"--balance {name}: no such column; there are: {IDENTITY}, {SIZE}, {', '.join(flat)}")
    if pa.types.is_floating(column.type):
        return _ranges(name, column.to_numpy().astype(np.float64))
    if name in WITHIN_VIDEO:
        return within(numbered(build.faces(["video_id"])["video_id"])[1], column.to_numpy())
    coded = column.dictionary_encode().combine_chunks()
    return np.asarray(pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _ranges(name: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranges of a number, NaN in one of its own, which is said."""
    present = ~np.isnan(values)
    if not present.all():
        none = int((~present).sum())
        say(f"--balance {name}: {none:,} of {len(present):,} faces have no {name}; they are a bin of their own")
    found = np.full(len(values), UNKNOWN, np.int64)
    if name in ANGLES:
        found[present] = np.floor(values[present] / DEGREES + 0.5)
    elif present.any():
        low, high = np.quantile(values[present], [0.01, 0.99])
        found[present] = np.clip((values[present] - low) / max(high - low, 1e-12) * PARTS, 0, PARTS - 1)
    return found
