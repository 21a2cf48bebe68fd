"""What changes in the whole frame (`curate.stages.scene`), and whether another video shows the same change.

It proves copies that kept the framing: re-encoded, scaled, mirrored, trimmed, at another rate or speed. What is
cropped, letterboxed or set into another picture is framed otherwise, and faces alone tell of it.

Only what moves is evidence: from each shot its mean is taken off, from each frame its brightness and contrast. Two
takes before one wall, title cards, black frames and fades have nothing in common then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.motion import Float, Line, Times, nats

FAINTEST = 6.0
"""Levels of deviation within a frame below which its contrast is not raised: black frames are noise."""
FRAMED = 0.9
"""Mean cosine of the frames of two videos from which both are framed alike."""
CUT = 0.5
"""Cosine of a frame with the one before below which another shot begins."""
FEWEST = 3
"""Frames without which nothing is known."""
INSIDE = 0.8
"""Share of a later video's frames that an earlier one must have."""
LARGEST = 20_000
"""Frames of one video times those of the other up to which all lines between them are tried."""
SHARP, ELSEWHERE_S = 0.1, 0.5
"""By how much the correlation must exceed that at offsets that differ by so many seconds; where all are high, it must
be half as far from 1."""
AS_IT_WAS = 0.01
"""By how much better another speed must fit than the original's own."""


@dataclass(frozen=True)
class Scenes:
    """The frames of a video that hold faces: float64 [n] seconds, ascending, and float32 [n, D] views of mean 0 and
    mean square 1 (less of frames without contrast)."""

    times: Times
    views: Float

    @classmethod
    def of(cls, times: Times, stored: NDArray[np.uint8]) -> Scenes:
        """Of the frames of faces.

        Args:
            times: float64 [faces], ascending; faces of one frame have one time.
            stored: uint8 [faces, D], what `curate.stages.scene.view` gave.
        """
        times, first = np.unique(times, return_index=True)
        views = stored[first].astype(np.float32)
        views -= views.mean(axis=1, keepdims=True)
        return cls(times, views / np.maximum(views.std(axis=1, keepdims=True), FAINTEST))

    def mirrored(self) -> Scenes:
        """The same in a mirror."""
        side = round(self.views.shape[1] ** 0.5)
        turned = self.views.reshape(-1, side, side)[:, :, ::-1]
        return Scenes(self.times, np.ascontiguousarray(turned).reshape(self.views.shape))


@dataclass(frozen=True)
class SceneFit:
    """How the frames of a later video follow those of an earlier one along a line.

    Attributes:
        nats: evidence that they change alike (`curate.dedupe.motion.evidence`).
        correlation: of the change; elsewhere: the highest at another offset of the same speed, -1 where none was tried.
        likeness: mean cosine of the frames themselves.
        moves: root of the mean square of the later video's change, in deviations of a frame.
    """

    line: Line
    nats: float
    correlation: float
    elsewhere: float
    likeness: float
    moves: float

    @property
    def framed_alike(self) -> bool:
        """Whether both show the same part of the same scene."""
        return self.likeness >= FRAMED

    @property
    def sharp(self) -> bool:
        """Whether no other offset fits nearly as well."""
        return self.correlation - self.elsewhere >= min(SHARP, (1 - self.elsewhere) / 2)


def along(
    later: Scenes, earlier: Scenes, line: Line, start_s: float, end_s: float, interval_s: float
) -> SceneFit | None:
    """How some seconds of a later video follow an earlier one; None where they share too few frames."""
    here = (later.times >= start_s) & (later.times <= end_s)
    return _along(Scenes(later.times[here], later.views[here]), earlier, line, -1.0, interval_s)


def found(later: Scenes, earlier: Scenes, speeds: NDArray[np.float64], interval_s: float) -> SceneFit | None:
    """The line on which (nearly) all of a later video follows an earlier one best.

    Returns:
        None where they are not framed alike, share too few frames, or are so long that trying all lines takes too long:
        long videos have faces enough.
    """
    if min(len(later.times), len(earlier.times)) < FEWEST or len(later.times) * len(earlier.times) > LARGEST:
        return None
    products = later.views @ earlier.views.T
    if np.median(products.max(axis=1)) < FRAMED * later.views.shape[1]:
        return None
    best: tuple[float, Line, float] | None = None
    for speed in speeds.tolist():
        offsets = _offsets(later.times, earlier.times, speed, interval_s)
        if not len(offsets):
            continue
        correlation = _correlations(later, earlier, products, speed, offsets, interval_s)
        k = int(correlation.argmax())
        score = float(correlation[k]) + (AS_IT_WAS if speed == 1 else 0.0)
        if best is None or score > best[0]:
            away = np.abs(offsets - offsets[k]) > ELSEWHERE_S
            best = score, Line(speed, float(offsets[k])), float(correlation[away].max(initial=-1.0))
    return None if best is None or best[0] <= 0 else _along(later, earlier, best[1], best[2], interval_s)


def _offsets(later: Times, earlier: Times, speed: float, interval_s: float) -> Times:
    """Offsets at which enough of the later video may lie inside the earlier one."""
    out = int((1 - INSIDE) * (len(later) - 1))
    low, high = earlier[0] - speed * later[out], earlier[-1] - speed * later[-1 - out]
    return np.arange(low, high + 1e-6, interval_s / 2)


def _correlations(
    later: Scenes, earlier: Scenes, products: Float, speed: float, offsets: Times, interval_s: float
) -> NDArray[np.float64]:
    """float64 [offsets], of the change of all frames; -1 where too few are inside.

    Args:
        products: float32 [later, earlier], of their views.
    """
    at = speed * later.times[None, :] + offsets[:, None]
    left, right, share, inside = _between(earlier.times, at, interval_s)
    rows, there = np.arange(len(later.times))[None, :], inside.astype(np.float32)
    count = np.maximum(there.sum(axis=1), 1)
    own, other = (1 - share) * there, share * there
    # views of the earlier video at these times are sums of two of its frames, each taken with its weight
    weights = np.zeros((len(offsets), len(earlier.times)), np.float32)
    lines = np.broadcast_to(np.arange(len(offsets))[:, None], at.shape)
    np.add.at(weights, (lines, left), own)
    np.add.at(weights, (lines, right), other)
    x_sum, y_sum = there @ later.views, weights @ earlier.views
    squares = np.einsum("nd,nd->n", earlier.views, earlier.views)
    beside = np.einsum("nd,nd->n", earlier.views[:-1], earlier.views[1:])
    between = np.where(right > left, beside[np.minimum(left, len(beside) - 1)], 0.0)
    both = own * (1 - share) * squares[left] + other * share * squares[right] + 2 * own * share * between
    of_y = both.sum(axis=1) - np.einsum("ld,ld->l", y_sum, y_sum) / count
    of_x = there @ np.einsum("nd,nd->n", later.views, later.views) - np.einsum("ld,ld->l", x_sum, x_sum) / count
    dot = own * products[rows, left] + other * products[rows, right]
    product = dot.sum(axis=1) - np.einsum("ld,ld->l", x_sum, y_sum) / count
    correlation = product / np.sqrt(np.maximum(of_x * of_y, 1e-9))
    return np.asarray(np.where(inside.mean(axis=1) >= INSIDE, correlation, -1.0), np.float64)


def _between(
    times: Times, at: Times, interval_s: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float, NDArray[np.bool_]]:
    """The frames before and after some times, the share of the latter, and whether the times are inside."""
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 1)
    right = np.minimum(left + 1, len(times) - 1)
    gap = np.where(right > left, times[right] - times[left], np.inf)  # beyond the last frame, that one stands
    share = np.clip((at - times[left]) / gap, 0, 1).astype(np.float32)
    reach = 0.75 * interval_s
    return left, right, share, (at >= times[0] - reach) & (at <= times[-1] + reach)


def _along(later: Scenes, earlier: Scenes, line: Line, elsewhere: float, interval_s: float) -> SceneFit | None:
    """The fit of the frames of a later video that are inside the earlier one, but for shots of hardly a frame."""
    left, right, share, inside = _between(earlier.times, line.at(later.times), interval_s)
    share = share[inside, None]
    x = later.views[inside]
    y = (1 - share) * earlier.views[left[inside]] + share * earlier.views[right[inside]]
    shot = np.cumsum(_begins(x) | _begins(y)).astype(np.int64)
    long = np.bincount(shot, minlength=1)[shot] >= FEWEST
    if long.sum() < max(FEWEST, INSIDE * len(later.times)):
        return None
    value, correlation, moves = nats(x[long], y[long], np.asarray(shot[long]))
    return SceneFit(line, value, correlation, elsewhere, float((x * y).mean()), moves)


def _begins(views: Float) -> NDArray[np.bool_]:
    """bool [n], frames that begin a shot."""
    begins = np.zeros(len(views), np.bool_)
    begins[1:] = (views[1:] * views[:-1]).mean(axis=1) < CUT
    return begins
