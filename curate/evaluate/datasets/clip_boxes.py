"""Where the face is in a clip whose owners give no box: the median of what dlib finds in a few of its frames.

For recordings with a still camera and a seated person, where the face hardly moves. A clip in which dlib finds nothing
is taken whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from curate.evaluate.crops import Box
from curate.evaluate.pictures import DamagedPictureError, PictureSource
from curate.recipe import CropSettings, FaceSettings
from curate.stages.backend_dlib import Dlib

LOOKS = 5
"""Frames of a clip that are searched."""


def clip_box(pictures: Sequence[PictureSource]) -> Box:
    """The face's box for all frames of a clip, pixels: the median over a few evenly spaced frames."""
    chosen = [
        pictures[int((i + 0.5) * len(pictures) / min(LOOKS, len(pictures)))] for i in range(min(LOOKS, len(pictures)))
    ]
    boxes, size = [], (1, 1)
    for picture in chosen:
        try:
            pixels = picture.read()
        except DamagedPictureError:
            continue
        size = pixels.shape[:2]
        faces = _detector().detect([pixels])[0].faces
        boxes += [face.bbox for face in faces[:1]]
    if not boxes:
        return (0.0, 0.0, float(size[1]), float(size[0]))
    x0, y0, x1, y1 = np.median(np.stack(boxes), axis=0)
    return (float(x0), float(y0), float(x1), float(y1))


@cache
def _detector() -> Dlib:
    return Dlib(FaceSettings(input_size=320), CropSettings())
