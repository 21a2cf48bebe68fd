from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.stages.decode_times import NO_TIME, REORDERED, order_by_times, parts, timeline

STEP = 40


@st.composite
def clocks(draw: st.DrawFn) -> list[int]:
    """Times in the order of presentation, as broken streams have them: none, equal, falling, leaping, begun again."""
    ticks, clock = [], draw(st.sampled_from([0, -400, 90_000]))
    for kind in draw(st.lists(st.sampled_from("......--==<>|?"), min_size=1, max_size=60)):
        if kind == "|":
            clock = draw(st.integers(-1_000, 1_000))
        clock += {"=": 0, "<": -70, ">": 100_000, "-": 3 * STEP}.get(kind, STEP)
        ticks.append(NO_TIME if kind == "?" else clock)
    return ticks


@given(clocks(), st.sampled_from([None, 10_000.0]))
def test_every_frame_has_a_time_behind_the_one_before(ticks: list[int], leap: float | None) -> None:
    times = timeline(np.array(ticks), STEP, leap)
    assert len(times) == len(ticks) and times[0] == 0 and np.all(np.diff(times) > 0)


@given(st.lists(st.integers(1, 5_000), max_size=50), st.integers(-1_000, 1_000))
def test_times_that_ascend_are_kept(gaps: list[int], start: int) -> None:
    ticks = np.cumsum([start, *gaps])
    assert timeline(ticks, STEP).tolist() == (ticks - start).tolist()
    found = order_by_times(ticks, parts(ticks, ticks, np.arange(len(ticks)) % 10 == 0))
    assert found is not None and found.tolist() == list(range(len(ticks)))


@given(st.integers(3, 40), st.integers(1, 4), st.integers(-500, 500))
def test_parts_go_on_behind_each_other(length: int, count: int, start: int) -> None:
    ticks = np.tile(start + STEP * np.arange(length), count)
    assert timeline(ticks, STEP).tolist() == (STEP * np.arange(length * count)).tolist()
    keys = np.arange(length * count) % length == 0
    assert [begin for begin, _ in parts(ticks, ticks, keys)] == list(range(0, length * count, length))


@given(st.data(), st.integers(1, 60))
def test_times_that_are_missing_or_repeated_are_found_between_their_neighbours(data: st.DataObject, count: int) -> None:
    whole = STEP * np.arange(count)
    ticks = whole.copy()
    for place in sorted(data.draw(st.sets(st.integers(1, count)))):
        if place < count - 1:
            told = ticks[place - 1] == whole[place - 1]
            ticks[place] = data.draw(st.sampled_from([NO_TIME, ticks[place - 1]])) if told else NO_TIME
    assert np.allclose(timeline(ticks, STEP), whole)
    assert timeline(np.full(count, NO_TIME), STEP).tolist() == whole.tolist()
    first = np.concatenate([np.full(3, NO_TIME), whole])
    assert timeline(first, STEP).tolist() == (STEP * np.arange(count + 3)).tolist()


@pytest.mark.parametrize(("places", "back"), [([5], 30), ([7, 8], 500)])
def test_a_time_out_of_line_does_not_set_the_clock_back(places: list[int], back: int) -> None:
    ticks = STEP * np.arange(20)
    whole = ticks.copy()
    ticks[places] -= back
    times = timeline(ticks, STEP)
    assert times[-1] == whole[-1] and np.allclose(np.delete(times, places), np.delete(whole, places), atol=STEP)


def test_a_leap_is_closed_where_streams_are_made_to_be_cut() -> None:
    ticks = np.concatenate([STEP * np.arange(30), 100_000 + STEP * np.arange(30)])
    assert timeline(ticks, STEP, 10_000.0).tolist() == (STEP * np.arange(60)).tolist()
    assert timeline(ticks, STEP).tolist() == ticks.tolist()


def test_a_key_frame_that_is_shown_early_begins_no_part_while_decoding_goes_on() -> None:
    ticks, decoded_at = np.array([0, 4, 2, 1, 3, 8, 6]) * STEP, np.arange(7) * STEP
    keys = np.isin(np.arange(7), (0, 3, 6))
    assert parts(ticks, decoded_at, keys) == [(0, 7)]
    assert parts(ticks, np.full(7, NO_TIME), keys) != [(0, 7)]


def test_a_slide_that_is_shown_for_long_is_no_leap() -> None:
    ticks = np.array([0, 12_000, 24_000, 36_000])
    assert timeline(ticks, 12_000, 10_000.0).tolist() == ticks.tolist()


@given(st.permutations(range(8)), st.integers(1, 4))
def test_reordered_frames_are_put_in_order(order: list[int], groups: int) -> None:
    ticks = np.concatenate([[0], *(1 + 8 * group + np.array(order) for group in range(groups))])
    found = order_by_times(ticks, [(0, len(ticks))])
    assert found is not None and ticks[found].tolist() == sorted(ticks.tolist())


@pytest.mark.parametrize("ticks", [[0, 2, 1, 1], [0, NO_TIME, 2], [*range(1, REORDERED + 3), 0]])
def test_times_that_do_not_tell_the_order(ticks: list[int]) -> None:
    assert order_by_times(np.array(ticks), [(0, len(ticks))]) is None
