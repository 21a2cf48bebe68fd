"""The order in which faces are visited: better quality first, equal ones by `face_id`. Numbers in place of names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from curate.errors import UsageError

FAR = 4
"""Times as many as there are numbers, up to which one of them counts as not far."""


def ranked(faces: pa.Table) -> NDArray[np.int64]:
    """int64 [faces]: rows in the order in which they are visited.

    Args:
        faces: columns `face_id` and `quality`.
    """
    order = pc.sort_indices(faces, sort_keys=[("quality", "descending"), ("face_id", "ascending")])
    return np.asarray(order.to_numpy(), np.uint64).view(np.int64)


def priority(faces: pa.Table) -> NDArray[np.int64]:
    """int64 [faces], higher for faces that come first; what `curate.cover` takes, of columns as for `ranked`."""
    rank = np.empty(faces.num_rows, dtype=np.int64)
    rank[ranked(faces)] = -np.arange(faces.num_rows, dtype=np.int64)
    return rank


def order_of(priority: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """int64 [count]: rows in the order in which they are visited.

    Raises:
        UsageError: there is not one number a row, or one is NaN.
    """
    if priority is None:
        return np.arange(count, dtype=np.int64)
    values = np.asarray(priority)
    if values.shape != (count,):
        raise UsageError(f"priority: shape {values.shape}; wanted is one number for each of {count} rows")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise UsageError(f"priority: row {int(np.argmax(np.isnan(values)))} is NaN; wanted are numbers")
    reversed_order = np.argsort(values[::-1], kind="stable")  # equal ones then stand from the last row to the first
    return (count - 1 - reversed_order)[::-1].astype(np.int64)


def numbered(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct texts of a column, in the order in which they come, and int64 [N], each row's number among them.

    It goes chunk by chunk, so that no limit of Arrow's offsets is reached, however many rows there are.
    """
    known: dict[str, int] = {}
    numbers = np.empty(len(column), np.int64)
    at = 0
    for chunk in column.chunks:
        own = chunk.dictionary_encode()
        codes = np.array([known.setdefault(text, len(known)) for text in own.dictionary.to_pylist()], np.int64)
        numbers[at : at + len(chunk)] = codes[own.indices.to_numpy()]
        at += len(chunk)
    return list(known), numbers


def compacted(numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [N]: the place of each number among the distinct ones; without sorting where they are not far apart."""
    if not len(numbers) or numbers.min() < 0 or numbers.max() > FAR * len(numbers):
        return np.asarray(np.unique(numbers, return_inverse=True)[1], np.int64)
    there = np.zeros(int(numbers.max()) + 1, np.bool_)
    there[numbers] = True
    return np.asarray((np.cumsum(there) - 1)[numbers], np.int64)
