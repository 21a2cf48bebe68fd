"""Pose, expression and gaze of crops, by which two pictures of a person are known to differ."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.calibration import expression
from curate.stages import align
from curate.stages.backend_dlib import landmarks_68
from tests.calibration.test_edits import LANDMARKS, MARGIN, astronaut


def test_a_mouth_that_opens_is_measured():
    frame = astronaut()
    crops = np.stack([align.align(frame, LANDMARKS, 224, MARGIN)] * 2)
    found = expression.measures(crops, MARGIN)
    assert set(found) == set(expression.CHANGED)
    same, other = np.array([0]), np.array([1])
    assert not any(changed[0] for changed in expression.changed(found, same, other).values())
    for name, limit in expression.CHANGED.items():
        moved = {key: values.copy() for key, values in found.items()}
        moved[name][1] += limit * 1.01
        assert [key for key, changed in expression.changed(moved, same, other).items() if changed[0]] == [name]


def test_landmarks_of_a_profile_are_no_expression():
    found = {name: np.zeros(2, np.float32) for name in expression.CHANGED}
    found["mouth"][1] = 1
    found["yaw"][:] = 60
    assert not expression.changed(found, np.array([0]), np.array([1]))["mouth"][0]


@settings(max_examples=50)
@given(st.floats(-0.2, 0.2), st.floats(-40, 40), st.floats(12, 60), st.booleans())
def test_a_drawn_iris_is_found_where_it_was_drawn(aside, turned, width, inverted_light):
    angle = np.deg2rad(turned)
    axis, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    shape = np.array([(-0.5, 0), (-0.2, -0.2), (0.2, -0.2), (0.5, 0), (0.2, 0.2), (-0.2, 0.2)])
    lids = 80 + width * (shape[:, :1] * axis + shape[:, 1:] * down)
    grey = np.full((160, 160), 210, np.uint8)
    middle = 80 + aside * width * axis
    cv2.circle(grey, tuple(np.round(middle * 16).astype(int).tolist()), int(0.12 * width * 16), 40, -1, cv2.LINE_AA, 4)
    if inverted_light:  # a darker picture of the same eye
        grey = (grey * 0.5 + 10).astype(np.uint8)
    assert expression._iris(grey, lids) == pytest.approx(aside, abs=0.04)


def test_an_eye_of_one_tone_has_no_gaze():
    lids = np.array([(10, 20), (15, 15), (25, 15), (30, 20), (25, 25), (15, 25)], np.float64)
    assert np.isnan(expression._iris(np.full((40, 40), 90, np.uint8), lids))
    assert np.isnan(expression._iris(np.full((40, 40), 90, np.uint8), np.full((6, 2), 20.0)))


def test_eyes_that_look_aside_are_measured_and_nothing_else():
    crop = align.align(astronaut(), LANDMARKS, 224, MARGIN)
    pair = np.stack([_looking(crop, aside) for aside in (-0.15, 0.15)])
    found = expression.measures(pair, MARGIN)
    assert found["gaze"][1] - found["gaze"][0] == pytest.approx(0.3, abs=0.1)
    changed = expression.changed(found, np.array([0]), np.array([1]))
    assert [name for name, is_so in changed.items() if is_so[0]] == ["gaze"]


def _looking(crop, aside):
    """The face with irises painted `aside` widths of an eye to the right."""
    painted = crop.copy()
    for part in expression.EYES:
        lids = landmarks_68(crop[None], MARGIN)[0, part]
        width = float(np.linalg.norm(lids[3] - lids[0]))
        eye = np.zeros(crop.shape[:2], np.uint8)
        cv2.fillPoly(eye, [np.round(lids).astype(np.int32)], 1)
        ball = np.full_like(crop, 225)
        place = (lids[0] + lids[3]) / 2 + aside * (lids[3] - lids[0])
        cv2.circle(ball, tuple(np.round(place).astype(int).tolist()), round(0.18 * width), (50, 35, 30), -1)
        painted[eye > 0] = ball[eye > 0]
    return painted


def test_gaze_of_closed_eyes_and_of_eyes_that_disagree_is_not_told():
    crop = align.align(astronaut(), LANDMARKS, 224, MARGIN)
    points = landmarks_68(crop[None], MARGIN)[0]
    crossed = _looking(crop, 0.2)
    middle = int(points[27, 0])
    crossed[:, :middle] = _looking(crop, -0.2)[:, :middle]
    assert np.isnan(expression.measures(crossed[None], MARGIN)["gaze"][0])
    found = {name: np.zeros(2, np.float32) for name in expression.CHANGED} | {"gaze": np.array([np.nan, 1], np.float32)}
    assert not expression.changed(found, np.array([0]), np.array([1]))["gaze"][0]


def test_openings_are_those_of_measures_and_unknown_of_small_and_turned_faces():
    crops = np.stack([align.align(astronaut(), LANDMARKS + shift, 224, MARGIN) for shift in range(4)])
    yaw, sizes = np.array([0, 34, -36, 0], np.float32), np.array([64, 200, 200, 63], np.float32)
    lips, lids = expression.seen_openings(crops, MARGIN, yaw, sizes)
    found = expression.measures(crops, MARGIN)
    np.testing.assert_array_equal(np.isnan(lips), [False, False, True, True])
    np.testing.assert_array_equal(np.isnan(lids), np.isnan(lips))
    np.testing.assert_array_equal(lips[:2], found["mouth"][:2])
    np.testing.assert_array_equal(lids[:2], found["eyes"][:2])
