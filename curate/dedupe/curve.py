"""How redundant a build is: at every threshold, inside videos and across them, by track, and by sampling rate.

`redundancy.json` (all redundancies are `1 - clusters / faces`):

    space, threshold, fps, faces, videos, tracks     what was measured
    curve      one entry a threshold: threshold, clusters, redundancy, and its two parts
                   within    redundancy if every video is covered by itself
                   across    what comparing videos adds: redundancy - within
                   by_track  redundancy if every track is covered by itself
    by_video   at the build's threshold, most faces first, at most MOST_VIDEOS: video_id, faces,
                   kept      its faces that stay in the cover of the whole build
                   alone     its faces that stay where it is covered by itself
    by_video_quantiles, by_track_quantiles           0, 10, ..., 100 % of the videos (tracks) have a redundancy
               of their own of at most this; all videos and tracks of two faces or more count
    coverage   what all faces and the kept ones show: see `curate.dedupe.coverage`
    by_rate    one entry a rate, up to the build's own: fps, faces, clusters, redundancy of the faces that a build at
               that rate would have; `exact` says whether they are exactly those (see `sampling.subsample`)
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.greedy import kept_by, prefilter_for
from curate.dedupe.order import compacted, numbered, ranked
from curate.dedupe.pairs import Pairs, cheapest, find_pairs
from curate.dedupe.per_group import kept_per_group
from curate.dedupe.pivots import find_pivots
from curate.dedupe.repair import Parts, kept_of_parts
from curate.dedupe.threads import Map, pool
from curate.sampling import divides, subsample
from curate.storage.build import Build
from curate.storage.vectors import release_memory

THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97, 0.99)
"""Cosines at which every build is measured, beside its own threshold."""

RATES = (1.0, 2.0, 5.0, 10.0)
"""Frames a second for which redundancy is reported."""

MOST_VIDEOS = 10_000
"""Rows of `by_video`, so that the file stays readable; the quantiles are over all videos."""


def measure(build: Build, space: str, threshold: float, fps: float) -> dict[str, Any]:
    """What `redundancy.json` holds.

    Args:
        build: its faces and vectors are read.
        space: embedding space.
        threshold: the build's own cosine.
        fps: the rate at which the build sampled its videos.
    """
    vectors = build.vectors(space)
    with pool(None, vectors) as each:
        return _measure(build, check(vectors, each), space, check_threshold(threshold), fps, each)


def _measure(build: Build, rows: Rows, space: str, threshold: float, fps: float, each: Map) -> dict[str, Any]:
    faces = build.faces(["face_id", "video_id", "track", "first_instant", "last_instant", "quality"])
    order = ranked(faces)
    video_ids, video = numbered(faces["video_id"])
    track = tracks_of(video, faces["track"].to_numpy())
    sampled = {rate: sampled_at(faces, rate, fps) for rate in RATES if rate < fps}
    del faces  # names are most of what there is of them
    release_memory()
    at = tuple(sorted({*THRESHOLDS, threshold}))
    own = at.index(threshold)
    track_count = int(track.max(initial=-1)) + 1
    by_track = kept_per_group(rows, order, track, at, each)
    tracks, track_quantiles = by_track.sum(axis=1), _quantiles(track, by_track[own])
    del by_track, track
    work = _Work(rows, order, video, at, each)
    whole, clusters = work.kept(own)
    by_video = work.alone
    points = zip(at, clusters, by_video.sum(axis=1).tolist(), tracks.tolist(), strict=True)
    return {
        "space": space,
        "threshold": threshold,
        "fps": fps,
        "faces": len(rows),
        "videos": len(video_ids),
        "tracks": track_count,
        "curve": [_point(*point, len(rows)) for point in points],
        "by_video": _by_video(video_ids, video, whole, by_video[own]),
        "by_video_quantiles": _quantiles(video, by_video[own]),
        "by_track_quantiles": track_quantiles,
        "by_rate": _by_rate(work, own, whole, sampled, fps),
    }


class _Work:
    """What covers of the same rows at several thresholds share.

    Where few faces of one video are near to those of another, the representatives of all follow from those of each
    video by itself; else each cover is made by itself, or follows from all near pairs.

    Args:
        video: int64 [N], video of each row.
        at: all thresholds, ascending.

    Attributes:
        alone: bool [thresholds, N], the representatives where every video is covered by itself.
        paired: from which threshold on pairs are cheaper than covers.
        apart: whether few faces of different videos are near to each other, as far as is known.
    """

    def __init__(
        self, rows: Rows, order: NDArray[np.int64], video: NDArray[np.int64], at: tuple[float, ...], each: Map
    ) -> None:
        self.order, self.video, self.at, self.each = order, video, at, each
        self.alone = kept_per_group(rows, order, video, at, each)
        self.table = find_pivots(rows, prefilter_for(rows, at[0]), each, at)
        self.paired = cheapest(self.table, at, each)
        self.apart = True

    @cached_property
    def across(self) -> Pairs:
        """The near pairs of faces of different videos, from `paired` on."""
        return find_pairs(self.table, self.order, self.at[self.paired :], self.each, self.video)

    @cached_property
    def pairs(self) -> Pairs:
        """All near pairs, from `paired` on."""
        return find_pairs(self.table, self.order, self.at[self.paired :], self.each)

    def kept(self, own: int) -> tuple[NDArray[np.bool_], list[int]]:
        """bool [N], the representatives of the cover at one of the thresholds; and how many there are at each."""
        flags, counts = np.empty(0, np.bool_), []
        for number in range(len(self.at)):
            kept = self.kept_at(number)
            counts.append(int(kept.sum()))
            if number == own:
                flags = kept
        return flags, counts

    def kept_at(self, number: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """bool [N]: the representatives at one threshold, of all rows or of some."""
        order = self.order if among is None else self.order[among[self.order]]
        if self.apart:
            found = self._of_videos(number, order, among)
            if found is not None:
                return found
            self.apart = False
        if number >= self.paired:
            return self.pairs.kept_at(number - self.paired, among)
        return kept_by(self.table, order, self.at[number], self.each)

    def _of_videos(
        self, number: int, order: NDArray[np.int64], among: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_] | None:
        """As `kept_at`, from the representatives of the videos; None where that is not cheaper."""
        threshold, alone = self.at[number], self.alone[number]
        if among is not None:
            alone = kept_per_group(self.table.rows, order, self.video, (threshold,), self.each)[0]
        kept = self.across.kept_at(number - self.paired, alone) if number >= self.paired else None
        return kept_of_parts(self.table, order, Parts(self.video, alone, kept), threshold, self.each)


def tracks_of(video: NDArray[np.int64], own: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [N]: number of each row's track among all tracks, by video.

    Args:
        own: [N], its number in its video.
    """
    most = np.zeros(int(video.max(initial=-1)) + 1, np.int64)
    np.maximum.at(most, video, own + 1)
    return compacted((np.cumsum(most) - most)[video] + own)


def sampled_at(faces: pa.Table, rate: float, fps: float) -> NDArray[np.bool_]:
    """bool [N]: faces whose frame a build at a lower rate would have looked at too (see `sampling.subsample`).

    Args:
        faces: their columns `first_instant` and `last_instant`.
        rate: frames a second, at most fps.
        fps: frames a second of the build.
    """
    return subsample(faces["first_instant"].to_numpy(), faces["last_instant"].to_numpy(), fps, rate)


def _point(threshold: float, clusters: int, by_video: int, by_track: int, faces: int) -> dict[str, Any]:
    total = max(faces, 1)
    return {
        "threshold": threshold,
        "clusters": clusters,
        "redundancy": (faces - clusters) / total,
        "within": (faces - by_video) / total,
        "across": (by_video - clusters) / total,
        "by_track": (faces - by_track) / total,
    }


def _by_video(
    ids: list[str], video: NDArray[np.int64], whole: NDArray[np.bool_], alone: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    faces = np.bincount(video, minlength=len(ids))
    kept = np.bincount(video[whole], minlength=len(ids))
    by_itself = np.bincount(video[alone], minlength=len(ids))
    by_name = np.argsort(np.argsort(np.array(ids, np.str_)))
    most = np.lexsort((by_name, -faces))[:MOST_VIDEOS]
    return [
        {"video_id": ids[v], "faces": int(faces[v]), "kept": int(kept[v]), "alone": int(by_itself[v])} for v in most
    ]


def _quantiles(group: NDArray[np.int64], kept: NDArray[np.bool_]) -> list[float]:
    sizes = np.bincount(group)
    redundancy = 1 - np.bincount(group[kept], minlength=len(sizes)) / np.maximum(sizes, 1)
    redundancy = redundancy[sizes > 1]
    return [float(q) for q in np.quantile(redundancy, np.linspace(0, 1, 11))] if len(redundancy) else []


def _by_rate(
    work: _Work, own: int, whole: NDArray[np.bool_], sampled: dict[float, NDArray[np.bool_]], fps: float
) -> list[dict[str, Any]]:
    """Redundancy at the build's own threshold, `work.at[own]`, where the cover of all rows is `whole`.

    Args:
        sampled: lower rate -> bool [N], faces that a build at that rate would have.
    """
    measured = []
    for rate in sorted({*sampled, fps}):
        count = len(whole) if rate == fps else int(sampled[rate].sum())
        clusters = int((whole if rate == fps else work.kept_at(own, sampled[rate])).sum())
        redundancy = (count - clusters) / max(count, 1)
        measured.append(
            {"fps": rate, "faces": count, "clusters": clusters, "redundancy": redundancy, "exact": divides(rate, fps)}
        )
    return measured
