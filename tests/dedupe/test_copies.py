from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.dedupe.copies import Sampled, find_copies

STEP = 0.2


def walk(seed: int, frames: int, step: float = 0.25) -> NDArray[np.float32]:
    """Unit vectors of a head that moves: neighbours in time are alike, moments apart are not."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(frames, 64)) * step, axis=0) + rng.normal(size=64)
    return (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float32)


def video(name: str, vectors: NDArray[np.float32], first: float = 0.0, sha: str = "") -> Sampled:
    times = first + STEP * np.arange(len(vectors))
    return Sampled(name, sha or name, times - times[0] if len(times) else times, vectors.astype(np.float16))


def noisy(vectors: NDArray[np.float32], seed: int, amount: float = 0.02) -> NDArray[np.float32]:
    shaken = vectors + np.random.default_rng(seed).normal(size=vectors.shape) * amount
    return (shaken / np.linalg.norm(shaken, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 20), length=st.integers(10, 40))
def test_a_re_encoded_and_trimmed_copy_is_found_and_others_are_not(seed: int, cut: int, length: int) -> None:
    original, other = walk(seed, 60), walk(seed + 1, 60)
    copy = noisy(original, seed)[cut : cut + length]
    found = find_copies([video("a", original), video("b", other), video("c", copy)], 0.9, STEP)
    assert found == {"c": "a"}


def test_a_copy_of_a_copy_names_the_first(seed: int = 3) -> None:
    original = walk(seed, 40)
    chain = [video(name, noisy(original, i)) for i, name in enumerate("abc")]
    assert find_copies(chain, 0.9, STEP) == {"b": "a", "c": "a"}


def test_the_same_bytes_are_a_copy_even_with_one_face_and_no_faces_are_none() -> None:
    one = walk(5, 1)
    found = find_copies([video("a", one, sha="x"), video("b", one, sha="x"), video("c", one[:0], sha="x")], 0.9, STEP)
    assert found == {"b": "a"}


def test_the_same_person_in_another_order_is_no_copy() -> None:
    original = walk(9, 60)
    shuffled = original[np.random.default_rng(0).permutation(60)]
    assert find_copies([video("a", original), video("b", shuffled)], 0.9, STEP) == {}


def test_a_moment_quoted_in_a_longer_video_does_not_make_it_a_copy() -> None:
    quoted = np.concatenate([walk(1, 10), walk(2, 50)])
    assert find_copies([video("a", walk(1, 10)), video("b", quoted)], 0.9, STEP) == {}


def test_nothing_to_compare() -> None:
    assert find_copies([], 0.9, STEP) == {}
    assert find_copies([video("a", walk(1, 0))], 0.9, STEP) == {}
