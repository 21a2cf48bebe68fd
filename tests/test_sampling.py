from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.sampling import divides, sample, subsample

TICKS = st.sampled_from([1 / 90_000, 1 / 1000, 1 / 30, 1e-9])
RATES = st.sampled_from([0.3, 1.0, 2.5, 5.0, 7.3, 20.0, 24.0, 30_000 / 1001, 30.0, 1000.0])


def regular(step: int) -> st.SearchStrategy[list[int]]:
    return st.integers(1, 80).map(lambda count: [k * step for k in range(count)])


GAPS = st.lists(st.integers(0, 40), max_size=60).map(lambda gaps: np.cumsum([0, *gaps]).tolist())
JUMPS = st.lists(st.sampled_from([1, 1, 1, 5_000]), max_size=60).map(lambda gaps: np.cumsum([0, *gaps]).tolist())
FALLS = st.lists(st.integers(0, 300), min_size=1, max_size=60)
TIMES = st.one_of(regular(1), regular(33), regular(417), GAPS, JUMPS, FALLS)
"""Frames' times in ticks: fast, film-like, slow (2.4 fps in milliseconds), variable, jumping, falling."""


def by_word(times: list[float], fps: float, half_tick: float) -> list[int]:
    """The sampling rule, word by word, for times that ascend."""
    taken: list[int] = []
    instant = 0
    while instant / fps <= times[-1] + half_tick:
        first = next(i for i, time in enumerate(times) if time >= instant / fps - half_tick - 1e-7 / fps)
        if first not in taken:
            taken.append(first)
        instant += 1
    return taken


@given(st.lists(st.integers(1, 40), max_size=30), RATES, TICKS)
def test_the_rule_is_what_it_says(gaps: list[int], fps: float, tick: float) -> None:
    times = np.cumsum([0, *gaps]) * tick
    assert sample(times, fps, tick / 2).frames.tolist() == by_word(times.tolist(), fps, tick / 2)


@given(TIMES, RATES, TICKS, st.integers(1, 12))
def test_a_build_sampled_again_is_a_build_at_the_lower_rate(
    ticks: list[int], fps: float, tick: float, steps: int
) -> None:
    times = np.array(ticks) * tick
    build, slower = sample(times, fps, tick / 2), sample(times, fps / steps, tick / 2)
    assert divides(fps / steps, fps)
    again = build.frames[subsample(build.first, build.last, fps, fps / steps)]
    assert again.tolist() == slower.frames.tolist()


@given(TIMES, RATES, TICKS, st.floats(0.05, 1))
def test_a_rate_that_does_not_divide_is_late_by_less_than_a_frame_of_the_build(
    ticks: list[int], fps: float, tick: float, share: float
) -> None:
    times, rate = np.array(ticks) * tick, fps * share
    build = sample(times, fps, tick / 2)
    taken = subsample(build.first, build.last, fps, rate)
    wanted = []
    for instant in range(int(build.last[-1] * share + 1e-6) + 1):
        put_off = int(np.ceil(instant / share - 1e-6))
        wanted += [k for k in range(len(taken)) if build.first[k] <= put_off <= build.last[k]]
    assert np.flatnonzero(taken).tolist() == sorted(set(wanted))


@given(TIMES, RATES, TICKS)
def test_every_instant_belongs_to_one_frame(ticks: list[int], fps: float, tick: float) -> None:
    found = sample(np.array(ticks) * tick, fps, tick / 2)
    assert found.frames[0] == found.first[0] == 0
    assert found.first[1:].tolist() == (found.last[:-1] + 1).tolist() and np.all(found.first <= found.last)


def test_slow_video_at_one_frame_a_second() -> None:
    times = np.arange(144) / 2.4  # 60 s
    assert len(sample(times, 1, 1 / 180_000).frames) == 60
    build = sample(times, 5, 1 / 180_000)
    assert subsample(build.first, build.last, 5, 1).sum() == 60


def test_nothing_is_sampled_of_nothing() -> None:
    assert not len(sample(np.zeros(0), 5, 0.1).frames)


@pytest.mark.parametrize(("rate", "fps", "exact"), [(1, 5, True), (2, 5, False), (5, 5, True), (30, 29.97, False)])
def test_which_rates_divide(rate: float, fps: float, exact: bool) -> None:
    assert divides(rate, fps) == exact
