from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from curate.recipe import Shots
from curate.records import Frame, Pixels
from curate.stages.shots import mark

PICTURES = [np.ascontiguousarray(picture[:240, :320]) for picture in (data.astronaut(), data.coffee(), data.chelsea())]


def frames(pictures: list[Pixels], fps: float = 5.0) -> Iterator[Frame]:
    return (Frame(i, i / fps, picture) for i, picture in enumerate(pictures))


def shots(pictures: list[Pixels], fps: float = 5.0) -> list[int]:
    return [frame.shot for frame in mark(frames(pictures, fps), Shots())]


@given(st.lists(st.integers(3, 9), min_size=1, max_size=5), st.sampled_from([0.5, 2.0, 5.0, 25.0]))
@settings(max_examples=20)
def test_every_cut_between_still_pictures_is_found(lengths: list[int], fps: float) -> None:
    expected = [shot for shot, length in enumerate(lengths) for _ in range(length)]
    assert shots([PICTURES[shot % 3] for shot in expected], fps) == expected


@pytest.mark.parametrize("lengths", [[1, 8], [2, 8], [8, 1], [8, 2], [1, 1], [1]])
def test_cuts_near_the_ends_are_found(lengths: list[int]) -> None:
    expected = [shot for shot, length in enumerate(lengths) for _ in range(length)]
    assert shots([PICTURES[shot] for shot in expected]) == expected


def test_frames_pass_in_order_and_unchanged() -> None:
    given_frames = list(frames([PICTURES[0], PICTURES[1]] * 4))
    marked = list(mark(iter(given_frames), Shots()))
    assert [frame.index for frame in marked] == [frame.index for frame in given_frames]
    assert all(a.pixels is b.pixels for a, b in zip(marked, given_frames, strict=True))
    assert all(0 <= b.shot - a.shot <= 1 for a, b in pairwise(marked))


def test_no_frames_give_no_frames() -> None:
    assert list(mark(iter([]), Shots())) == []


def test_a_fast_pan_is_one_shot() -> None:
    wide = cv2.resize(data.astronaut(), (1600, 1600))
    assert set(shots([wide[400:640, 40 * i : 40 * i + 320] for i in range(30)])) == {0}


def test_a_flash_is_no_cut() -> None:
    white = np.full_like(PICTURES[0], 255)
    assert set(shots([PICTURES[0]] * 6 + [white] + [PICTURES[0]] * 6)) == {0}


def test_a_short_shot_at_a_low_rate_is_no_flash() -> None:
    assert shots([PICTURES[0]] * 6 + [PICTURES[1]] + [PICTURES[0]] * 6, fps=0.5) == [0] * 6 + [1] + [2] * 6


def test_a_slow_fade_is_at_most_one_cut() -> None:
    fade = [cv2.addWeighted(PICTURES[0], 1 - a, PICTURES[1], a, 0) for a in np.linspace(0, 1, 8)]
    assert max(shots([PICTURES[0]] * 5 + fade + [PICTURES[1]] * 5)) <= 1


def test_few_frames_are_held_back() -> None:
    taken = []

    def counted() -> Iterator[Frame]:
        for frame in frames([PICTURES[0]] * 50):
            taken.append(frame.index)
            yield frame

    for frame in mark(counted(), Shots()):
        assert len(taken) - frame.index <= 3 or len(taken) == 50


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (2, 3)])
def test_tiny_and_thin_frames(size: tuple[int, int]) -> None:
    assert shots([np.zeros((*size, 3), np.uint8)] * 7) == [0] * 7
