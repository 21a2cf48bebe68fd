"""The nearest evaluation face is the nearest, and strangers are rarely taken for a person."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decontamination import matches
from curate.errors import UsageError


def unit(rng: np.random.Generator, count: int, width: int = 32) -> np.ndarray:
    rows = rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 12))
def test_the_nearest_of_both_sides_is_found_whatever_the_blocks(seed: int, count: int, asked: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = unit(rng, count).astype(np.float16), unit(rng, asked)
    mirrored = queries * np.where(np.arange(32) % 2, -1, 1).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "BLOCK", 7)
        patch.setattr(matches, "QUERIES", 3)
        found = matches.nearest(vectors, queries, mirrored)
    products = vectors.astype(np.float32) @ np.concatenate([queries, mirrored]).T
    assert np.allclose(found.cosine, products.max(axis=1), atol=1e-6)
    assert np.array_equal(found.query + asked * found.mirrored, products.argmax(axis=1))


def test_at_most_one_stranger_is_expected_and_about_so_many_come() -> None:
    rng = np.random.default_rng(1)
    people, asked = unit(rng, 400, 128).astype(np.float16), unit(rng, 500, 128)
    threshold, expected = matches.identity_threshold(people, len(people) * len(asked), 0.2, 0)
    assert expected <= 1.0
    assert (people.astype(np.float32) @ asked.T >= threshold).sum() <= 6
    assert 0.3 < threshold < 0.6
    assert matches.identity_threshold(people, 1000, 0.7, 0)[0] == 0.7
    with pytest.raises(UsageError, match="too few to say"):
        matches.identity_threshold(people[:5], 100, 0.2, 0)
