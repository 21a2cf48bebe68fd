"""Frames are drawn: a wall, and a blot that wanders before it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.dedupe import scene
from curate.dedupe.copied_spans import SPEEDS, Search, copied_spans
from curate.dedupe.motion import Line
from curate.dedupe.scene import Scenes
from tests.dedupe.test_motion import STEP, faces, smooth

SIDE = 16
WALL = np.random.default_rng(0).uniform(40, 200, (SIDE, SIDE))


def drawn(seed: int, count: int = 20, noise: float = 0.0, times: NDArray[np.float64] | None = None) -> Scenes:
    """Somebody who moves before the wall; those of one seed move alike."""
    dense = 10
    path = 8 + 2.5 * smooth(seed, 60, 2, dense)
    at = STEP * np.arange(count) if times is None else times
    middle = path[np.round(at / STEP * dense).astype(int)]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = (rows - middle[:, 0, None, None]) ** 2 + (columns - middle[:, 1, None, None]) ** 2
    seen = WALL + 60 * np.exp(-away / 8) + np.random.default_rng(seed + 1).normal(size=away.shape) * noise
    return Scenes.of(at, np.clip(seen, 0, 255).round().astype(np.uint8).reshape(len(at), -1))


def test_faces_of_one_frame_count_once() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (4, SIDE * SIDE), np.uint8)
    assert Scenes.of(np.array([0.0, 0.0, 0.2, 0.4]), stored).views.shape == (3, SIDE * SIDE)


@pytest.mark.parametrize(("speed", "offset"), [(1.0, 1.3), (1.25, 0.4), (0.8, 2.0)])
def test_the_line_of_a_copy_is_found(speed: float, offset: float) -> None:
    original, copy = drawn(3, 40), drawn(3, times=speed * STEP * np.arange(16) + offset, noise=3)
    copy = Scenes(STEP * np.arange(16), copy.views)
    fit = scene.found(copy, original, SPEEDS, STEP)
    assert fit is not None and fit.framed_alike and fit.sharp and fit.nats > 6
    assert (
        abs(fit.line.speed - speed) < 0.06 and abs(fit.line.at(copy.times[8:9])[0] - (speed * 8 * STEP + offset)) < 0.1
    )
    assert scene.found(copy, original.mirrored(), SPEEDS, STEP) is None


def test_another_take_before_the_same_wall_is_no_copy() -> None:
    for seed in range(10, 20):
        fit = scene.found(drawn(seed), drawn(seed + 100, 40), SPEEDS, STEP)
        assert fit is None or not fit.sharp or fit.nats < 6


def test_stills_fades_and_black_frames_say_nothing() -> None:
    times, rng = STEP * np.arange(20), np.random.default_rng(0)
    fade = np.linspace(1, 0, 20)[:, None] * WALL.reshape(1, -1)
    for shown in (np.tile(WALL.reshape(1, -1), (20, 1)), fade, np.zeros((20, SIDE * SIDE))):
        one, other = (
            Scenes.of(times, np.clip(shown + rng.normal(size=shown.shape), 0, 255).round().astype(np.uint8))
            for _ in range(2)
        )
        fit = scene.along(one, other, Line(1.0, 0.0), 0.0, 4.0, STEP)
        assert fit is None or fit.nats < 1


def test_a_cut_at_the_same_moment_says_nothing() -> None:
    def film(seed: int) -> Scenes:
        talk = drawn(seed)
        return Scenes(talk.times, np.concatenate([np.roll(talk.views[:10], 5, axis=1), talk.views[10:]]))

    fit = scene.along(film(5), film(6), Line(1.0, 0.0), 0.0, 4.0, STEP)
    assert fit is not None and fit.nats < 3


def test_frames_find_a_copy_whose_faces_are_noise_and_deny_one_whose_frames_do_other_things() -> None:
    search, count = Search(STEP, 0.985), 16
    original, coarse, fine = faces(7, count), faces(8, count, of=7, noise=1.2), faces(8, count, of=7, noise=0.4)
    everything = np.ones(count, np.bool_)
    assert copied_spans(coarse, original, search, everything) == []
    found = copied_spans(coarse, original, search, everything, (drawn(3, count, 3), drawn(3, count)))
    assert [span.faces for span in found] == [count] and found[0].scene is not None and found[0].scene > 0.9
    assert copied_spans(fine, original, search, everything)
    assert copied_spans(fine, original, search, everything, (drawn(4, count), drawn(3, count))) == []
    cropped = Scenes(original.times, np.roll(drawn(4, count).views, 37, axis=1))  # framed otherwise: faces alone tell
    assert copied_spans(fine, original, search, everything, (cropped, drawn(3, count)))
