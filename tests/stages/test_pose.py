"""Yaw, pitch and roll."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from curate.stages import pose

degrees = st.floats(-60, 60)


def project(yaw: float, pitch: float, roll: float, scale: float = 1.0) -> np.ndarray:
    """float32 [5, 2]: the average head, turned so and seen from afar (x right, y down, z towards the camera)."""
    turn = Rotation.from_euler("XYZ", [pitch, yaw, roll], degrees=True)
    return (turn.apply(pose.HEAD)[:, :2] * scale + [300, 200]).astype(np.float32)


def found(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of one face."""
    return np.array([float(part[0]) for part in pose.angles(points[None].astype(np.float32))])


def test_signs_are_those_that_the_columns_promise():
    eyes, nose, mouth = slice(0, 2), 2, slice(3, 5)
    still, right, up, clockwise = project(0, 0, 0), project(30, 0, 0), project(0, 30, 0), project(0, 0, 30)
    assert right[nose, 0] > still[nose, 0] + 5
    assert up[nose, 1] < still[nose, 1] - 5
    assert clockwise[1, 1] > clockwise[0, 1] + 5  # the image-right eye sinks
    assert clockwise[mouth, 0].mean() < clockwise[eyes, 0].mean()
    np.testing.assert_allclose([found(right), found(up), found(clockwise)], np.eye(3) * 30, atol=0.1)


@given(degrees, degrees, degrees, st.floats(0.1, 20))
def test_angles_of_the_average_head_are_recovered_at_any_scale(yaw, pitch, roll, scale):
    np.testing.assert_allclose(found(project(yaw, pitch, roll, scale)), [yaw, pitch, roll], atol=0.2)


@given(degrees, degrees, degrees, st.integers(0, 2**32 - 1))
def test_small_errors_of_landmarks_stay_small(yaw, pitch, roll, seed):
    noise = np.random.default_rng(seed).normal(size=(5, 2)) * 0.3
    np.testing.assert_allclose(found(project(yaw, pitch, roll) + noise), [yaw, pitch, roll], atol=15)


@given(degrees, degrees, degrees)
def test_a_mirrored_face_looks_to_the_other_side(yaw, pitch, roll):
    points = project(yaw, pitch, roll)
    mirrored = (points * [-1, 1])[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(found(points) * [-1, 1, -1], found(mirrored), atol=0.2)


@given(st.lists(st.tuples(degrees, degrees, degrees), max_size=8))
def test_faces_do_not_depend_on_each_other(poses):
    points = np.array([project(*one) for one in poses], np.float32).reshape(-1, 5, 2)
    together = np.array(pose.angles(points))
    assert together.shape == (3, len(poses)) and together.dtype == np.float32
    for i in range(len(poses)):
        np.testing.assert_array_equal(together[:, i], np.array(pose.angles(points[i : i + 1]))[:, 0])


@given(st.integers(0, 2**32 - 1))
def test_nonsense_gives_numbers(seed):
    points = np.random.default_rng(seed).normal(size=(3, 5, 2)).astype(np.float32)
    points[0] = points[0, 0]
    assert np.isfinite(pose.angles(points)).all()


def test_measured_heads(shared):
    """AFLW2000-3D: our yaw is the negative of theirs; pitch and roll agree in sense."""
    errors = []
    for path in sorted((shared / "data" / "eval" / "aflw2000").glob("*.mat")):
        truth = loadmat(path)
        points = truth["pt3d_68"][:2].T
        parts = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
        expected = np.degrees(truth["Pose_Para"][0, :3]) * [1, -1, 1]
        errors.append(np.abs(found(np.array(parts))[[1, 0, 2]] - expected))
    assert len(errors) == 8
    assert (np.mean(errors, 0) < [7, 4, 6]).all()
