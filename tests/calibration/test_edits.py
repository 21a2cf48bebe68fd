"""Edits that leave a picture the same one, and what a face does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from curate.calibration import edits, meaning
from curate.stages import align

LANDMARKS = np.array([[197, 98], [244, 98], [222, 131], [205, 152], [240, 152]], np.float32)
MARGIN = 0.5


@pytest.mark.parametrize("edit", [*edits.on_frames(), *edits.on_crops(), edits.mirrored()], ids=lambda edit: edit.name)
def test_every_edit_shows_the_same_picture_where_it_says(edit):
    frame = cv2.GaussianBlur(astronaut()[:360, 40:401], (0, 0), 2)
    points = LANDMARKS - (40, 0)
    before = frame.copy()
    first, second = edit.apply([frame, frame])
    assert first.dtype == np.uint8 and first.shape == second.shape and first.ndim == 3
    np.testing.assert_array_equal(frame, before)
    moved = edit.moved(points, *frame.shape[:2])
    if edit.kind == "mirrored":
        first, moved = first[:, ::-1], moved * (-1, 1) + (frame.shape[1] - 1, 0)
    plain = align.align(frame, points, 112, MARGIN).astype(float)
    again = align.align(first, moved.astype(np.float32), 112, MARGIN).astype(float)
    assert np.corrcoef(plain.ravel(), again.ravel())[0, 1] > 0.93


def test_names_tell_edits_apart():
    names = [edit.name for edit in [*edits.on_frames(), edits.mirrored()]]
    assert len(set(names)) == len(names)
    assert "re-encoded at CRF 30" in names and "grey" in names and "turned -3 degrees" in names


def test_a_stronger_re_encode_costs_more():
    frame = astronaut()[:360, 40:400]
    errors = [np.abs(edits.reencode([frame], crf)[0].astype(int) - frame).mean() for crf in (18, 30, 40)]
    assert errors == sorted(errors) and errors[0] < 6


@settings(max_examples=10)
@given(st.sampled_from([(121, 160), (90, 91), (200, 133)]), st.integers(1, 3))
def test_clips_of_any_size_come_back_whole(shape, count):
    clip = [np.full((*shape, 3), 40 * (i + 1), np.uint8) for i in range(count)]
    found = edits.reencode(clip, 24)
    assert [picture.shape for picture in found] == [(*shape, 3)] * count
    for picture, original in zip(found, clip, strict=True):  # each its own, not a neighbour in the clip
        assert np.abs(picture.astype(int) - original).mean() < 4


def test_words_follow_from_shares():
    names = {edit.name: 1.0 for edit in edits.on_frames()}
    names["re-encoded at CRF 40"] = 0.3
    told = meaning.words({"meaning": {"by_edit": names, "by_change": {"yaw": 0.0, "eyes": 0.3}}})
    assert "re-encoded at CRF 18 to 35" in told and "Mostly taken for another: re-encoded at CRF 40" in told
    assert "a yaw of 12 degrees" in told and "eyes opened or closed by 0.12 of their width (70%)" in told
    assert meaning.words({}) == "" and meaning.words({"calibration": None}) == ""


def test_what_was_not_measured_has_no_words():
    assert meaning.summary("2", 0.123) == meaning.summary("1", 0.994) == {}
