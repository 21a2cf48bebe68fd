"""Random keys of faces that depend on `face_id` and seed alone, so that choices do not depend on where rows stand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_keys(ids: pa.ChunkedArray | pa.Array, seed: int) -> NDArray[np.uint64]:
    """uint64 [N]: one key an id, uniformly spread, the same on every machine.

    The bytes of the id, eight at a time, are stirred into the seed by SplitMix64 (Steele et al., OOPSLA 2014).
    """
    state = _stir(np.full(len(ids), np.uint64(seed % 2**64)))
    for word in _words(ids).T:
        state = _stir(state ^ word)
    return state


def _stir(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _words(ids: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """uint64 [N, W]: the ids' UTF-8 bytes, filled up with zeros."""
    if len(ids) == 0:
        return np.empty((0, 0), np.uint64)
    width = -(-pc.max(pc.binary_length(ids)).as_py() // 8) * 8 or 8
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    parts = [np.asarray(chunk.cast(pa.binary()).to_numpy(zero_copy_only=False), dtype=f"S{width}") for chunk in chunks]
    return np.concatenate(parts).view("<u8").reshape(len(ids), width // 8).astype(np.uint64)
