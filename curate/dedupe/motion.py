"""How faces move through a video, and whether another video shows the same motion.

A face's vectors over time are a path. Where a later video shows time t', an earlier one that it copies shows
t = speed t' + offset, on a straight *line* of times. The path of the earlier one is interpolated between its samples,
so that copies that were sampled at other moments, or that run faster, meet the pictures that they were made from.

With the mean of each side taken off, what is left of two paths *correlates* if they are one: a constant error of
alignment falls out of it. Other takes of one person in one place come near in every picture, but do not move alike.
And the correlation of a copy has a sharp peak: at another offset its faces do other things.

Where the head goes in its frame is a second path, which does not depend on what the face looks like: a copy's head goes
where its original's went, but for one scale and one shift, however much of the picture re-encoding took.
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
FACE, HEAD = 2.0, 1.0
"""What the motion of faces and that of heads weigh: where a head is, is few numbers."""
HIGHEST = 0.995
"""Correlation beyond which nothing more is known."""
AT_ONCE = 1 << 21
"""Numbers of interpolated vectors that are held at once: 8 MB."""


@dataclass(frozen=True)
class FacePath:
    """The faces of one track: float64 [n] seconds, ascending, float32 [n, D] unit rows, float32 [n, P] places."""

    times: Times
    vectors: Float
    places: Float


@dataclass(frozen=True)
class Faces:
    """Some faces of a video, by time; all [n].

    Attributes:
        vectors: float32 [n, D], unit rows.
        places: float32 [n, 4], x and y of the middle of the eyes and of the mouth in the frame; [n, 0] where unknown.
    """

    times: Times
    vectors: Float
    tracks: NDArray[np.int64]
    places: Float

    def __len__(self) -> int:
        return len(self.times)

    def some(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Faces:
        """These of them."""
        return Faces(self.times[rows], self.vectors[rows], self.tracks[rows], self.places[rows])

    def by_track(self) -> list[NDArray[np.int64]]:
        """Rows of each track, in the order of time."""
        order = np.argsort(self.tracks, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.tracks[order])) + 1) if len(order) else []

    def paths(self) -> list[FacePath]:
        """The path of each track, longest first."""
        paths = (FacePath(self.times[rows], self.vectors[rows], self.places[rows]) for rows in self.by_track())
        return sorted(paths, key=lambda path: -len(path.times))


@dataclass(frozen=True)
class Line:
    """The times of two videos that belong together: of the earlier one `speed * t + offset`, in seconds."""

    speed: float
    offset: float

    def at(self, times: Times) -> Times:
        """Times of the earlier video, of times of the later one."""
        return self.speed * times + self.offset


@dataclass(frozen=True)
class Followed:
    """What faces of a later video meet of an earlier one along some lines.

    Attributes:
        cosine: float64 [lines, n], to the most alike point of any path, -1 where there is none.
        vectors: float32 [lines, n, D], these points; places: float32 [lines, n, P], theirs.
    """

    cosine: NDArray[np.float64]
    vectors: Float
    places: Float


@dataclass(frozen=True)
class Fit:
    """How well the faces of a later video follow an earlier one along lines of one speed; all [lines].

    Attributes:
        count: int64, faces that meet a path.
        cosine: float64, mean cosine of these.
        correlation: float64, of the motion of faces; head: of that of heads in the frame. 0 where nothing moves,
            nothing meets, or places are unknown.
    """

    count: NDArray[np.int64]
    cosine: NDArray[np.float64]
    correlation: NDArray[np.float64]
    head: NDArray[np.float64]

    @property
    def score(self) -> NDArray[np.float64]:
        """float64 [lines]: by what lines are chosen."""
        return np.asarray(self.count * (self.cosine + self.correlation + self.head), np.float64)


def follow(paths: list[FacePath], at: Times, faces: Faces, interval_s: float) -> Followed:
    """What faces [n] meet at some times [lines, n] of an earlier video."""
    best = np.full(at.shape, -1.0)
    points = np.zeros((*at.shape, faces.vectors.shape[1]), np.float32)
    places = np.zeros((*at.shape, faces.places.shape[1]), np.float32)
    for path in paths:
        if path.times[-1] < at.min() - interval_s or path.times[0] > at.max() + interval_s:
            continue
        point, place, there = _interpolated(path, at, interval_s)
        cosine = np.where(there, np.einsum("lnd,nd->ln", point, faces.vectors), -1.0)
        better = cosine > best
        best[better], points[better], places[better] = cosine[better], point[better], place[better]
    return Followed(best, points, places)


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
        followed = follow(paths, at, faces, interval_s)
        matched = (followed.cosine > -1) & (followed.cosine >= least)
        count = matched.sum(axis=1)
        mean = np.where(matched, followed.cosine, 0).sum(axis=1) / np.maximum(count, 1)
        pairs = (faces.vectors, followed.vectors), (faces.places, followed.places)
        parts.append((count, mean, *(_correlation(*_moments(x, y, faces.tracks, matched)) for x, y in pairs)))
    return Fit(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def stillness(faces: Faces) -> float:
    """The least, over the tracks, of the mean cosine of faces to their own mean: 1 where nothing moves."""
    return min(float(np.linalg.norm(faces.vectors[rows].mean(axis=0))) for rows in faces.by_track())


def evidence(faces: Faces, followed: Followed) -> float:
    """How much more likely faces and heads move together along a line than by chance, in nats.

    Of n independent pairs that correlate by r, -n / 2 log(1 - r^2) is the logarithm of the likelihood ratio of normal
    variables. Neighbours in time are not independent, so n is that of Bartlett (1935), "Some aspects of the
    time-correlation problem".

    Args:
        followed: along one line.
    """
    there = followed.cosine[0] > -1
    pairs = (FACE, faces.vectors, followed.vectors), (HEAD, faces.places, followed.places)
    known = [pair for pair in pairs if pair[1].size]
    total = sum(weight * nats(own[there], met[0][there], faces.tracks[there])[0] for weight, own, met in known)
    return float(total * (FACE + HEAD) / sum(weight for weight, *_ in known))


def nats(own: Float, met: Float, groups: NDArray[np.int64]) -> tuple[float, float, float]:
    """Evidence that two paths [n, D], given by time, are one; their correlation; and how much the first moves.

    Args:
        groups: int64 [n], tracks or shots, whose means are taken off.
    """
    x, y = (_centred(side, groups) for side in (own, met))
    correlation = float((x * y).sum()) / max(float(np.linalg.norm(x)) * float(np.linalg.norm(y)), 1e-9)
    sure = min(max(correlation, 0.0), HIGHEST)
    value = -_independent(x, y, groups) / 2 * float(np.log(1 - sure**2))
    return value, correlation, float(np.sqrt((x**2).mean()))


def _centred(values: Float, tracks: NDArray[np.int64]) -> Float:
    """Values [n, D] without the mean of their track."""
    centred = values.astype(np.float32)
    for track in np.unique(tracks):
        centred[tracks == track] -= values[tracks == track].mean(axis=0)
    return centred


def _independent(x: Float, y: Float, tracks: NDArray[np.int64]) -> float:
    """How many independent pairs two centred paths [n, D], given by time, are worth."""
    worth = 0.0
    for track in np.unique(tracks):
        here = tracks == track
        grams = [side[here] @ side[here].T for side in (x, y)]
        powers = [max(float(np.trace(gram)), 1e-9) for gram in grams]
        repeated = 1.0
        for lag in range(1, int(here.sum()) // 2 + 1):
            shares = [float(np.trace(gram, lag)) / power for gram, power in zip(grams, powers, strict=True)]
            if min(shares) <= 0:
                break
            repeated += 2 * shares[0] * shares[1]
        worth += float(here.sum()) / repeated
    return worth


def strayed(faces: Faces, followed: Followed) -> float | None:
    """How far heads are from where those of an earlier video were: the median, in heights from eyes to mouth.

    One scale is fitted for all, and one shift for each track.

    Args:
        followed: along one line.

    Returns:
        None where places are unknown.
    """
    matched = followed.cosine > -1
    if not faces.places.size or not matched.any():
        return None
    _, products, squares = (float(s[0]) for s in _moments(faces.places, followed.places, faces.tracks, matched))
    scale = max(products, 0.0) / squares if squares > 0 else 0.0
    left = faces.places - scale * followed.places[0]
    parts = (left[rows[matched[0, rows]]] for rows in faces.by_track())
    return _off([(part - np.median(part, axis=0)).astype(np.float32) for part in parts if len(part)], faces)


def bend(faces: Faces) -> float:
    """How far heads are from the middle of where they were before and after, as `strayed` measures it."""
    tracks = (faces.places[rows] for rows in faces.by_track())
    return _off([np.asarray(p[1:-1] - (p[2:] + p[:-2]) / 2, np.float32) for p in tracks], faces)


def _off(parts: list[Float], faces: Faces) -> float:
    """Median length of places [n, 4] that should be 0."""
    off = np.linalg.norm(np.concatenate(parts), axis=1) / np.sqrt(2)
    return float(np.median(off)) / _height(faces) if len(off) else 0.0


def _height(faces: Faces) -> float:
    """Mean distance from eyes to mouth."""
    return max(float(np.linalg.norm(faces.places[:, 2:] - faces.places[:, :2], axis=1).mean()), 1e-6)


def _moments(
    values: Float, points: Float, tracks: NDArray[np.int64], matched: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares of `values` [n, D], of products with `points` [lines, n, D], and of squares of these; [lines].

    Each track's own mean is taken off.
    """
    sums = np.zeros((3, len(points)))
    for track in np.unique(tracks):
        here = tracks == track
        weight = matched[:, here].astype(np.float32)
        total = np.maximum(weight.sum(axis=1), 1)
        # means go first: pixels are large beside what a head moves
        x, y = values[here] - values[here].mean(axis=0), points[:, here]
        y = (y - np.einsum("ln,lnd->ld", weight, y)[:, None] / total[:, None, None]) * weight[..., None]
        x_sum = weight @ x
        squares = weight @ np.einsum("nd,nd->n", x, x) - np.einsum("ld,ld->l", x_sum, x_sum) / total
        sums += np.stack([squares, np.einsum("lnd,nd->l", y, x), np.einsum("lnd,lnd->l", y, y)])
    return sums[0], sums[1], sums[2]


def _correlation(
    squares: NDArray[np.float64], products: NDArray[np.float64], of_points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64 [lines], of what `_moments` gives."""
    scale = np.sqrt(np.maximum(squares, 0) * np.maximum(of_points, 0))
    return np.where(scale > 1e-6, products / np.maximum(scale, 1e-12), 0.0)


def _interpolated(path: FacePath, at: Times, interval_s: float) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Unit points of a path at some times, the places there, and whether it is there."""
    left = np.clip(np.searchsorted(path.times, at, side="right") - 1, 0, len(path.times) - 1)
    right = np.minimum(left + 1, len(path.times) - 1)
    gap = path.times[right] - path.times[left]
    share = np.clip(np.where(gap > 0, (at - path.times[left]) / np.where(gap > 0, gap, 1), 0), 0, 1)
    share = np.where(gap <= GAP * interval_s, share, np.round(share)).astype(np.float32)[..., None]
    away = np.minimum(np.abs(at - path.times[left]), np.abs(at - path.times[right]))
    inside = (at >= path.times[left]) & (at <= path.times[right]) & (gap <= GAP * interval_s)
    point, place = ((1 - share) * values[left] + share * values[right] for values in (path.vectors, path.places))
    point /= np.maximum(np.linalg.norm(point, axis=-1, keepdims=True), 1e-12)
    return point, place, inside | (away <= NEAR * interval_s)
