"""Sharpness, brightness, quality and perceptual hashes."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut

from curate.stages import align, quality

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
CROP = align.align(astronaut(), LANDMARKS, 224, 0.5)


def judge(crops, score=0.8, yaw=0.0, pitch=0.0, size=150.0):
    """Measures of crops that differ in one thing only."""
    crops = np.stack(crops)
    parts = np.broadcast_arrays(np.zeros(len(crops)), score, yaw, pitch, size)[1:]
    return quality.measure(crops, *(np.asarray(part, np.float32) for part in parts))


def falls(values):
    return bool((np.diff(values) < 0).all())


def test_blur_lowers_sharpness_and_quality():
    found = judge([CROP] + [cv2.GaussianBlur(CROP, (0, 0), sigma) for sigma in (1, 2, 3, 5, 8)])
    assert falls(found.sharpness) and falls(found.quality)
    assert np.ptp(found.brightness) < 0.02


def test_darkness_and_glare_lower_quality():
    dark = judge([(CROP * share).astype(np.uint8) for share in (1, 0.6, 0.3, 0.1)])
    assert falls(dark.brightness) and falls(dark.quality)
    glare = judge([np.clip(CROP + added, 0, 255).astype(np.uint8) for added in (20.0, 90.0, 150.0, 220.0)])
    assert not falls(glare.brightness) and falls(glare.quality)


def test_brightness_is_mean_luma_of_the_face():
    found = judge([np.full((224, 224, 3), level, np.uint8) for level in (0, 51, 255)])
    np.testing.assert_allclose(found.brightness, [0, 0.2, 1], atol=1e-3)


def test_sharpness_hardly_depends_on_contrast_noise_and_crop_size():
    rng = np.random.default_rng(0)
    noisy = np.clip(CROP + rng.normal(0, 3, CROP.shape), 0, 255).astype(np.uint8)
    pale = (CROP * 0.5 + 60).astype(np.uint8)
    plain, other, faint = judge([CROP, noisy, pale]).sharpness
    assert other == pytest.approx(plain, rel=0.1)
    assert faint == pytest.approx(plain, rel=0.1)
    larger = judge([align.align(astronaut(), LANDMARKS, 336, 0.5)]).sharpness[0]
    assert larger == pytest.approx(plain, rel=0.1)


sizes = st.floats(8, 1000)
shares = st.floats(0, 1)


@given(sizes, sizes, shares, shares, st.floats(-90, 90), st.floats(-90, 90))
def test_quality_rises_with_size_score_and_frontality(size, other_size, score, other_score, yaw, pitch):
    smaller, larger = sorted((size, other_size))
    assert np.diff(judge([CROP, CROP], size=[smaller, larger]).quality) >= 0
    low, high = sorted((score, other_score))
    assert np.diff(judge([CROP, CROP], score=[low, high]).quality) >= 0
    assert np.diff(judge([CROP, CROP], yaw=[yaw, yaw / 2], pitch=[pitch, pitch / 2]).quality) >= 0


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(64, 300))
def test_quality_lies_in_0_to_1_and_faces_do_not_depend_on_each_other(seed, count, side):
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    parts = [rng.uniform(low, high, count).astype(np.float32) for low, high in ((0, 1), (-90, 90), (-90, 90), (8, 999))]
    together = quality.measure(crops, *parts)
    assert ((together.quality >= 0) & (together.quality <= 1)).all()
    assert together.quality.dtype == together.sharpness.dtype == together.brightness.dtype == np.float32
    for i in range(count):
        alone = quality.measure(crops[i : i + 1], *(part[i : i + 1] for part in parts))
        for name in ("sharpness", "brightness", "quality"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[i])


def test_phash_is_imagehash():
    crops = np.stack([CROP, CROP[:, ::-1], 255 - CROP])
    expected = [int(str(imagehash.phash(Image.fromarray(crop))), 16) for crop in crops]
    found = quality.phash(crops)
    assert found.dtype == np.uint64 and found.tolist() == expected
    assert quality.phash(crops[:0]).shape == (0,)
