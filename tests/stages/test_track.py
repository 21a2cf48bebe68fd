"""Faces linked into tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.records import Detection
from curate.stages.track import MAX_GAP_S, OTHER, SURE, SURE_GAP_S, SURE_SHIFT, Linker


def face(x: float, y: float, side: float = 100) -> Detection:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Detection(box, np.zeros((5, 2), np.float32), 0.9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([1, 2, 5, 30]))
def test_every_face_gets_one_track_of_its_frame_and_shot(counts, fps):
    rng = np.random.default_rng(sum(counts))
    linker, seen, shots_of = Linker(), set(), {}
    for frame, count in enumerate(counts):
        shot = frame // 7
        tracks = linker.link(shot, frame / fps, [face(*rng.uniform(0, 600, 2)) for _ in range(count)])
        assert len(tracks) == count == len(set(tracks))
        new = sorted(set(tracks) - seen)
        assert new == list(range(len(seen), len(seen) + len(new)))
        seen |= set(tracks)
        for track in tracks:
            assert shots_of.setdefault(track, shot) == shot


@pytest.mark.parametrize("fps", [1, 2, 5, 10, 30])
@given(seed=st.integers(0, 2**32 - 1))
def test_slow_people_keep_their_tracks_in_any_order(fps, seed):
    rng = np.random.default_rng(seed)
    places = np.array([[100.0, 200], [400, 220], [700, 180]])
    drift = rng.uniform(-25, 25, (3, 2))  # pixels a second; a face is 100 wide
    linker, first = Linker(), None
    for step in range(3 * fps):
        order = rng.permutation(3)
        now = places + drift * step / fps + rng.normal(0, 1, (3, 2))
        found = linker.link(0, step / fps, [face(*now[i]) for i in order])
        by_person = [found[list(order).index(i)] for i in range(3)]
        first = first or by_person
        assert by_person == first


@pytest.mark.parametrize("fps", [10, 15, 30])
def test_two_people_who_cross_keep_their_tracks(fps):
    linker, expected = Linker(), None
    for step in range(3 * fps):
        t = step / fps
        people = [face(100 + 200 * t, 200), face(700 - 200 * t, 230)]
        found = linker.link(0, t, people)
        expected = expected or found
        assert found == expected


def test_a_short_absence_is_bridged_and_a_long_one_is_not():
    linker = Linker()
    (first,) = linker.link(0, 0.0, [face(100, 100)])
    linker.link(0, MAX_GAP_S * 0.5, [])
    assert linker.link(0, MAX_GAP_S * 0.9, [face(105, 100)]) == [first]
    linker.link(0, MAX_GAP_S * 1.5, [])
    assert linker.link(0, MAX_GAP_S * 2.5, [face(105, 100)]) == [first + 1]


def test_sampling_slower_than_the_gap_still_links():
    linker = Linker()
    assert [linker.link(0, 3.0 * step, [face(100 + step, 100)]) for step in range(4)] == [[0]] * 4


def test_a_cut_ends_all_tracks():
    linker = Linker()
    assert linker.link(0, 0.0, [face(100, 100)]) == [0]
    assert linker.link(1, 0.04, [face(100, 100)]) == [1]


def test_a_face_elsewhere_or_of_another_size_is_another_track():
    linker = Linker()
    assert linker.link(0, 0.0, [face(100, 100)]) == [0]
    assert linker.link(0, 0.1, [face(500, 100)]) == [1]
    assert linker.link(0, 0.2, [face(500, 100, side=300)]) == [2]


SAME = 0.6


def look(distance: float, axis: int = 1) -> np.ndarray:
    """A vector so far from the first axis, where 1 is the threshold, as float32 [1, 8]."""
    cosine = 1 - distance * (1 - SAME)
    vector = np.zeros((1, 8), np.float32)
    vector[0, 0], vector[0, axis] = cosine, np.sqrt(1 - cosine**2)
    return vector


def test_someone_else_in_the_same_place_is_another_track():
    linker = Linker(SAME)
    assert linker.link(0, 0.0, [face(100, 100)], look(0)) == [0]
    assert linker.link(0, 0.1, [face(100, 100)], look(OTHER * 0.95)) == [0]
    assert linker.link(0, 0.2, [face(100, 100)], look(OTHER * 1.5, axis=2)) == [1]


def test_who_surely_looks_the_same_may_go_farther_and_be_away_longer():
    for distance, expected in ((SURE * 0.9, 0), (SURE * 1.1, 1)):
        far, late = Linker(SAME), Linker(SAME)
        far.link(0, 0.0, [face(100, 100)], look(0))
        assert far.link(0, 0.1, [face(100 + 90 * SURE_SHIFT, 100)], look(distance)) == [expected]
        late.link(0, 0.0, [face(100, 100)], look(0))
        late.link(0, MAX_GAP_S, [])
        assert late.link(0, SURE_GAP_S * 0.9, [face(100, 100)], look(distance)) == [expected]
    late = Linker(SAME)
    late.link(0, 0.0, [face(100, 100)], look(0))
    late.link(0, MAX_GAP_S, [])
    assert late.link(0, SURE_GAP_S * 1.1, [face(100, 100)], look(0)) == [1]
    assert late.link(1, SURE_GAP_S * 1.2, [face(100, 100)], look(0)) == [2], "never from one shot to the next"


@given(seed=st.integers(0, 2**32 - 1))
def test_two_who_change_places_between_two_looks_are_told_apart_in_any_order(seed):
    order = np.random.default_rng(seed).permutation(2)
    linker, looks = Linker(SAME), np.concatenate([look(0), look(OTHER * 1.4)])
    first = linker.link(0, 0.0, [face(100, 100), face(180, 100)], looks)
    places = [face(180, 100), face(100, 100)]
    assert linker.link(0, 0.5, [places[i] for i in order], looks[order]) == [first[i] for i in order]
