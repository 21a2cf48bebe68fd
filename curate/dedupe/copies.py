"""Which videos are copies of earlier ones: re-encoded, rescaled, uploaded again, trimmed.

A copy shows the same faces in the same order at the same pace. For each video, the nearest faces of other videos are
looked up (FAISS), each alike pair votes for the difference of its two times, and the best difference decides: nearly
all faces of the later video must have an alike face in the earlier one at that one difference. One person who speaks
twice in the same chair is alike here and there, but not second by second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 32
"""Alike faces that are looked at for each face; a copy's match is among the nearest."""
SHARE = 0.8
"""Share of the later video's faces that must match at one difference of times."""
FEWEST = 3
"""Matches without which nothing is called a copy, unless the bytes are the same."""
DISTINCT = 2
"""A difference must explain at least so many matches that no other face of the original could: still pictures vote for
every difference at once, and prove nothing by it, unless the whole video is one still."""


@dataclass(frozen=True)
class Sampled:
    """The sampled faces of one video.

    Attributes:
        content_sha256: hex digest of its bytes; empty where it could not be read.
        times: float64 [n], seconds from its first frame, ascending.
        vectors: float16 [n, D], unit rows, in the space where near-duplicates are judged.
    """

    video_id: str
    content_sha256: str
    times: NDArray[np.float64]
    vectors: NDArray[np.float16]


def find_copies(videos: Sequence[Sampled], threshold: float, interval_s: float) -> dict[str, str]:
    """video_id of each copy -> video_id of the earliest video that it copies.

    Args:
        videos: in the order of the user's list; only earlier ones can be originals.
        threshold: cosine from which two faces are near-duplicates.
        interval_s: seconds between sampled frames; a trimmed copy is sampled up to half of it off.
    """
    originals: dict[str, str] = {}
    _same_bytes(videos, originals)
    rest = [video for video in videos if len(video.times)]
    if sum(len(video.times) for video in rest) == 0:
        return originals
    pairs = _alike(rest, threshold)
    for later, earlier in _candidates(pairs, rest):
        if rest[later].video_id not in originals and _follows(pairs, rest, later, earlier, interval_s):
            first = rest[earlier].video_id
            originals[rest[later].video_id] = originals.get(first, first)
    return originals


@dataclass(frozen=True)
class _Pairs:
    """Alike faces of two videos, the left one's video later in the list; all int64 [pairs] but `cosine`."""

    later: NDArray[np.int64]
    earlier: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    cosine: NDArray[np.float32]


def _same_bytes(videos: Sequence[Sampled], originals: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for video in videos:
        if video.content_sha256 and len(video.times):
            original = first.setdefault(video.content_sha256, video.video_id)
            if original != video.video_id:
                originals[video.video_id] = original


def _alike(videos: Sequence[Sampled], threshold: float) -> _Pairs:
    """The nearest alike faces of each face in earlier videos; `left` and `right` count faces of all videos together."""
    vectors = np.ascontiguousarray(np.concatenate([video.vectors for video in videos]), dtype=np.float32)
    owner = np.repeat(np.arange(len(videos)), [len(video.times) for video in videos])
    index = faiss.IndexFlatIP(vectors.shape[1])
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    start = 0
    for video in videos:  # only what came before is in the index, so that a video cannot match itself
        stop = start + len(video.times)
        if index.ntotal:
            cosine, right = index.search(vectors[start:stop], min(NEIGHBOURS, index.ntotal))
            row, column = np.nonzero(cosine >= threshold)
            found.append((row + start, right[row, column].astype(np.int64), cosine[row, column]))
        index.add(vectors[start:stop])
        start = stop
    empty = np.empty(0, np.int64)
    left, right, cosine = (
        (np.concatenate(part) for part in zip(*found, strict=True))
        if found
        else (empty, empty, np.empty(0, np.float32))
    )
    return _Pairs(owner[left], owner[right], left, right, cosine)


def _candidates(pairs: _Pairs, videos: Sequence[Sampled]) -> list[tuple[int, int]]:
    """(later, earlier) videos with enough alike faces to look at, in list order."""
    keys, counts = np.unique(pairs.later * len(videos) + pairs.earlier, return_counts=True)
    return [(int(key) // len(videos), int(key) % len(videos)) for key in keys[counts >= FEWEST]]


def _follows(pairs: _Pairs, videos: Sequence[Sampled], later: int, earlier: int, interval_s: float) -> bool:
    """Whether the later video's faces are the earlier one's at one difference of times."""
    starts = np.cumsum([0, *(len(video.times) for video in videos)])
    here = (pairs.later == later) & (pairs.earlier == earlier)
    left, right = pairs.left[here] - starts[later], pairs.right[here] - starts[earlier]
    times, origin = videos[later].times, videos[earlier].times
    shift = times[left] - origin[right]
    tolerance = 0.75 * interval_s
    best: NDArray[np.bool_] = np.zeros(len(shift), np.bool_)
    count = 0
    for centre in np.unique(np.round(shift / (interval_s / 2))) * (interval_s / 2):
        near = np.abs(shift - centre) <= tolerance
        matched = len(np.unique(left[near]))
        if matched > count:
            best, count = near, matched
    enough = count >= max(FEWEST, SHARE * len(times))
    moves = len(np.unique(right[best])) >= min(DISTINCT, len(np.unique(right)))
    return bool(enough and moves and _spans(times[left[best]], times))


def _spans(matched: NDArray[np.float64], times: NDArray[np.float64]) -> bool:
    """Whether the matches reach over most of the video, not over one moment of it."""
    return float(np.ptp(matched)) >= SHARE * float(np.ptp(times)) * SHARE
