"""Faces are found again where the picture around them moved to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages import align, refine
from tests.run import clips

HEAD = clips.astronaut()
EYES = np.float32([[205, 105], [245, 105], [225, 130], [208, 150], [242, 150]])  # landmarks of the astronaut, about
RIGHT = np.array([4, 0])


def turned(pixels, degrees, scale, shift):
    """The picture turned and scaled about the face, then shifted; and the matrix that does it."""
    matrix = cv2.getRotationMatrix2D((225, 125), degrees, scale)
    matrix[:, 2] += shift
    return cv2.warpAffine(pixels, matrix, pixels.shape[1::-1]), matrix


@settings(max_examples=25)
@given(
    degrees=st.floats(-4, 4), scale=st.floats(0.96, 1.04), x=st.floats(-6, 6), y=st.floats(-6, 6), light=st.booleans()
)
def test_landmarks_go_with_the_picture(degrees, scale, x, y, light):
    later, matrix = turned(HEAD, degrees, scale, (x, y))
    found = refine.moved(EYES, HEAD, later if not light else cv2.convertScaleAbs(later, alpha=0.9))
    expected = EYES @ matrix[:, :2].T + matrix[:, 2]
    assert found is not None and refine.distance(expected, found) < 0.6


def test_landmarks_stay_where_the_face_is_covered():
    covered = HEAD.copy()
    covered[60:200, 160:290] = np.random.default_rng(0).integers(0, 255, (140, 130, 3))
    assert refine.moved(EYES, HEAD, covered) is None
    assert np.array_equal(refine.gone_to(EYES, HEAD, covered), EYES)
    assert refine.between((EYES, HEAD), (EYES, HEAD), covered, 0.5) is None


def test_a_face_between_two_frames_is_halfway_unless_they_disagree():
    first, _ = turned(HEAD, 0, 1, -RIGHT)
    last, _ = turned(HEAD, 0, 1, RIGHT)
    halfway = refine.between((EYES - RIGHT, first), (EYES + RIGHT, last), HEAD, 0.5)
    assert halfway is not None and refine.distance(EYES, halfway) < 0.4
    opened = EYES + np.float32([[0, 0], [0, 0], [0, 0], [0, 8], [0, 8]])
    assert refine.between((EYES - RIGHT, first), (opened + RIGHT, last), HEAD, 0.5) is None


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.7, 0.45, 0.24, 0.1])
def test_quick_crops_look_like_fine_ones(scale):
    smooth = cv2.GaussianBlur(HEAD, (0, 0), 3)
    matrix = np.array([[scale, -0.1 * scale, 80 - 225 * scale], [0.1 * scale, scale, 80 - 125 * scale]])
    fine, quick = align.warp(smooth, matrix, 160), align.warp_quickly(smooth, matrix, 160)
    inside = cv2.warpAffine(np.full_like(HEAD, 255), matrix, (160, 160)).min(2) == 255
    inside = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(fine.astype(int) - quick)[inside].mean() < 4
