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

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.coverage import within
from curate.dedupe.greedy import kept_by, prefilter_for
from curate.dedupe.order import numbered, order_of, priority
from curate.dedupe.pairs import Pairs, cheapest, find_pairs
from curate.dedupe.per_group import kept_per_group
from curate.dedupe.pivots import PivotTable, find_pivots
from curate.dedupe.threads import Map, pool
from curate.sampling import divides, subsample
from curate.storage.build import Build

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
    with pool(None) as each:
        return _measure(build, check(build.vectors(space), each), space, check_threshold(threshold), fps, each)


def _measure(build: Build, rows: Rows, space: str, threshold: float, fps: float, each: Map) -> dict[str, Any]:
    faces = build.faces(["face_id", "video_id", "track", "first_instant", "last_instant", "quality"])
    order = order_of(priority(faces), len(rows))
    video_ids, video = numbered(faces["video_id"])
    track = np.unique(within(video, faces["track"].to_numpy()), return_inverse=True)[1]
    faces = faces.select(["first_instant", "last_instant"])  # names of all faces are most of what there is of them
    at = tuple(sorted({*THRESHOLDS, threshold}))
    own = at.index(threshold)
    work = _Work.of(rows, order, at, each)
    whole = work.kept()
    by_video = work.kept_per_group(video)
    by_track = work.kept_per_group(track)
    return {
        "space": space,
        "threshold": threshold,
        "fps": fps,
        "faces": len(rows),
        "videos": len(video_ids),
        "tracks": int(track.max(initial=-1)) + 1,
        "curve": [
            _point(t, int(whole[k].sum()), int(by_video[k].sum()), int(by_track[k].sum()), len(rows))
            for k, t in enumerate(at)
        ],
        "by_video": _by_video(video_ids, video, whole[own], by_video[own]),
        "by_video_quantiles": _quantiles(video, by_video[own]),
        "by_track_quantiles": _quantiles(track, by_track[own]),
        "by_rate": _by_rate(work, own, whole[own], faces, fps),
    }


@dataclass(frozen=True)
class _Work:
    """What covers of the same rows at several thresholds share: cells; and all near pairs from some threshold on.

    Attributes:
        at: all thresholds, ascending.
        paired: from which of them on `pairs` has the near pairs.
    """

    table: PivotTable
    order: NDArray[np.int64]
    at: tuple[float, ...]
    each: Map
    paired: int
    pairs: Pairs

    @classmethod
    def of(cls, rows: Rows, order: NDArray[np.int64], at: tuple[float, ...], each: Map) -> _Work:
        """The shared work."""
        table = find_pivots(rows, prefilter_for(rows, at[0]), each, at)
        paired = cheapest(table, at, each)
        pairs = find_pairs(table, order, at[paired:], each)
        return cls(table, order, at, each, paired, pairs)

    def kept(self) -> NDArray[np.bool_]:
        """bool [thresholds, N]: the representatives of the cover at each threshold."""
        return np.stack([self.kept_at(number) for number in range(len(self.at))])

    def kept_at(self, number: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """bool [N]: the representatives at one threshold, of all rows or of some."""
        if number >= self.paired:
            return self.pairs.kept_at(number - self.paired, among)
        order = self.order if among is None else self.order[among[self.order]]
        return kept_by(self.table, order, self.at[number], self.each)

    def kept_per_group(self, group: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [thresholds, N]: the representatives where every group is covered by itself."""
        inside = self.pairs.within(group)
        kept = np.empty((len(self.at), len(group)), np.bool_)
        kept[: self.paired] = kept_per_group(self.table.rows, self.order, group, self.at[: self.paired], self.each)
        for number in range(self.paired, len(self.at)):
            kept[number] = inside.kept_at(number - self.paired)
        return kept


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


def _by_rate(work: _Work, own: int, whole: NDArray[np.bool_], faces: pa.Table, fps: float) -> list[dict[str, Any]]:
    """Redundancy at the build's own threshold, `work.at[own]`, where the cover of all rows is `whole`."""
    measured = []
    for rate in sorted({rate for rate in RATES if rate < fps} | {fps}):
        seen = np.ones(len(faces), np.bool_) if rate == fps else sampled_at(faces, rate, fps)
        count = int(seen.sum())
        clusters = int((whole if rate == fps else work.kept_at(own, seen)).sum())
        redundancy = (count - clusters) / max(count, 1)
        measured.append(
            {"fps": rate, "faces": count, "clusters": clusters, "redundancy": redundancy, "exact": divides(rate, fps)}
        )
    return measured
