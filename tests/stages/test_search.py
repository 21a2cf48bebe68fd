"""A frame is searched at the size that its smallest face needs."""

from __future__ import annotations

import numpy as np
import pytest

from curate.recipe import CropSettings, FaceSettings
from curate.stages.backend import overlaps
from curate.stages.detect import load_backend
from curate.stages.search import CONFIRM, search_side
from tests.run import clips


@pytest.mark.parametrize(("longest", "side", "expected"), [(640, 640, 640), (640, 320, 320), (1920, 320, 736)])
def test_a_search_is_never_too_small_for_the_smallest_face(longest, side, expected):
    assert search_side(longest, side, 32, 12) == expected
    assert search_side(10_000, side, 32, 12) * 32 / 10_000 >= 12


def test_a_small_search_sees_the_faces_of_a_whole_one():
    chosen = FaceSettings(backend="centerface")
    backend = load_backend(chosen, CropSettings())
    pixels = np.full((480, 640, 3), 90, np.uint8)
    pixels[100:270, 60:210] = clips.astronaut()[40:210, 150:300]
    (whole,), confirmed = backend.detect([pixels]), backend.confirm(pixels)
    assert len(whole.faces) == len(confirmed.faces) == 1 and not confirmed.doubtful
    assert overlaps(whole.faces[0].bbox[None], confirmed.faces[0].bbox[None])[0, 0] > 0.7
    assert backend._search._whole(pixels, chosen.input_size // CONFIRM).pixels.shape == (256, 320, 3)


def test_a_face_that_fills_the_frame_is_confirmed():
    backend = load_backend(FaceSettings(backend="centerface"), CropSettings())
    pixels = clips.astronaut()[60:190, 165:285]
    assert len(backend.detect([pixels])[0].faces) == len(backend.confirm(pixels).faces) == 1
