"""The crop: how a face is cut out of its picture, defined once for each data set and stored in every result.

A crop is an affine map from pixels of the picture to pixels of a square. Coordinates are (x, y) with the centre of the
top left pixel at (0, 0). `curate.stages.align.warp` moves the pixels: what shrinks is averaged over areas first, so
that nothing aliases; what lies outside the picture is black.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curate.stages.align import similarity, template

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]
Matrix = NDArray[np.float64]
"""float64 [2, 3]: pixels of the picture -> pixels of the crop."""


@dataclass(frozen=True)
class CropRule:
    """One data set's crop.

    Attributes:
        rule: `box`: a square around the box of the sample; `five_points`: the similarity that brings five landmarks
            nearest to ArcFace's template (`curate.stages.align`); `whole`: the largest centred square of the picture.
        margin: what is added to the square, as a share of its side, both sides together.
        size: side of the crop, pixels.
        origin: where the box or the points come from; for the reader of a result.
        square: for `box`, the side of the square: the box's longer side, or the root of its area.
        shift_y: for `box`, how far the square's centre lies below the box's, as a share of the side.
    """

    rule: Literal["box", "five_points", "whole"]
    margin: float = 0.0
    size: int = 224
    origin: str = "the picture as it is"
    square: Literal["longer_side", "area"] = "longer_side"
    shift_y: float = 0.0
    interpolation: str = "area, then bicubic"

    def resized(self, size: int | None) -> CropRule:
        """The same crop at another size."""
        return self if size is None else replace(self, size=size)

    def describe(self) -> dict[str, Any]:
        """Every choice by name, for results."""
        return asdict(self)

    def digest(self) -> str:
        """Names this crop in caches."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:16]

    def matrix(self, height: int, width: int, box: Box | None = None, points: Floats | None = None) -> Matrix:
        """The map for one picture.

        Args:
            height, width: of the picture, pixels.
            box: for the rule `box`.
            points: float [5, 2], for the rule `five_points`.

        Raises:
            ValueError: what the rule needs is missing or degenerate.
        """
        if self.rule == "five_points":
            if points is None or not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1:
                raise ValueError("the five landmarks are missing or coincide")
            return similarity(points, template(self.size, self.margin))
        if self.rule == "whole":
            centre, side = ((width - 1) / 2, (height - 1) / 2), float(min(height, width))
        elif box is None:
            raise ValueError("the face's box is missing")
        else:
            centre, side = self._square(box)
        side *= 1 + self.margin
        if not np.isfinite(side) or side < 1:
            raise ValueError(f"the face's box {box} has no extent")
        scale = self.size / side
        middle = (self.size - 1) / 2
        return np.array([[scale, 0, middle - scale * centre[0]], [0, scale, middle - scale * centre[1]]])

    def _square(self, box: Box) -> tuple[tuple[float, float], float]:
        x0, y0, x1, y1 = box
        wide, high = x1 - x0, y1 - y0
        side = max(wide, high) if self.square == "longer_side" else float(np.sqrt(max(wide, 0) * max(high, 0)))
        return ((x0 + x1) / 2, (y0 + y1) / 2 + self.shift_y * side), side


def apply(matrix: Matrix, points: Floats) -> Floats:
    """Maps points [..., 2] by affine maps [2, 3], or [N, 2, 3] for points [N, P, 2]."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points @ np.swapaxes(m[..., :2], -1, -2) + m[..., None, :, 2], dtype=np.float64)


def invert(matrix: Matrix) -> Matrix:
    """The maps back, of [2, 3] or [N, 2, 3]."""
    m = np.asarray(matrix, dtype=np.float64)
    linear = np.linalg.inv(m[..., :2])
    return np.concatenate([linear, -(linear @ m[..., 2:])], axis=-1)


def scale_of(matrix: Matrix) -> Floats:
    """Crop pixels per picture pixel, of [2, 3] or [N, 2, 3]."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.asarray(np.sqrt(np.abs(np.linalg.det(m[..., :2]))), dtype=np.float64)
