from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.dedupe.copied_spans import ENOUGH
from curate.dedupe.motion import FacePath, Faces, Followed, bend, evidence, follow, strayed

STEP = 0.2


def smooth(seed: int, count: int, dimension: int, dense: int = 1, reach: float = 1.0) -> NDArray[np.float32]:
    """A path that wanders around 0 and forgets where it was within a second."""
    steps = np.random.default_rng(seed).normal(size=(5 * count * dense, dimension))
    window = np.hanning(5 * dense + 2)
    path = np.stack([np.convolve(one, window, "same") for one in steps.T], axis=1)[: count * dense]
    return (reach * path / path.std()).astype(np.float32)


def faces(seed: int, count: int = 30, dense: int = 1, of: int | None = None, noise: float = 0.0) -> Faces:
    """Somebody who moves; with `of` as in another video, but for noise."""
    rng = np.random.default_rng(seed)
    rest = np.eye(16, dtype=np.float32)[0]
    vectors = rest + smooth(of or seed, count, 16, dense, 0.05)
    places = (
        np.array([300, 200, 300, 260], np.float32) + smooth((of or seed) + 7, count, 2, dense, 6.0)[:, [0, 1, 0, 1]]
    )
    vectors = vectors + rng.normal(size=vectors.shape) * 0.05 * noise
    places = places + rng.normal(size=places.shape) * 6 * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = STEP / dense * np.arange(count * dense)
    return Faces(times, vectors.astype(np.float32), np.zeros(len(times), np.int64), places.astype(np.float32))


def followed(one: Faces, other: Faces) -> Followed:
    """What the faces of one video meet at the same times of another."""
    return follow(other.paths(), one.times[None, :], one, float(one.times[1]))


def elsewhere(one: Faces, scale: float, x: float, y: float) -> Faces:
    """The same in a frame that was scaled and moved."""
    return Faces(one.times, one.vectors, one.tracks, one.places * np.float32(scale) + np.array([x, y] * 2, np.float32))


SEEDS = st.integers(1, 10_000)


@given(SEEDS, st.floats(0.3, 3), st.floats(-500, 500), st.floats(-500, 500))
@settings(max_examples=20)
def test_neither_scale_nor_place_in_the_frame_says_anything(seed: int, scale: float, x: float, y: float) -> None:
    original, copy = faces(seed), faces(seed + 1, of=seed, noise=0.3)
    moved = elsewhere(copy, scale, x, y)
    assert np.isclose(evidence(copy, followed(copy, original)), evidence(moved, followed(moved, original)), rtol=1e-3)
    first, second = strayed(copy, followed(copy, original)), strayed(moved, followed(moved, original))
    assert first is not None and second is not None and abs(first - second) < 1e-3
    assert abs(bend(copy) - bend(moved)) < 1e-3


@given(SEEDS)
@settings(max_examples=20)
def test_a_copy_is_told_from_another_take(seed: int) -> None:
    original = faces(seed)
    copy, other = faces(seed + 1, of=seed, noise=0.5), faces(seed + 50_000)
    assert evidence(copy, followed(copy, original)) > ENOUGH > evidence(other, followed(other, original))
    near, far = strayed(copy, followed(copy, original)), strayed(other, followed(other, original))
    assert near is not None and far is not None and near < far


def test_more_frames_of_the_same_seconds_say_little_more() -> None:
    said = np.zeros((2, 20))
    for row, dense in enumerate((1, 4)):
        for seed in range(20):
            one, other = faces(seed + 1, dense=dense), faces(seed + 50_000, dense=dense)
            mixed = Faces(one.times, one.vectors, one.tracks, 0.4 * one.places + 0.6 * other.places)
            said[row, seed] = evidence(mixed, followed(mixed, other))
    assert said[1].mean() < 1.5 * said[0].mean()  # four times as much, if each face counted


def test_places_that_are_unknown_leave_faces_to_speak() -> None:
    original, copy = faces(3), faces(4, of=3, noise=0.3)
    blind = [Faces(one.times, one.vectors, one.tracks, one.places[:, :0]) for one in (copy, original)]
    assert strayed(blind[0], followed(*blind)) is None
    assert evidence(blind[0], followed(*blind)) > ENOUGH


def test_a_path_is_met_with_its_place() -> None:
    path = FacePath(
        np.array([0.0, 1.0]), np.eye(2, dtype=np.float32), np.array([[0, 0, 0, 4], [8, 0, 8, 4]], np.float32)
    )
    one = Faces(
        np.array([0.5]), np.full((1, 2), 0.5**0.5, np.float32), np.zeros(1, np.int64), np.zeros((1, 4), np.float32)
    )
    found = follow([path], one.times[None, :], one, 1.0)
    assert np.allclose(found.cosine, 1) and np.allclose(found.places, [4, 0, 4, 4])
