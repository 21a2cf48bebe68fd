"""Appearance and identity vectors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from curate.recipe import CropSettings, Dedupe, FaceSettings
from curate.stages import align, appearance
from curate.stages.detect import load_backend

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
THRESHOLD = Dedupe().threshold


def described(crops, space=appearance.APPEARANCE):
    return appearance.describe(crops, CropSettings().margin, space)


@pytest.fixture(scope="module")
def finder():
    return load_backend(FaceSettings(backend="dlib"), CropSettings())


def crop_of(finder, frame):
    """The stored crop of the largest face of a frame."""
    face = finder.detect([np.ascontiguousarray(frame)])[0].faces[0]
    return align.decode(align.encode(align.align(frame, face.landmarks, 224, CropSettings().margin), 95))


def cosine(*crops):
    first, second = described(np.stack(crops))
    return float(first @ second)


def brighter(frame):
    return np.clip(frame * 1.25 + 12, 0, 255).astype(np.uint8)


def gamma(frame):
    return (255 * (frame / 255) ** 0.7).astype(np.uint8)


def grey(frame):
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def cast(frame):
    return np.clip(frame * [1.15, 1, 0.8], 0, 255).astype(np.uint8)


def smaller(frame):
    return cv2.resize(frame, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def larger(frame):
    return cv2.resize(frame, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC)


def letterboxed(frame):
    return cv2.copyMakeBorder(frame, 70, 70, 0, 0, cv2.BORDER_CONSTANT)


def compressed(frame):
    return align.decode(align.encode(frame, 50))


def noisy(frame):
    return np.clip(frame + np.random.default_rng(0).normal(0, 5, frame.shape), 0, 255).astype(np.uint8)


EDITS = (brighter, gamma, grey, cast, smaller, larger, letterboxed, compressed, noisy)


@pytest.mark.parametrize("edit", EDITS)
def test_the_same_picture_again_is_a_near_duplicate(finder, edit):
    frame = astronaut()[:400]
    assert cosine(crop_of(finder, frame), crop_of(finder, edit(frame))) >= THRESHOLD


def test_another_mouth_and_closed_eyes_are_something_new():
    frame = astronaut()
    plain = align.align(frame, LANDMARKS, 224, 0.5)
    mouth, eyes = frame.copy(), frame.copy()
    cv2.ellipse(mouth, (222, 155), (14, 10), 0, 0, 360, (60, 20, 20), -1)
    for x in (197, 244):
        cv2.ellipse(eyes, (x, 98), (14, 8), 0, 0, 360, tuple(int(v) for v in frame[112, x]), -1)
    for changed in (mouth, eyes):
        assert cosine(plain, align.align(changed, LANDMARKS, 224, 0.5)) < THRESHOLD


def test_a_hidden_face_is_something_new():
    frame = astronaut()
    hidden = frame.copy()
    hidden[125:200, 190:255] = (90, 120, 160)
    assert cosine(*(align.align(one, LANDMARKS, 224, 0.5) for one in (frame, hidden))) < THRESHOLD


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([64, 112, 224, 301]))
def test_a_crop_does_not_depend_on_its_neighbours(seed, count, side):
    crops = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)
    together = described(crops)
    assert together.shape == (count, appearance.APPEARANCE.dimension) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for i in range(count):
        np.testing.assert_array_equal(described(crops[i : i + 1])[0], together[i])


@settings(max_examples=30)
@given(st.sampled_from([96, 112, 224, 225]), st.integers(0, 2**32 - 1))
def test_vectors_of_mirrored_pictures_need_no_pictures(side, seed):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), np.uint8), (0, 0), side / 30)
    crops = np.stack([align.align(astronaut(), LANDMARKS, side, 0.5), noise])
    for kind in (np.float32, np.float16):
        found = appearance.mirrored(described(crops).astype(kind))
        assert found.dtype == kind
        cosines = np.einsum("nd,nd->n", found, described(np.ascontiguousarray(crops[:, :, ::-1])))
        assert cosines.min() > 0.999  # odd sides are sampled between other pixels
    assert cosine(crops[0], crops[0][:, ::-1]) < 0.9  # and they are not what they were
    np.testing.assert_array_equal(appearance.mirrored(found), described(crops).astype(np.float16))


@given(st.integers(96, 512))
def test_crops_of_any_size_have_nearly_the_same_vector(side):
    frame = astronaut()
    assert cosine_of_sizes(frame, side) > 0.95


def cosine_of_sizes(frame, side):
    first = described(align.align(frame, LANDMARKS, 224, 0.5)[None])[0]
    second = described(align.align(frame, LANDMARKS, side, 0.5)[None])[0]
    return float(first @ second)


@pytest.mark.parametrize("space", appearance.SPACES, ids=lambda space: space.version)
@pytest.mark.parametrize("level", [0, 7, 255])
def test_an_empty_picture_has_a_vector_all_the_same(level, space):
    vector = described(np.full((1, 224, 224, 3), level, np.uint8), space)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_no_crops_no_vectors():
    assert described(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, appearance.APPEARANCE.dimension)


def test_different_people_are_never_near_duplicates(shared, finder):
    folder = shared / "data" / "images"
    vectors, people = [], []
    for path in sorted(folder.glob("*/*.jp*g")):
        frame = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        if path.parent.name == "group" or not finder.detect([frame])[0].faces:
            continue
        vectors.append(described(crop_of(finder, frame)[None])[0])
        people.append(path.parent.name)
    alike = np.array(vectors) @ np.array(vectors).T
    assert alike[~np.equal.outer(people, people)].max() < THRESHOLD - 0.05


def test_put_in_its_place_a_crop_that_is_off_is_nearer_and_a_mirror_a_change_of_sign():
    frame = astronaut()
    plain = align.align(frame, LANDMARKS, 224, 0.5)
    off = [align.align(frame, LANDMARKS + shift, 224, 0.5) for shift in ((1.5, 0), (0, -1.5), (-1, 1))]
    as_it_is, aligned = (described(np.stack([plain, *off]), one) for one in (appearance.APPEARANCE, appearance.ALIGNED))
    cosines = aligned[1:] @ aligned[0]
    assert (cosines > as_it_is[1:] @ as_it_is[0]).all() and cosines.min() > 0.99
    mirrored = described(np.stack([one[:, ::-1] for one in (plain, *off)]), appearance.ALIGNED)
    np.testing.assert_allclose(mirrored, appearance.mirrored(aligned), atol=2e-3)
    np.testing.assert_array_equal(described(off[1][None], appearance.ALIGNED)[0], aligned[2])
