"""The place of a face in its crop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from curate.stages import align, aligner

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
POINTS = align.ARCFACE / align.ARCFACE_SIDE - 0.5


def crop(pixels, shift=(0.0, 0.0), scale=1.0, degrees=0.0, side=224):
    """The astronaut's crop as landmarks that are off would have it: shift in sides of ArcFace's square."""
    matrix = np.vstack([align.crop_matrix(LANDMARKS, side, 0.5), [0, 0, 1]])
    off = np.vstack([cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, scale), [0, 0, 1]])
    off[:2, 2] += np.array(shift) * side / 1.5
    return align.warp(pixels, (off @ matrix)[:2], side), off


def found(picture):
    """Where the points of ArcFace's square are, pixels of the crop."""
    x, y, scale, turn = aligner.estimate(aligner.plane(picture, 0.5))
    side = picture.shape[0]
    points = np.exp(scale + 1j * turn) * (POINTS @ (1, 1j)) + x + 1j * y
    return np.stack([points.real, points.imag], 1) * side / 1.5 + (side - 1) / 2


@settings(max_examples=12)
@given(
    st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03)),
    st.floats(0.96, 1.04),
    st.floats(-3, 3),
    st.sampled_from([112, 224, 225]),
)
def test_a_crop_that_is_off_shows_the_face_where_it_was(shift, scale, degrees, side):
    still = found(crop(astronaut(), side=side)[0])
    picture, off = crop(astronaut(), shift, scale, degrees, side)
    expected = still @ off[:2, :2].T + off[:2, 2]
    apart = np.linalg.norm(found(picture) - expected, axis=1).mean() * 1.5 * 112 / side
    before = np.linalg.norm(still - expected, axis=1).mean() * 1.5 * 112 / side
    assert apart < max(0.9, 0.4 * before)  # pixels of 112


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=15)
def test_a_mirrored_crop_gets_the_mirrored_answer(seed, noise):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (96, 96, 3), np.uint8) if noise else crop(astronaut(), rng.normal(0, 0.02, 2))[0]
    answer = aligner.estimate(aligner.plane(picture, 0.5))
    other = aligner.estimate(aligner.plane(np.ascontiguousarray(picture[:, ::-1]), 0.5))
    np.testing.assert_allclose(other, answer * aligner.MIRROR, atol=1e-5)
    assert (np.abs(answer) <= aligner.FURTHEST).all()


def test_the_sums_of_another_library_come_to_the_same_answer():
    rng = np.random.default_rng(0)
    pictures = np.stack([rng.normal(size=(aligner.SIDE, aligner.SIDE)) for _ in range(4)])
    x = torch.from_numpy(pictures)[:, None]
    layers = [tuple(torch.from_numpy(part) for part in layer) for layer in aligner._weights()]
    for (weight, bias), stride in zip(layers, aligner.STRIDES, strict=False):
        x = F.relu(F.conv2d(x, weight, bias, stride, weight.shape[2] // 2))
    expected = F.linear(F.relu(F.linear(x.flatten(1), *layers[-2])), *layers[-1]).numpy() * aligner.SCALE
    answers = aligner._network(pictures)
    np.testing.assert_allclose(answers, expected, atol=1e-12)
    np.testing.assert_array_equal(np.round(answers / aligner.GRAIN), np.round(expected / aligner.GRAIN))


@pytest.mark.parametrize("margin", [0.0, 0.25, 1.0])
def test_a_plane_shows_the_same_part_of_a_face_whatever_the_margin(margin):
    wide, narrow = (
        align.align(astronaut(), LANDMARKS, side, m) for side, m in ((224, 0.5), (round(149.33 * (1 + margin)), margin))
    )
    middle = slice(45, 99)  # inside of ArcFace's square
    planes = [aligner.plane(picture, m)[middle, middle] for picture, m in ((wide, 0.5), (narrow, margin))]
    assert np.abs(planes[0] - planes[1]).mean() < 2
