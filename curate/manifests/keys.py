"""Random keys of faces that depend on `face_id` and seed alone, so that choices do not depend on where rows stand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BLOCK = 65536
"""Ids that are taken at once."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_keys(ids: pa.ChunkedArray | pa.Array, seed: int) -> NDArray[np.uint64]:
    """uint64 [N]: one key an id, uniformly spread, the same on every machine.

    The bytes of the id, eight at a time, are stirred into the seed by SplitMix64 (Steele et al., OOPSLA 2014).
    """
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    width = max((_width(chunk) for chunk in chunks), default=0)
    keys = np.empty(len(ids), np.uint64)
    at = 0
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK):
            few = chunk[start : start + BLOCK]
            state = _stir(np.full(len(few), np.uint64(seed % 2**64)))
            for word in _words(few, width).T:
                state = _stir(state ^ word)
            keys[at : at + len(few)] = state
            at += len(few)
    return keys


def _stir(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _width(ids: pa.Array) -> int:
    """Bytes of the longest id, filled up to whole words."""
    return -(-pc.max(pc.binary_length(ids)).as_py() // 8) * 8 or 8 if len(ids) else 0


def _words(ids: pa.Array, width: int) -> NDArray[np.uint64]:
    """uint64 [n, W]: the ids' UTF-8 bytes, filled up with zeros to `width`."""
    text = np.asarray(ids.cast(pa.binary()).to_numpy(zero_copy_only=False), dtype=f"S{width}")
    return text.view("<u8").reshape(len(ids), width // 8).astype(np.uint64)
