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
    by_rate    one entry a rate: fps, faces, clusters, redundancy of the faces that a build at that rate would have;
               only rates up to the build's own can be told
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.dedupe.alone import kept_alone
from curate.dedupe.cells import Cells, find_cells
from curate.dedupe.cosine import Rows, check, check_threshold
from curate.dedupe.greedy import kept_by, screen_for
from curate.dedupe.order import order_of, priority
from curate.dedupe.threads import Map, pool
from curate.storage.build import Build

THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.97, 0.99)
"""Cosines at which every build is measured, beside its own threshold."""

RATES = (1.0, 2.0, 5.0, 10.0)
"""Frames a second for which redundancy is told."""

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
    faces = build.faces(["face_id", "video_id", "track", "time_s", "quality"])
    with pool(None) as each:
        return _measure(faces, check(build.vectors(space), each), space, check_threshold(threshold), fps, each)


def _measure(faces: pa.Table, rows: Rows, space: str, threshold: float, fps: float, each: Map) -> dict[str, Any]:
    order = order_of(priority(faces), len(rows))
    video_ids, video = np.unique(np.asarray(faces["video_id"].to_numpy(), dtype=np.str_), return_inverse=True)
    track = np.unique(video * (1 << 32) + faces["track"].to_numpy(), return_inverse=True)[1]
    at = tuple(sorted({*THRESHOLDS, threshold}))
    own = at.index(threshold)
    cells = find_cells(rows, screen_for(rows, at[0]), each)  # shared by all the covers below
    whole = kept_at(cells, order, at, each)
    by_video = kept_alone(rows, order, video, at, each)
    by_track = kept_alone(rows, order, track, at, each)
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
        "by_rate": _by_rate(cells, order, faces["time_s"].to_numpy(), threshold, fps, each),
    }


def kept_at(cells: Cells, order: NDArray[np.int64], thresholds: tuple[float, ...], each: Map) -> NDArray[np.bool_]:
    """bool [thresholds, N]: the representatives of the cover at each threshold."""
    return np.stack([kept_by(cells, order, threshold, each) for threshold in thresholds])


def sampled_at(times: NDArray[np.float64], rate: float, fps: float) -> NDArray[np.bool_]:
    """bool [N]: faces whose frame a build at a lower rate would have looked at too.

    That build takes, for each instant k / rate, the first of our frames that is not before it.

    Args:
        times: seconds from the first frame of the video, of frames sampled every 1 / fps.
        rate: frames a second, at most fps.
        fps: frames a second of the build.
    """
    tolerance = 1e-3  # seconds; times of frames are rounded to the time base of the container
    at = times + tolerance
    return np.floor(at * rate) > np.floor((at - 1 / fps) * rate)


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
    ids: NDArray[np.str_], video: NDArray[np.int64], whole: NDArray[np.bool_], alone: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    faces = np.bincount(video, minlength=len(ids))
    kept = np.bincount(video[whole], minlength=len(ids))
    by_itself = np.bincount(video[alone], minlength=len(ids))
    most = np.lexsort((np.arange(len(ids)), -faces))[:MOST_VIDEOS]
    return [
        {"video_id": str(ids[v]), "faces": int(faces[v]), "kept": int(kept[v]), "alone": int(by_itself[v])}
        for v in most
    ]


def _quantiles(group: NDArray[np.int64], kept: NDArray[np.bool_]) -> list[float]:
    sizes = np.bincount(group)
    redundancy = 1 - np.bincount(group[kept], minlength=len(sizes)) / np.maximum(sizes, 1)
    redundancy = redundancy[sizes > 1]
    return [float(q) for q in np.quantile(redundancy, np.linspace(0, 1, 11))] if len(redundancy) else []


def _by_rate(
    cells: Cells, order: NDArray[np.int64], times: NDArray[np.float64], threshold: float, fps: float, each: Map
) -> list[dict[str, Any]]:
    told = []
    for rate in sorted({rate for rate in RATES if rate < fps} | {fps}):
        seen = np.ones(len(order), np.bool_) if rate == fps else sampled_at(times, rate, fps)
        faces = int(seen.sum())
        clusters = int(kept_by(cells, order[seen[order]], threshold, each).sum())
        told.append(
            {"fps": rate, "faces": faces, "clusters": clusters, "redundancy": (faces - clusters) / max(faces, 1)}
        )
    return told
