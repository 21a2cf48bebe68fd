"""How faces move through a video, and whether another video shows the same motion.

A face's vectors over time are a path. Where a later video shows time t', an earlier one that it copies shows
t = speed t' + offset, on a straight *line* of times. The path of the earlier one is interpolated between its samples,
so that copies that were sampled at other moments, or that run faster, meet the pictures that they were made from.

With the mean of each side taken off, what is left of two paths *correlates* if they are one: a constant error of
alignment falls out of it. Other takes of one person in one place come near in every picture, but do not move alike.
And the correlation of a copy has a sharp peak: at another offset its faces do other things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Times = NDArray[np.float64]

NEAR = 0.75
"""Sampling intervals beyond the ends of a path, or of a gap in it, up to which its last face still stands."""
GAP = 2.6
"""Sampling intervals between two faces of a track up to which the path between them is interpolated."""
AT_ONCE = 1 << 21
"""Numbers of interpolated vectors that are held at once: 8 MB."""


@dataclass(frozen=True)
class FacePath:
    """The faces of one track: float64 [n] seconds, ascending, and float32 [n, D] unit rows."""

    times: Times
    vectors: Float


@dataclass(frozen=True)
class Faces:
    """Some faces of a video, by time; all [n], and float32 [n, D] unit rows."""

    times: Times
    vectors: Float
    tracks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def some(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Faces:
        """These of them."""
        return Faces(self.times[rows], self.vectors[rows], self.tracks[rows])

    def paths(self) -> list[FacePath]:
        """The path of each track, longest first."""
        order = np.argsort(self.tracks, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.tracks[order])) + 1) if len(order) else []
        return sorted((FacePath(self.times[rows], self.vectors[rows]) for rows in groups), key=lambda p: -len(p.times))


@dataclass(frozen=True)
class Line:
    """The times of two videos that belong together: of the earlier one `speed * t + offset`, in seconds."""

    speed: float
    offset: float

    def at(self, times: Times) -> Times:
        """Times of the earlier video, of times of the later one."""
        return self.speed * times + self.offset


@dataclass(frozen=True)
class Fit:
    """How well the faces of a later video follow an earlier one along lines of one speed; all [lines].

    Attributes:
        count: int64, faces that meet a path.
        cosine: float64, mean cosine of these.
        correlation: float64, of the motion; 0 where nothing moves or nothing meets.
    """

    count: NDArray[np.int64]
    cosine: NDArray[np.float64]
    correlation: NDArray[np.float64]


def follow(paths: list[FacePath], at: Times, faces: Float, interval_s: float) -> tuple[NDArray[np.float64], Float]:
    """The most alike point of any path at some times.

    Args:
        at: [lines, n], times in the earlier video.
        faces: [n, D], the later video's.

    Returns:
        float64 [lines, n], the cosine, -1 where there is no path; and float32 [lines, n, D], the points.
    """
    best = np.full(at.shape, -1.0)
    points = np.zeros((*at.shape, faces.shape[1]), np.float32)
    for path in paths:
        if path.times[-1] < at.min() - interval_s or path.times[0] > at.max() + interval_s:
            continue
        point, there = _interpolated(path, at, interval_s)
        cosine = np.where(there, np.einsum("lnd,nd->ln", point, faces), -1.0)
        better = cosine > best
        best[better], points[better] = cosine[better], point[better]
    return best, points


def fit(
    paths: list[FacePath], faces: Faces, speed: float, offsets: Times, interval_s: float, least: float = -1.0
) -> Fit:
    """How well faces of a later video follow an earlier one at several offsets.

    Args:
        paths: of the earlier video.
        faces: of the later one.
        least: cosine to the path without which a face does not count.
    """
    step = max(1, AT_ONCE // max(faces.vectors.size, 1))
    parts = []
    for first in range(0, len(offsets), step):
        at = speed * faces.times[None, :] + offsets[first : first + step, None]
        cosine, points = follow(paths, at, faces.vectors, interval_s)
        matched = (cosine > -1) & (cosine >= least)
        count = matched.sum(axis=1)
        mean = np.where(matched, cosine, 0).sum(axis=1) / np.maximum(count, 1)
        parts.append((count, mean, _correlation(faces, points, matched)))
    count, mean, correlation = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Fit(count, mean, correlation)


def stillness(faces: Faces) -> float:
    """The least, over the tracks, of the mean cosine of faces to their own mean: 1 where nothing moves."""
    means = (faces.vectors[faces.tracks == track].mean(axis=0) for track in np.unique(faces.tracks))
    return min(float(np.linalg.norm(mean)) for mean in means)


def _correlation(faces: Faces, points: Float, matched: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [lines]: of what is left when each track's own mean is taken off; points: [lines, n, D]."""
    sums = np.zeros((3, len(points)))
    for track in np.unique(faces.tracks):
        here = faces.tracks == track
        x, y, weight = faces.vectors[here], points[:, here], matched[:, here].astype(np.float32)
        total = np.maximum(weight.sum(axis=1), 1)
        x_sum, y_sum = weight @ x, np.einsum("ln,lnd->ld", weight, y)
        means = (np.einsum("ld,ld->l", a, b) / total for a, b in ((x_sum, y_sum), (x_sum, x_sum), (y_sum, y_sum)))
        squares = weight @ np.einsum("nd,nd->n", x, x)
        moments = np.einsum("ln,lnd,nd->l", weight, y, x), squares, np.einsum("ln,lnd,lnd->l", weight, y, y)
        sums += np.stack([moment - mean for moment, mean in zip(moments, means, strict=True)])
    scale = np.sqrt(np.maximum(sums[1], 0) * np.maximum(sums[2], 0))
    return np.where(scale > 1e-6, sums[0] / np.maximum(scale, 1e-12), 0.0)


def _interpolated(path: FacePath, at: Times, interval_s: float) -> tuple[Float, NDArray[np.bool_]]:
    """Unit points of a path at some times, and whether it is there."""
    left = np.clip(np.searchsorted(path.times, at, side="right") - 1, 0, len(path.times) - 1)
    right = np.minimum(left + 1, len(path.times) - 1)
    gap = path.times[right] - path.times[left]
    share = np.clip(np.where(gap > 0, (at - path.times[left]) / np.where(gap > 0, gap, 1), 0), 0, 1)
    share = np.where(gap <= GAP * interval_s, share, np.round(share)).astype(np.float32)[..., None]
    away = np.minimum(np.abs(at - path.times[left]), np.abs(at - path.times[right]))
    inside = (at >= path.times[left]) & (at <= path.times[right]) & (gap <= GAP * interval_s)
    point = (1 - share) * path.vectors[left] + share * path.vectors[right]
    point /= np.maximum(np.linalg.norm(point, axis=-1, keepdims=True), 1e-12)
    return point, inside | (away <= NEAR * interval_s)
