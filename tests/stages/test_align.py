"""Similarity, crops and their JPEGs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut
from skimage.transform import SimilarityTransform

from curate.stages import align

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)
shifts = st.tuples(st.floats(-500, 500), st.floats(-500, 500))
EYES_NOSE_MOUTH = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
"""The astronaut's face, roughly."""


@given(angles, scales, shifts, st.integers(0, 2**32 - 1))
def test_a_similarity_is_recovered_and_equals_the_reference(angle, scale, shift, seed):
    points = np.random.default_rng(seed).normal(size=(5, 2)) * 50
    truth = SimilarityTransform(scale=scale, rotation=angle, translation=shift)
    found = align.similarity(points, truth(points))
    np.testing.assert_allclose(found, truth.params[:2], rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_similarity_is_least_squares(seed):
    rng = np.random.default_rng(seed)
    points, target = rng.normal(size=(2, 5, 2)) * 40
    reference = SimilarityTransform.from_estimate(points, target)
    np.testing.assert_allclose(align.similarity(points, target), reference.params[:2], atol=1e-6)


@given(st.integers(64, 1024), st.floats(0, 2))
def test_the_template_is_centred_and_scales_with_the_crop(size, margin):
    points = align.template(size, margin)
    inner = size / (1 + margin)
    np.testing.assert_allclose((points - size / 2) / inner, align.ARCFACE / 112 - 0.5, atol=1e-5)


def test_landmarks_come_to_lie_on_the_template():
    frame = np.zeros((400, 600, 3), np.uint8)
    turn = SimilarityTransform(scale=1.7, rotation=0.4, translation=(150, 40))
    landmarks = turn(align.template(112, 0.5)).astype(np.float32)
    for x, y in landmarks:
        cv2.circle(frame, (round(x), round(y)), 3, (255, 255, 255), -1)
    crop = align.align(frame, landmarks, 224, 0.5)
    for x, y in align.template(224, 0.5):
        assert crop[round(y), round(x)].min() > 200
    assert crop.mean() < 20


@settings(max_examples=25)
@given(st.floats(0.1, 4), st.floats(-0.6, 0.6), st.sampled_from([96, 224]))
def test_the_crop_hardly_depends_on_the_size_of_the_frame(factor, angle, size):
    picture = cv2.GaussianBlur(astronaut(), (0, 0), 6)
    centre = (225.0, 125.0)
    turn = cv2.getRotationMatrix2D(centre, np.degrees(angle), 1)
    turned = cv2.warpAffine(picture, turn, (512, 512))
    resized = cv2.resize(turned, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    landmarks = np.c_[EYES_NOSE_MOUTH, np.ones(5)] @ turn.T
    # cv2.resize keeps pixel corners in place, landmarks count from pixel centres
    moved = (landmarks + 0.5) * np.array(resized.shape[1::-1]) / 512 - 0.5
    plain = align.align(picture, EYES_NOSE_MOUTH, size, 0.2)
    other = align.align(resized, moved.astype(np.float32), size, 0.2)
    assert np.abs(plain.astype(int) - other).mean() < 6


def test_shrinking_does_not_alias():
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    landmarks = align.template(2000, 0.5)
    crop = align.align(stripes, landmarks, 128, 0.5)
    assert np.ptp(crop[8:-8, 8:-8].astype(int)) < 40


def test_outside_of_the_frame_is_black_so_letterboxing_changes_nothing():
    picture = astronaut()[60:200, 150:300].copy()
    landmarks = EYES_NOSE_MOUTH - np.float32([150, 60])
    boxed = cv2.copyMakeBorder(picture, 90, 90, 40, 40, cv2.BORDER_CONSTANT)
    plain = align.align(picture, landmarks, 224, 1.0)
    other = align.align(boxed, landmarks + np.float32([40, 90]), 224, 1.0)
    assert np.abs(plain.astype(int) - other).mean() < 1.0  # only resampling at another phase
    assert not plain[:3].any()


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_landmarks_anywhere_give_a_crop(x, y, spread):
    landmarks = align.ARCFACE / 112 * np.float32(spread) + np.float32([x, y])
    crop = align.align(np.full((40, 30, 3), 200, np.uint8), landmarks, 64, 0.5)
    assert crop.shape == (64, 64, 3)


@pytest.mark.parametrize("size", [64, 224, 512])
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
def test_the_square_of_arcface_is_cut_out_of_stored_crops(size, margin):
    picture = cv2.GaussianBlur(astronaut(), (0, 0), 3)
    direct = align.align(picture, EYES_NOSE_MOUTH, 112, 0.0)
    stored = align.align(picture, EYES_NOSE_MOUTH, size, margin)
    (cut,) = align.arcface(stored[None], margin)
    assert np.abs(cut.astype(int) - direct).mean() < (4 if size == 64 else 2)
    assert align.arcface(stored[None][:0], margin).shape == (0, 112, 112, 3)


@given(st.integers(50, 100))
def test_jpeg_round_trip(quality):
    crop = align.align(astronaut(), EYES_NOSE_MOUTH, 224, 0.5)
    data = align.encode(crop, quality)
    again = align.decode(data)
    assert data == align.encode(crop, quality)
    assert again.shape == crop.shape
    assert np.abs(again.astype(int) - crop).mean() < 5


def test_what_is_no_jpeg_is_refused():
    with pytest.raises(ValueError, match=r".+"):
        align.decode(b"no picture")
