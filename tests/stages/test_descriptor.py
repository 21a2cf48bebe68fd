"""Appearance vectors of the network."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from curate.calibration import edits
from curate.recipe import USUAL_THRESHOLD
from curate.stages import align, appearance, descriptor

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
CROP = align.align(astronaut(), LANDMARKS, 224, 0.5)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    first, second = appearance.describe(np.stack([one, other]), 0.5, appearance.LEARNED)
    return float(first @ second)


@settings(max_examples=10)
@given(st.sampled_from([96, 112, 224]), st.integers(0, 2**32 - 1), st.sampled_from([np.float16, np.float32]))
def test_a_mirrored_picture_turns_signs_of_its_vector(side, seed, kind):
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    crops = np.stack([align.align(astronaut(), LANDMARKS, side, 0.5), cv2.GaussianBlur(noise, (0, 0), side / 30)])
    found = appearance.describe(crops, 0.5, appearance.LEARNED).astype(kind)
    there = appearance.describe(np.ascontiguousarray(crops[:, :, ::-1]), 0.5, appearance.LEARNED)
    turned = appearance.mirrored(found, appearance.LEARNED)
    assert turned.dtype == kind
    np.testing.assert_allclose(turned, there, atol=2e-3)
    np.testing.assert_array_equal(appearance.mirrored(turned, appearance.LEARNED), found)
    assert found.shape == (2, appearance.LEARNED.dimension)


def test_the_sums_of_another_library_come_to_the_same_vector():
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(3, descriptor.SIDE, descriptor.SIDE))
    *layers, last = [tuple(torch.from_numpy(part) for part in layer) for layer in descriptor._weights()]
    x = torch.from_numpy(pictures)[:, None]
    for (weight, bias), stride in zip(layers, descriptor.STRIDES, strict=True):
        x = F.relu(F.conv2d(x, weight, bias, stride, weight.shape[2] // 2))
    expected = F.linear(x.flatten(1), *last).numpy()
    answers = descriptor._network(pictures)
    np.testing.assert_allclose(answers, expected, atol=1e-11)
    np.testing.assert_array_equal(np.round(answers / descriptor.GRAIN), np.round(expected / descriptor.GRAIN))


KEPT = [e for e in edits.on_crops() if e.name not in ("re-encoded at CRF 35", "re-encoded at CRF 40", "watermark")]


@pytest.mark.parametrize("edit", KEPT, ids=lambda edit: edit.name)
def test_an_edited_copy_is_a_near_duplicate(edit):
    again = align.decode(align.encode(edit.apply([CROP])[0], 95))
    assert cosine(CROP, again) >= USUAL_THRESHOLD["network"]


def test_another_face_and_another_expression_are_none():
    laughing = CROP.copy()
    corners = align.template(224, 0.5)[3:]
    middle, width = corners.mean(0).round().astype(int), int(np.ptp(corners[:, 0]) / 2)
    cv2.ellipse(laughing, tuple(middle.tolist()), (width, 12), 0, 0, 360, (40, 15, 15), -1, cv2.LINE_AA)
    assert cosine(CROP, laughing) < USUAL_THRESHOLD["network"]
    assert cosine(CROP, np.rot90(CROP, 2)) < 0.7


def test_a_vector_does_not_depend_on_its_neighbours():
    other = align.align(astronaut(), LANDMARKS + 2, 224, 0.5)
    both = appearance.describe(np.stack([CROP, other]), 0.5, appearance.LEARNED)
    np.testing.assert_array_equal(appearance.describe(other[None], 0.5, appearance.LEARNED)[0], both[1])
