"""Which spans of a later video show what an earlier one shows, at one speed and without a gap.

1. Alike pairs of faces vote for lines of times (`curate.dedupe.motion`), window by window of the later video, for each
   of many speeds.
2. The best lines are fitted to the interpolated path of the earlier video, and extended to both sides as far as the
   faces follow, which fits the line better.
3. A span is a copy if its faces *move* as the earlier ones do and at no other offset nearly as well; or, where nothing
   moves, if it is near-duplicate throughout.
4. Where both show the same part of a scene (`curate.dedupe.scene`), whole frames have to change alike, too; and they
   alone find the line of a short video whose faces are too small, or too few, to find it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.dedupe import scene
from curate.dedupe.motion import (
    FACE,
    HEAD,
    FacePath,
    Faces,
    Followed,
    Line,
    bend,
    evidence,
    fit,
    follow,
    stillness,
    strayed,
)

SPEEDS = np.concatenate(([1.0], np.exp(np.linspace(np.log(0.5), np.log(2.0), 36))))
"""Speeds of a copy that are tried."""
WINDOW_S = 8.0
"""Seconds of the later video in which a line is looked for."""
EACH = 16
"""Alike faces, the most alike first, that a face votes with."""
VOTED, LINES = 12, 3
"""Lines of a window, most voted first, that are looked at; and of these, best first, that are fitted."""
FEWEST = 3
"""Faces without which nothing is called a copy, unless the bytes are the same."""
SHARE = 0.75
"""Share of a span's moments, and of a track's faces, that must be alike."""
ALIKE_THROUGHOUT = 0.8
"""Share of near-duplicates from which a span in which nothing moves is a copy."""
STILL, SAME = 0.15, 0.3
"""Distance (1 - cosine) of faces to their own mean, in those of copied faces, up to which nothing moves; and the mean
distance to the original's up to which faces that do not move are a copy."""
STILL_S = 2.0
"""Seconds of such a span: people rest as they rested before for a second or two."""
ENOUGH, ENOUGH_IF_ALIKE = 14.0, 9.5
"""Evidence, in nats (`curate.dedupe.motion.evidence`), from which two motions are one; less where `MOVING` faces are
alike throughout and heads go along. Of some 5,500 lines through other takes of one person, nearly all of them other
seconds of one shot, one had more (19: a man who makes faces, twice the same ones); of those that are alike, the highest
had 6.3, and 11.5 with 5 faces."""
SCENE = 3.0
"""What the change of whole frames weighs beside the motion of faces and heads, where both are framed alike."""
SCENE_ENOUGH = 7.0
"""Evidence of whole frames alone from which two videos are one. Of 1,334 pairs of other seconds of one clip, or of two
clips, the best line had 3.9 at most; of 2,005 of other clips, 5.4 (a man who shakes his head in time)."""
SCENE_MOVES, SCENE_GOES_ALONG = 0.02, 0.5
"""Change of whole frames, in deviations of a frame, below which it may be that of a codec and proves nothing against
faces; and the correlation that more than that must have where faces are still, or correlate by less than `BY_FACES`."""
SCENE_FACES = 10.0
"""Distance of faces, in those of copied faces, beyond which other faces were set into the same frames. Those of 20
pixels at CRF 36 stray by 9."""
SHARP = 0.1
"""By how much the correlation must exceed that at any other offset; where motion is so slow that all are high, it must
be half as far from 1."""
STRAYED, OF_BEND = 0.02, 0.3
"""A head goes along with its original's if it strays by this many of its heights (eyes to mouth) at most, and by this
share of how far it bends off a straight path between two samples."""
ALONG, BY_FACES = 0.6, 0.85
"""Correlation of the motion of heads below which they do not go along, and that of faces from which these prove a copy
all the same: a crop that wanders takes the heads with it. Two takes of the same words by one person reached 0.74 of
faces; heads of copies kept 0.72 but for such crops, whose faces kept 0.89."""
MOVING = 6
"""Faces without which nearly all must be near-duplicates, too, and that alone proves nothing."""
ELSEWHERE_S = 0.5
"""Seconds from which another offset is another one."""
OFFSETS = 400
"""Other offsets that are looked at, nearest first."""
AS_IT_WAS = 0.01
"""By how much better another speed must fit than the original's own."""
PAUSE_S = 1.0
"""Seconds of a span without an alike face."""
AT_MOST = 96
"""Faces, spread over a span, that its correlation is computed from."""


Pair = tuple[scene.Scenes, scene.Scenes]
"""The frames of a later and of an earlier video."""


@dataclass(frozen=True)
class Search:
    """How copies are looked for.

    Attributes:
        interval_s: seconds between sampled frames.
        threshold: cosine from which a face is one with its original's (`curate.stages.appearance.Space.copied`).
    """

    interval_s: float
    threshold: float

    @property
    def alike(self) -> float:
        """Twice the angle of near-duplicates: a copy is sampled at other moments and aligned a little otherwise."""
        return max(2 * self.threshold**2 - 1, 0.0)

    def within(self, share: float) -> float:
        """Cosine whose distance from 1 is a share of the threshold's."""
        return 1 - share * (1 - self.threshold)


@dataclass(frozen=True)
class Span:
    """A span of a later video that is copied from an earlier one.

    Attributes:
        rows: bool [faces of the later video], those that are explained.
        start_s, end_s: of the later video; of_start_s, of_end_s: of the earlier one.
        similarity: mean cosine; correlation: of the motion; elsewhere: the highest one at another offset.
        scene: correlation of the change of whole frames; None where they are framed otherwise, or unknown.
    """

    rows: NDArray[np.bool_]
    start_s: float
    end_s: float
    of_start_s: float
    of_end_s: float
    speed: float
    similarity: float
    correlation: float
    elsewhere: float
    scene: float | None = None

    @property
    def faces(self) -> int:
        """Faces that are explained."""
        return int(self.rows.sum())

    @property
    def fit(self) -> float:
        """How well all its faces follow: of several lines, or sides of a face, the best is taken."""
        return self.faces * (self.similarity + self.correlation)


def copied_spans(
    later: Faces, earlier: Faces, search: Search, open_rows: NDArray[np.bool_], scenes: Pair | None = None
) -> list[Span]:
    """The spans of a later video that an earlier one explains.

    Args:
        open_rows: bool [later faces], those that nothing explains yet.
        scenes: their frames; None: unknown.
    """
    paths = earlier.paths()
    found: list[Span] = []
    for start in _windows(later.times):
        inside = open_rows & (later.times >= start) & (later.times <= start + WINDOW_S)
        for span in found:
            inside &= ~span.rows
        if inside.sum() < FEWEST:
            continue
        grown = [
            _grown(later, paths, line, inside, search, scenes)
            for line in _lines(later.some(inside), earlier, paths, search)
        ]
        spans = [span for span in grown if span is not None]
        if spans:
            found.append(max(spans, key=lambda span: span.fit))
    if not found and scenes and (whole := _by_scene(later, paths, search, scenes)):
        found.append(whole)
    return found


def _windows(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Starts of windows that overlap by half; one where the video is hardly longer."""
    length = float(times[-1] - times[0])
    count = 1 if length <= WINDOW_S else int(np.ceil(length / (WINDOW_S / 2))) - 1
    return np.asarray(times[0] + WINDOW_S / 2 * np.arange(count), np.float64)


def _lines(window: Faces, earlier: Faces, paths: list[FacePath], search: Search) -> list[Line]:
    """The lines that faces of a window vote for and follow best."""
    middle = float(window.times.mean())
    scored: list[tuple[float, Line]] = []
    for speed, place in _voted(window, earlier, middle, search):
        offsets = place - speed * middle + np.array([-0.5, 0.0, 0.5]) * search.interval_s
        # Only faces that are alike: the rest of a window that a copy fills in part would choose a line by chance.
        found = fit(paths, window, speed, offsets, search.interval_s, search.alike)
        score = found.score / len(window)
        k = int(np.argmax(score))
        scored.append((float(score[k]), Line(speed, float(offsets[k]))))
    scored.sort(key=lambda entry: -entry[0])
    return [line for _, line in scored[:LINES]]


def _voted(window: Faces, earlier: Faces, middle: float, search: Search) -> Iterator[tuple[float, float]]:
    """Speeds, each with the time of the earlier video at the window's middle, that most faces vote for."""
    cosine = window.vectors @ earlier.vectors.T
    if cosine.shape[1] > EACH:
        least = np.partition(cosine, -EACH, axis=1)[:, -EACH]
        cosine[cosine < least[:, None]] = -1
    face, other = np.nonzero(cosine >= search.alike)
    if len(np.unique(face)) < FEWEST:
        return
    weight = (cosine[face, other] - search.alike) / max(1 - search.alike, 1e-6) + 0.1
    width = search.interval_s / 2
    scored: list[tuple[float, float, float]] = []
    for speed in SPEEDS.tolist():
        place = np.round((earlier.times[other] - speed * (window.times[face] - middle)) / width).astype(np.int64)
        first = int(place.min())
        # A face votes once for a line, with its best pair, so that a still passage does not outvote the rest.
        ballots = np.zeros((int(place.max()) - first + 3, len(window)))
        np.maximum.at(ballots, (place - first + 1, face), weight)
        votes = ballots.sum(axis=1)
        beside = votes[1:-1] + 0.5 * (votes[2:] + votes[:-2])
        likeliest = np.argsort(-beside, kind="stable")[:2].tolist()
        bonus = 1.1 if speed == 1 else 1.0
        scored += [(float(beside[k]) * bonus, speed, (k + first) * width) for k in likeliest]
    scored.sort(key=lambda entry: (-entry[0], abs(np.log(entry[1]))))
    taken: list[tuple[float, float]] = []
    for _, speed, at in scored:
        if all(abs(np.log(speed / s)) > 0.06 or abs(at - before) > 2 * search.interval_s for s, before in taken):
            taken.append((speed, at))
            yield speed, at
        if len(taken) == VOTED:
            return


def _grown(
    later: Faces,
    paths: list[FacePath],
    line: Line,
    inside: NDArray[np.bool_],
    search: Search,
    scenes: Pair | None,
) -> Span | None:
    """The span around a window that follows a line, which is fitted on the way; None where it is no copy."""
    rows = inside
    for turn in range(4):
        line = _fitted(later.some(rows), paths, line, search, coarse=turn == 0)
        grown = _following(later, paths, line, rows, search)
        if grown is None:
            return None
        if turn and (grown == rows).all():
            break
        rows = grown
    return _judged(later.some(rows), paths, line, rows, search, scenes)


def _fitted(faces: Faces, paths: list[FacePath], line: Line, search: Search, coarse: bool) -> Line:
    """The line near a given one that faces follow best."""
    faces = _spread(faces)
    length = max(float(np.ptp(faces.times)), search.interval_s)
    reach = search.interval_s * (1.0 if coarse else 0.5)
    turn = min(0.05, 1.5 * reach / length)
    speeds = {1.0} if line.speed == 1.0 and coarse else {*(line.speed * (1 + np.linspace(-turn, turn, 7))).tolist()}
    speeds |= {1.0} if abs(line.speed - 1) <= 2 * turn else set()
    best, middle = (-np.inf, line), float(faces.times.mean())
    for speed in sorted(speeds):
        offsets = line.at(np.array(middle)) - speed * middle + np.linspace(-reach, reach, 9)
        found = fit(paths, faces, speed, offsets, search.interval_s)
        score = found.score / len(faces)
        k = int(np.argmax(score))
        score[k] += AS_IT_WAS if speed == 1 else 0.0
        if score[k] > best[0]:
            best = float(score[k]), Line(speed, float(offsets[k]))
    return best[1]


def _following(
    later: Faces, paths: list[FacePath], line: Line, inside: NDArray[np.bool_], search: Search
) -> NDArray[np.bool_] | None:
    """bool [later faces]: those of the run around a window that follow a line; None where too few do."""
    cosine = follow(paths, line.at(later.times)[None, :], later, search.interval_s).cosine[0]
    alike = cosine >= search.alike
    moments = np.unique(later.times[alike])
    if len(moments) < FEWEST:
        return None
    runs = np.split(moments, np.flatnonzero(np.diff(moments) > max(PAUSE_S, 3 * search.interval_s)) + 1)
    window = later.times[inside]
    run = max(runs, key=lambda run: np.isin(window, run).sum())
    around = (later.times >= run[0]) & (later.times <= run[-1])
    shown = len(run) / len(np.unique(later.times[around]))
    rows = around & (cosine > -1)
    for track in np.unique(later.tracks[rows]):  # others are beside what is copied
        own = rows & (later.tracks == track)
        if alike[own].mean() < SHARE:
            rows &= ~own
    return rows if shown >= SHARE and rows.sum() >= FEWEST else None


def _judged(
    faces: Faces, paths: list[FacePath], line: Line, rows: NDArray[np.bool_], search: Search, scenes: Pair | None
) -> Span | None:
    """The span, if it is a copy."""
    some = _spread(faces)
    followed = follow(paths, line.at(some.times)[None, :], some, search.interval_s)
    throughout = float((followed.cosine >= search.threshold).mean()) >= ALIKE_THROUGHOUT
    if len(some) < MOVING and not throughout:
        return None
    own = fit(paths, some, line.speed, np.array([line.offset]), search.interval_s)
    similarity, correlation = float(own.cosine[0]), float(own.correlation[0])
    elsewhere = _elsewhere(some, paths, line, search)
    start, end = float(faces.times.min()), float(faces.times.max())
    seen = scene.along(*scenes, line, start, end, search.interval_s) if scenes else None
    seen = seen if seen and seen.framed_alike else None
    along = _goes_along(faces, some, followed)
    alike = throughout and len(some) >= MOVING and along
    still = alike and stillness(some) >= search.within(STILL) and similarity >= search.within(SAME)
    still = still and float(np.ptp(faces.times)) >= STILL_S
    otherwise = _moves_otherwise(seen)
    still = still and not otherwise
    sharp = correlation - elsewhere >= min(SHARP, (1 - elsewhere) / 2)
    apart = correlation < BY_FACES and (otherwise or (not along and own.head[0] < ALONG))
    enough = _together(some, followed, seen) >= (ENOUGH_IF_ALIKE if alike else ENOUGH)
    if not still and not (sharp and enough and not apart):
        return None
    of_start, of_end = (line.speed * time + line.offset for time in (start, end))
    shown = None if seen is None else seen.correlation
    return Span(rows, start, end, of_start, of_end, line.speed, similarity, correlation, elsewhere, shown)


def _together(faces: Faces, followed: Followed, seen: scene.SceneFit | None) -> float:
    """The evidence of faces, of heads, and of whole frames where these are framed alike, in nats."""
    own = evidence(faces, followed)
    if seen is None:
        return own
    both = (own + SCENE * seen.nats) * (FACE + HEAD) / (FACE + HEAD + SCENE)
    return both if seen.moves >= SCENE_MOVES else max(own, both)


def _by_scene(later: Faces, paths: list[FacePath], search: Search, scenes: Pair) -> Span | None:
    """All of a video whose frames change as those of an earlier one, though its faces found no line."""
    seen = scene.found(*scenes, SPEEDS, search.interval_s)
    if seen is None or not seen.framed_alike or not seen.sharp:
        return None
    line = seen.line
    followed = follow(paths, line.at(later.times)[None, :], later, search.interval_s)
    rows = np.asarray(followed.cosine[0] > -1, np.bool_)
    if rows.sum() < FEWEST:
        return None
    faces = later.some(rows)
    some = _spread(faces)
    followed = follow(paths, line.at(some.times)[None, :], some, search.interval_s)
    if seen.nats < SCENE_ENOUGH and _together(some, followed, seen) < ENOUGH:
        return None
    own = fit(paths, some, line.speed, np.array([line.offset]), search.interval_s)
    if own.cosine[0] < search.within(SCENE_FACES) or (_moves_otherwise(seen) and own.correlation[0] < BY_FACES):
        return None
    start, end = float(faces.times.min()), float(faces.times.max())
    of_start, of_end = (line.speed * time + line.offset for time in (start, end))
    seen_there = float(own.cosine[0]), float(own.correlation[0]), seen.elsewhere, seen.correlation
    return Span(rows, start, end, of_start, of_end, line.speed, *seen_there)


def _goes_along(faces: Faces, some: Faces, followed: Followed) -> bool:
    """Whether heads go where the original's go, as far as it is known."""
    apart = strayed(some, followed)
    return apart is None or apart <= STRAYED + OF_BEND * bend(faces)


def _moves_otherwise(seen: scene.SceneFit | None) -> bool:
    """Whether frames that are framed alike change in other ways."""
    return seen is not None and seen.moves >= SCENE_MOVES and seen.correlation < SCENE_GOES_ALONG


def _elsewhere(faces: Faces, paths: list[FacePath], line: Line, search: Search) -> float:
    """The highest correlation at another offset at which most of the faces meet a path; -1: there is none."""
    first = min(float(path.times[0]) for path in paths)
    last = max(float(path.times[-1]) for path in paths)
    low = first - line.speed * float(np.quantile(faces.times, 0.75))
    high = last - line.speed * float(np.quantile(faces.times, 0.25))
    offsets = np.arange(low, high, search.interval_s / 2)
    away = np.abs(offsets - line.offset)
    offsets = offsets[np.argsort(away, kind="stable")]
    offsets = offsets[np.sort(away) > ELSEWHERE_S][:OFFSETS]
    if not len(offsets):
        return -1.0
    found = fit(paths, faces, line.speed, offsets, search.interval_s)
    enough = found.count >= max(FEWEST, SHARE * len(faces))
    return float(np.where(enough, found.correlation, -1.0).max())


def _spread(faces: Faces) -> Faces:
    """At most `AT_MOST` faces, spread over all."""
    if len(faces) <= AT_MOST:
        return faces
    return faces.some(np.unique(np.linspace(0, len(faces) - 1, AT_MOST).round().astype(np.int64)))
