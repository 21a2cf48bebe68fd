"""Which videos show again what earlier ones show: re-encoded, rescaled, cropped, letterboxed, mirrored, trimmed, at
another rate or speed, cut together, or set into a corner.

A few faces of each video are looked up among those of all earlier ones that are no copies themselves and do not repeat
the face before (`curate.dedupe.copy_index`), as they are and mirrored. Earlier videos that several of them are alike to
are candidates, and what they have in common is settled span by span (`curate.dedupe.copied_spans`). A video of which
nearly every face is explained by earlier ones is a duplicate; of others the copied parts are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.dedupe.copied_spans import FEWEST, Search, Span, copied_spans
from curate.dedupe.copy_candidates import candidates
from curate.dedupe.motion import Faces
from curate.dedupe.sampled_video import Mirror, SampledVideo
from curate.dedupe.threads import Map, pool

WHOLE = 0.8
"""Share of a video's faces that earlier ones explain, from which it is a duplicate."""
ALL_OF_IT = 0.95
"""Share that one candidate explains, from which no other is looked at."""
ABOUT_AS_MANY = 0.8
"""Share of the faces that the best candidate explains, from which an earlier one is the original."""
SAME_SPEED = 0.02
"""By how much a speed differs from 1 at least; and by so much that copy and original part by a sampling interval."""
SHORTER = 0.9
"""Share of its original's length below which a copy is trimmed."""
IN_A_MIRROR = np.array([-1, 1, -1, 1], np.float32)
"""What becomes of places, but for the width of the picture."""

Kind = Literal["same_bytes", "reupload", "trimmed", "mirrored", "speed", "compilation", "inset", "part"]


@dataclass(frozen=True)
class TimeSpan:
    """Seconds of a copy, from the first frame of its stream, and those of the original that it shows there."""

    start_s: float
    end_s: float
    of_start_s: float
    of_end_s: float


@dataclass(frozen=True)
class Evidence:
    """Why a video is called a copy; of its longest span.

    Attributes:
        faces: that follow the original, over all spans.
        similarity: their mean cosine; correlation: of the motion; elsewhere: the highest at any other offset.
        speed: seconds of the original in one of the copy; mirrored: whether it is shown in a mirror.
        scene: correlation of the change of whole frames; None where they are framed otherwise, or unknown.
    """

    faces: int
    similarity: float
    correlation: float
    elsewhere: float
    speed: float
    mirrored: bool
    scene: float | None = None


@dataclass(frozen=True)
class VideoCopy:
    """What a video shows of an earlier one.

    Attributes:
        whole: whether the video is a duplicate: earlier ones explain (nearly) all of it.
        spans: by time; empty where all bytes are the same.
        evidence: None where the bytes are the same.
    """

    video_id: str
    duplicate_of: str
    kind: Kind
    whole: bool
    spans: tuple[TimeSpan, ...] = ()
    evidence: Evidence | None = None


def find_copies(videos: Sequence[SampledVideo], search: Search, mirror: Mirror | None = None) -> list[VideoCopy]:
    """What each video shows of earlier ones: in the order of the videos; of each, most explained first.

    Args:
        videos: in the order of the user's list; only earlier ones can be originals.
        mirror: gives the vectors [n, D] of the mirrored pictures; None: mirrored copies are not looked for.
    """
    with pool(None) as each:
        return list(_copies([video for video in videos if len(video.times)], search, mirror, each))


def _copies(with_faces: list[SampledVideo], search: Search, mirror: Mirror | None, each: Map) -> Iterator[VideoCopy]:
    of: dict[str, str] = {}  # duplicate -> its original
    bytes_of: dict[str, list[SampledVideo]] = {}
    for block, hits in candidates(with_faces, search, mirror, of, each):
        for place in block:
            video = with_faces[place]
            same = bytes_of.setdefault(video.content_sha256, []) if video.content_sha256 else []
            copies = _same_bytes(video, same, of)
            if not any(copy.whole for copy in copies):
                others = [k for k in hits(place) if with_faces[k] not in same]
                copies += _by_faces(video, [with_faces[k] for k in others], search, mirror)
            same.append(video)
            of.update((copy.video_id, copy.duplicate_of) for copy in copies[:1] if copy.whole)
            yield from copies


def _same_bytes(video: SampledVideo, earlier: Sequence[SampledVideo], of: dict[str, str]) -> list[VideoCopy]:
    """What a video is by its bytes: two ranges of one source are copies only as far as they overlap."""
    best: tuple[float, VideoCopy] | None = None
    start, end = _range(video)
    length = min(end, float(video.times[-1])) - start
    for other in earlier:
        of_start, of_end = _range(other)
        low, high = max(start, of_start), min(end, of_end)
        if high <= low:
            continue
        share = (min(high, start + length) - low) / length if length > 0 else 1.0
        ranged = any(value is not None for value in (video.start_s, video.end_s, other.start_s, other.end_s))
        until = min(high, start + length)
        spans = (TimeSpan(low, until, low, until),) if ranged else ()
        whole = share >= WHOLE
        if best is None or share > best[0]:
            original = of.get(other.video_id, other.video_id) if whole else other.video_id
            best = share, VideoCopy(video.video_id, original, "same_bytes", whole, spans)
    return [best[1]] if best else []


def _range(video: SampledVideo) -> tuple[float, float]:
    return video.start_s or 0.0, float("inf") if video.end_s is None else video.end_s


def _by_faces(
    video: SampledVideo, earlier: Sequence[SampledVideo], search: Search, mirror: Mirror | None
) -> list[VideoCopy]:
    """What a video shows of candidates, most explained first.

    Of several that explain about as many faces the earliest is the original: others may be copies that were missed.
    """
    faces = video.faces()
    sides = [faces]
    if mirror is not None:
        places = faces.places * IN_A_MIRROR[: faces.places.shape[1]]
        sides.append(Faces(faces.times, mirror(video.vectors).astype(np.float32), faces.tracks, places))
    everything = np.ones(len(faces), np.bool_)
    shown: list[_Shown] = []
    scenes = video.scenes() if earlier else None
    frames = [scenes, scenes and scenes.mirrored()]
    for other in earlier:
        others = other.scenes() if scenes else None
        both = []
        for mirrored, (side, own) in enumerate(zip(sides, frames, strict=False)):
            pair = (own, others) if own and others else None
            if spans := copied_spans(side, other.faces(), search, everything, pair):
                both.append(_Shown(other, bool(mirrored), spans))
        shown += sorted(both, key=lambda one: -one.fit)  # a face is like its mirror image: what fits better is it
        if any(one.rows.mean() >= ALL_OF_IT for one in both):
            break
    left, found = everything, []
    while one := _original(shown, left):
        shown.remove(one)
        fresh = [span for span in one.spans if (span.rows & left).sum() >= max(FEWEST, span.faces / 2)]
        if fresh:
            found.append(_Shown(one.video, one.mirrored, fresh))
            left = left & ~found[-1].rows
    whole = bool(found) and bool(1 - left.mean() >= WHOLE)
    found.sort(key=lambda one: -sum(span.faces for span in one.spans))
    return [_copy(video, one, whole, len(found), search.interval_s) for one in found]


@dataclass(frozen=True)
class _Shown:
    """Spans of a video that a candidate explains, as it is or mirrored."""

    video: SampledVideo
    mirrored: bool
    spans: list[Span]

    @property
    def rows(self) -> NDArray[np.bool_]:
        """bool [faces], those that are explained."""
        return np.asarray(np.stack([span.rows for span in self.spans]).any(axis=0), np.bool_)

    @property
    def longest(self) -> Span:
        """The span with most faces."""
        return max(self.spans, key=lambda span: span.faces)

    @property
    def fit(self) -> float:
        """How well the faces follow, over all spans."""
        return sum(span.fit for span in self.spans)


def _original(shown: Sequence[_Shown], left: NDArray[np.bool_]) -> _Shown | None:
    """The first candidate that explains about as many of the faces that are left as the best one does."""
    gains = [int((one.rows & left).sum()) for one in shown]
    enough = ABOUT_AS_MANY * max(gains, default=0)
    return next((one for one, gain in zip(shown, gains, strict=True) if gain >= max(enough, 1)), None)


def _copy(video: SampledVideo, shown: _Shown, whole: bool, originals: int, interval_s: float) -> VideoCopy:
    longest = shown.longest
    evidence = Evidence(
        sum(span.faces for span in shown.spans),
        longest.similarity,
        longest.correlation,
        longest.elsewhere,
        longest.speed,
        shown.mirrored,
        longest.scene,
    )
    spans = sorted(shown.spans, key=lambda span: span.start_s)
    times = tuple(TimeSpan(span.start_s, span.end_s, span.of_start_s, span.of_end_s) for span in spans)
    kind = _kind(video, shown, whole, originals, interval_s)
    return VideoCopy(video.video_id, shown.video.video_id, kind, whole, times, evidence)


def _kind(video: SampledVideo, shown: _Shown, whole: bool, originals: int, interval_s: float) -> Kind:
    if whole and originals > 1:
        return "compilation"
    longest = shown.longest
    seconds = sum(span.end_s - span.start_s for span in shown.spans)
    if not whole:
        return "inset" if seconds >= WHOLE * float(np.ptp(video.times)) else "part"  # beside faces that are new
    if shown.mirrored:
        return "mirrored"
    differs = abs(longest.speed - 1)
    if differs >= SAME_SPEED and differs * (longest.end_s - longest.start_s) >= interval_s:
        return "speed"
    return "trimmed" if seconds * longest.speed < SHORTER * float(np.ptp(shown.video.times)) else "reupload"
