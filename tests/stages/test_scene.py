from __future__ import annotations

import cv2
import numpy as np

from curate.stages import scene


def test_a_view_is_the_same_at_any_size() -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 9)
    half = cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA)
    views = [np.frombuffer(scene.view(one), np.uint8).astype(int) for one in (picture, half)]
    assert len(views[0]) == scene.SIDE**2 and np.abs(views[0] - views[1]).max() <= 1
