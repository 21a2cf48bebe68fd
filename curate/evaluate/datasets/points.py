"""What the readers of landmark data sets share: `.pts` files, mirrored partners, boxes around points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.metrics import inter_ocular, tight_boxes
from curate.evaluate.metrics.landmarks import EYES
from curate.evaluate.pictures import DamagedPictureError, size_of
from curate.evaluate.samples import Normaliser

Floats = NDArray[np.float64]
CROP = CropRule("box", margin=0.25, size=224, origin="tight box around the annotated points")


def _pairs(count: int, *groups: tuple[range | list[int], range | list[int]]) -> tuple[int, ...]:
    partner = list(range(count))
    for left, right in groups:
        for a, b in zip(left, right, strict=True):
            partner[a], partner[b] = b, a
    return tuple(partner)


_INNER = (  # of 68, counted from the first brow point
    (range(5), range(9, 4, -1)),  # brows
    (range(14, 16), range(18, 16, -1)),  # nostrils
    ([19, 20, 21, 22, 23, 24], [28, 27, 26, 25, 30, 29]),  # eyes
    ([31, 32, 33], [37, 36, 35]),  # upper lip, outside
    ([42, 41], [38, 39]),  # lower lip, outside
    ([43, 44], [47, 46]),  # upper lip, inside
    ([50], [48]),  # lower lip, inside
)
MIRROR = {
    5: _pairs(5, ([0], [1]), ([3], [4])),
    19: _pairs(19, (range(6), range(5, -1, -1)), (range(6, 12), range(11, 5, -1)), ([12], [14]), ([15], [17])),
    29: _pairs(29, ([0, 2, 4, 5, 8, 10, 12, 13, 16, 18, 22], [1, 3, 6, 7, 9, 11, 14, 15, 17, 19, 23])),
    51: _pairs(51, *_INNER),
    68: _pairs(
        68,
        (range(8), range(16, 8, -1)),
        *[([17 + i for i in left], [17 + i for i in right]) for left, right in _INNER],
    ),
    98: _pairs(
        98,
        (range(16), range(32, 16, -1)),
        (range(33, 42), [46, 45, 44, 43, 42, 50, 49, 48, 47]),
        (range(55, 57), range(59, 57, -1)),
        (range(60, 68), [72, 71, 70, 69, 68, 75, 74, 73]),
        (range(76, 79), range(82, 79, -1)),
        ([87, 86], [83, 84]),
        ([88, 89], [92, 91]),
        ([95], [93]),
        ([96], [97]),
    ),
}
"""By number of points: each point's partner in the mirrored face. Other schemes are not mirrored in training."""


UNKNOWN = ((0.0, 0.0), (-1.0, -1.0))
"""What tools write for a point that is not annotated; `.pts` files count from (1, 1), so neither is a point."""


def read_pts(path: Path) -> Floats:
    """Points of an ibug `.pts` file, float64 [P, 2], in pixels from (0, 0): the file counts from (1, 1).

    What is not annotated (nan, or both coordinates 0 or -1) is NaN.

    Raises:
        UsageError: it is not of the format; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as .pts ({error})") from None
    count, points, inside = None, [], False
    for number, line in enumerate(text, 1):
        words = line.replace("{", " { ").replace("}", " } ").split()
        if words[:1] == ["n_points:"] or (words and words[0].startswith("n_points")):
            count = int(words[-1]) if words[-1].isdecimal() else None
        elif words[:1] == ["{"]:
            inside = True
        elif words[:1] == ["}"]:
            inside = False
        elif inside and words:
            try:
                x, y = (float(word) for word in words)
            except ValueError:
                raise UsageError(f"{path}:{number}: a point is two numbers, x and y") from None
            if math.isinf(x) or math.isinf(y):
                raise UsageError(f"{path}:{number}: a coordinate is infinite; write nan where a point is not known")
            points.append((math.nan, math.nan) if (x, y) in UNKNOWN else (x - 1, y - 1))
    if not points or (count is not None and count != len(points)):
        raise UsageError(f"{path}: n_points says {count}, but {len(points)} points stand between the braces")
    return np.array(points)


def refuse_far(points: Floats, picture: Path, file: Path) -> None:
    """Sees that points [P, 2 or more] lie in their picture or near it: what lies further off is a code, not a place.

    Raises:
        UsageError: a point is more than the picture's size outside of it.
    """
    try:
        width, height = size_of(picture)
    except DamagedPictureError:
        return  # it is counted when it is read
    place, size = points[:, :2], np.array([width, height])
    far = np.flatnonzero(((place < -size) | (place > 2 * size)).any(axis=1))  # False for NaN
    if far.size:
        x, y = place[far[0]] + 1
        raise UsageError(
            f"{file}: point {far[0] + 1} at ({x:g}, {y:g}) is far outside its picture of {width} x {height}; "
            "write nan where a point is not known"
        )


def usable(points: Floats) -> bool:
    """Whether a face's annotation can be scored: some known points, not all in one place, and the eyes apart."""
    known = points[~np.isnan(points).any(axis=1)]
    if len(known) < 2 or not (np.ptp(known, axis=0) > 1).all():
        return False
    return len(points) not in EYES or points.shape[1] != 2 or bool(inter_ocular(points[None])[0] > 0)


def boxes_of(points: Floats) -> list[Box]:
    """Tight boxes around points [N, P, 2], as the samples want them."""
    if not len(points):
        return []
    return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in tight_boxes(points)]


def usual_normaliser(count: int) -> Normaliser:
    """The inter-ocular distance where the eyes are known (`EYES`), else the box."""
    return "inter_ocular" if count in EYES else "box"
