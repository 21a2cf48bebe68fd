from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.dedupe import copies
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


@settings(max_examples=20)
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


def test_a_copy_among_many_copies_and_still_videos_is_found() -> None:
    still = [video(f"still{i}", noisy(np.repeat(walk(50 + i, 1), 300, axis=0), i, 0.005)) for i in range(3)]
    talk = walk(7, 80)
    again = [video(f"copy{i}", noisy(talk, 100 + i)) for i in range(20)]
    found = find_copies([*still, video("talk", talk), *again], 0.9, STEP)
    assert found == {one.video_id: "talk" for one in again}


def test_a_still_that_is_shown_again_is_a_copy_and_another_still_is_none() -> None:
    still, other = np.repeat(walk(1, 1), 40, axis=0), np.repeat(walk(2, 1), 40, axis=0)
    found = find_copies([video("a", still), video("b", other), video("c", noisy(still, 3, 0.005)[5:])], 0.9, STEP)
    assert found == {"c": "a"}


def test_two_people_in_every_frame() -> None:
    left, right = walk(21, 50), walk(22, 50)
    both = np.stack([left, right], axis=1).reshape(-1, left.shape[1])
    times = np.repeat(STEP * np.arange(50), 2)
    original = Sampled("a", "a", times, both.astype(np.float16))
    copy = Sampled("b", "b", times[20:] - times[20], noisy(both, 1)[20:].astype(np.float16))
    one = Sampled("c", "c", STEP * np.arange(50), noisy(right, 2).astype(np.float16))
    assert find_copies([original, copy, one], 0.9, STEP) == {"b": "a", "c": "a"}


@pytest.mark.parametrize("phase", [-0.5, -0.25, 0.25, 0.5])
def test_a_copy_that_is_sampled_off_the_grid_of_the_original(phase: float) -> None:
    fine = walk(31, 400, step=0.06)  # four pictures an interval
    original = fine[::4]
    start = 40 + round(phase * 4)
    copy = noisy(fine[start : start + 160 : 4], 5)
    assert find_copies([video("a", original), video("b", copy)], 0.9, STEP) == {"b": "a"}


FLIP = np.where(np.arange(64) % 2, -1, 1).astype(np.float16)


def flipped(vectors: NDArray[np.float16]) -> NDArray[np.float16]:
    return vectors * FLIP


def moving(seed: int, rest: NDArray[np.float32], frames: int = 30) -> NDArray[np.float32]:
    """A person who moves a little around a rest position: all frames are within twice the angle of it."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(frames, len(rest))) / len(rest) ** 0.5
    path = np.stack([0.2 * np.convolve(one, np.ones(4) / 2, "same") for one in steps.T], axis=1) + rest
    return (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 20), length=st.integers(10, 40))
def test_a_mirrored_copy_is_found_where_it_is_looked_for(seed: int, cut: int, length: int) -> None:
    original, other = walk(seed, 60), walk(seed + 1, 60)
    copy = flipped(noisy(original, seed)[cut : cut + length].astype(np.float16)).astype(np.float32)
    listed = [video("a", original), video("b", other), video("c", copy)]
    assert find_copies(listed, 0.9, STEP, flipped) == {"c": "a"}
    assert find_copies(listed, 0.9, STEP) == {}


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_copy_that_is_aligned_otherwise_moves_as_its_original_and_another_take_does_not(seed: int) -> None:
    rest, error = (walk(seed + i, 1)[0] for i in range(2))
    original = moving(seed, rest)
    off = original + 0.22 * error
    off /= np.linalg.norm(off, axis=1, keepdims=True)
    assert (np.einsum("nd,nd->n", original, off) < 0.985).mean() > 0.5
    takes = [video("a", original), video("b", off), video("c", moving(seed + 7, rest))]
    assert find_copies(takes, 0.985, STEP) == {"b": "a"}


def test_a_longer_cut_is_no_copy_of_a_shorter_one() -> None:
    talk = walk(41, 80)
    assert find_copies([video("a", talk[:40]), video("b", noisy(talk, 1))], 0.9, STEP) == {}


def test_a_copy_by_its_bytes_names_the_first_of_all() -> None:
    talk = walk(5, 40)
    again = noisy(talk, 1)
    chain = [video("a", talk), video("b", again, sha="same"), video("c", again, sha="same")]
    assert find_copies(chain, 0.9, STEP) == {"b": "a", "c": "a"}


def test_long_lists_are_searched_by_cells_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [walk(seed, 60) for seed in range(30)]
    listed = [video(f"talk{seed}", talk) for seed, talk in enumerate(talks)]
    listed += [video(f"copy{seed}", noisy(talks[seed], seed)[seed : seed + 30]) for seed in range(0, 30, 3)]
    exact = find_copies(listed, 0.9, STEP)
    assert exact == {f"copy{seed}": f"talk{seed}" for seed in range(0, 30, 3)}
    monkeypatch.setattr(copies, "BLOCK", 3)
    assert find_copies(listed, 0.9, STEP) == exact
    monkeypatch.setattr(copies, "EXACT_UP_TO", 0)
    assert find_copies(listed, 0.9, STEP) == exact
