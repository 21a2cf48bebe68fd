"""Crops: where pixels and coordinates go."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.evaluate.crops import CropRule, apply, invert, scale_of
from curate.stages.align import template, warp

numbers = st.floats(-50, 50)


@given(st.integers(20, 400), st.integers(20, 400), st.integers(32, 300), st.floats(-0.4, 1.0))
def test_whole_pictures_keep_their_middle(height: int, width: int, size: int, margin: float) -> None:
    matrix = CropRule("whole", margin=margin, size=size).matrix(height, width)
    middle = apply(matrix, np.array([[(width - 1) / 2, (height - 1) / 2]]))
    np.testing.assert_allclose(middle, (size - 1) / 2, atol=1e-9)
    assert scale_of(matrix) == pytest.approx(size / (min(height, width) * (1 + margin)))


def test_box_fills_its_share_of_the_crop() -> None:
    matrix = CropRule("box", margin=0.25, size=100).matrix(500, 500, box=(100, 200, 180, 260))
    corners = apply(matrix, np.array([[100.0, 230], [180, 230]]))
    assert corners[1, 0] - corners[0, 0] == pytest.approx(80)
    np.testing.assert_allclose(corners.mean(axis=0), 49.5)
    square = CropRule("box", size=100, square="area", shift_y=0.1).matrix(500, 500, box=(0, 0, 90, 40))
    assert scale_of(square) == pytest.approx(100 / 60)
    assert apply(square, np.array([[45.0, 26]]))[0, 1] == pytest.approx(49.5)


@given(numbers, numbers, st.floats(0.5, 3), st.floats(-3, 3))
def test_five_points_come_to_the_template(x: float, y: float, zoom: float, angle: float) -> None:
    goal = template(112, 0.0).astype(np.float64)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = CropRule("five_points", size=112).matrix(300, 300, points=goal @ turn.T + [x, y])
    np.testing.assert_allclose(apply(matrix, goal @ turn.T + [x, y]), goal, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "box"},
        {"rule": "box", "box": (3.0, 3.0, 3.0, 3.0)},
        {"rule": "box", "box": (0.0, 0.0, float("nan"), 3.0)},
        {"rule": "five_points"},
        {"rule": "five_points", "points": np.zeros((5, 2))},
    ],
)
def test_faces_without_extent_are_refused(wrong: dict) -> None:
    rule = wrong.pop("rule")
    with pytest.raises(ValueError):
        CropRule(rule).matrix(50, 50, **wrong)


@given(st.lists(numbers, min_size=6, max_size=6))
def test_inverse_maps_back(values: list[float]) -> None:
    matrix = np.array(values).reshape(2, 3)
    (a, b), (c, d) = matrix[:, :2]
    if abs(a * d - b * c) < 1:  # LAPACK's determinant warns of numbers near 0
        return
    points = np.random.default_rng(0).normal(size=(7, 2)) * 50
    np.testing.assert_allclose(apply(invert(matrix), apply(matrix, points)), points, atol=1e-6)
    many = np.stack([matrix, matrix])
    np.testing.assert_allclose(apply(many, np.stack([points, points]))[1], apply(matrix, points))


@pytest.mark.parametrize("box", [(60.0, 80.0, 140.0, 150.0), (10.0, 20.0, 400.0, 380.0), (-30.0, -30.0, 40.0, 60.0)])
def test_pixels_land_where_coordinates_say(box: tuple[float, float, float, float]) -> None:
    """A soft dot is found in the crop at the mapped coordinates, enlarged or shrunk."""
    y, x = np.mgrid[:420, :420]
    for cx, cy in ((100.0, 110.0), (123.5, 95.25)):
        dot = 255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 12**2))
        picture = np.repeat(dot.astype(np.uint8)[..., None], 3, axis=2)
        crop = CropRule("box", margin=0.5, size=96)
        matrix = crop.matrix(420, 420, box=box)
        found = warp(picture, matrix, 96)[..., 0].astype(float)
        expected = apply(matrix, np.array([[cx, cy]]))[0]
        if not ((expected > 30) & (expected < 66)).all():
            continue
        rows, columns = np.mgrid[:96, :96]
        centre = np.array([(found * columns).sum(), (found * rows).sum()]) / found.sum()
        np.testing.assert_allclose(centre, expected, atol=0.35)


def test_shrinking_filters_first() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    matrix = CropRule("whole", size=57).matrix(400, 400)
    assert abs(warp(stripes, matrix, 57).astype(int)[4:-4, 4:-4] - 127).max() <= 20
    naive = cv2.warpAffine(stripes, matrix, (57, 57)).astype(int)
    assert abs(naive - 127).max() > 60  # what a plain warp does to them


def test_every_choice_names_the_crop() -> None:
    crop = CropRule("box", margin=0.25)
    assert crop.digest() == CropRule("box", margin=0.25).digest()
    assert len({crop.digest(), crop.resized(112).digest(), CropRule("whole").digest()}) == 3
    assert crop.resized(None) is crop
    assert crop.describe()["interpolation"] == "area, then bicubic"
