"""Which videos are copies of earlier ones: re-encoded, rescaled, uploaded again, trimmed.

A copy shows the same faces in the same order at the same pace. That is looked for in two steps:

1. A few faces of each video, spread over it, are looked up among all faces of earlier videos (FAISS). Each alike pair
   votes for a difference of two times; earlier videos that most of the few agree on are candidates.
2. A candidate is checked exactly at the differences that got most votes: nearly all faces of the later video must have
   an alike face in the earlier one, within the grid of sampling, at one difference.

One person who speaks twice in the same chair is alike here and there, but not second by second. Step 2 costs a handful
of products a face, so a long build is one search of `PROBES` faces a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

PROBES = 24
"""Faces of a video that are looked up among earlier videos."""
NEIGHBOURS = 64
"""Alike faces that are looked at for each of them; a copy's match is among the nearest."""
AGREE = 0.5
"""Share of the faces looked up that must be alike to a video to make it a candidate."""
DIFFERENCES = 8
"""Differences of times, most voted first, at which a candidate is checked."""
SHARE = 0.8
"""Share of the later video's faces that must match at one difference, and of its length that they must span."""
FEWEST = 3
"""Matches without which nothing is called a copy, unless the bytes are the same."""
TOLERANCE = 0.75
"""Sampling intervals by which a match may be off: a trimmed copy is sampled up to half of one off."""

EXACT_UP_TO = 300_000
"""Faces up to which the search is exact; more are searched by cells."""
CELLS_SEARCHED = 32
BLOCK = 64
"""Videos whose faces are looked up together."""
_SEED = 0


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
        interval_s: seconds between sampled frames.
    """
    originals = _same_bytes(videos)
    rest = [video for video in videos if len(video.times) and video.video_id not in originals]
    for place, hits in _search(rest, threshold):
        for earlier, shifts in _candidates(rest, place, hits, interval_s):
            if any(_follows(rest[place], rest[earlier], shift, threshold, interval_s) for shift in shifts):
                first = rest[earlier].video_id
                originals[rest[place].video_id] = originals.get(first, first)
                break
    # A copy by its bytes may name a video that turned out to be a copy itself.
    return {copy: originals.get(first, first) for copy, first in originals.items()}


def _same_bytes(videos: Sequence[Sampled]) -> dict[str, str]:
    first: dict[str, str] = {}
    copies = {}
    for video in videos:
        if video.content_sha256 and len(video.times):
            original = first.setdefault(video.content_sha256, video.video_id)
            if original != video.video_id:
                copies[video.video_id] = original
    return copies


@dataclass(frozen=True)
class _Hits:
    """Alike pairs of a looked-up face and an earlier video's face; all [pairs].

    Attributes:
        probe: int64, which of the video's faces.
        video: int64, place of the earlier video in the list.
        face: int64, which of the earlier video's faces.
    """

    probe: NDArray[np.int64]
    video: NDArray[np.int64]
    face: NDArray[np.int64]


def _search(videos: Sequence[Sampled], threshold: float) -> Iterator[tuple[int, _Hits]]:
    """The alike faces in earlier videos of a few faces of each video, in list order."""
    if not videos:
        return
    starts = np.cumsum([0, *(len(video.times) for video in videos)])
    index = _index(videos, int(starts[-1]))
    for first in range(0, len(videos), BLOCK):
        block = range(first, min(first + BLOCK, len(videos)))
        vectors = np.concatenate([videos[place].vectors for place in block]).astype(np.float32)
        probes = np.concatenate([_spread(videos[place]) + starts[place] for place in block])
        looked_up = vectors[probes - starts[first]]
        # The index holds what came before the block; inside it, all is compared and only earlier videos count.
        row, face = _nearest(index, looked_up, threshold)
        near, other = np.nonzero(looked_up @ vectors.T >= threshold)
        row, face = np.concatenate([row, near]), np.concatenate([face, other + starts[first]])
        mine, owner = (np.searchsorted(starts, faces, side="right") - 1 for faces in (probes[row], face))
        for place in block:
            here = np.flatnonzero((mine == place) & (owner < place))
            yield place, _Hits(probes[row[here]] - starts[place], owner[here], face[here] - starts[owner[here]])
        index.add(vectors)


def _spread(video: Sampled) -> NDArray[np.int64]:
    """Which faces of a video are looked up."""
    return np.unique(np.linspace(0, len(video.times) - 1, PROBES).round().astype(np.int64))


def _nearest(
    index: faiss.Index, vectors: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row of `vectors` and number in the index of each alike pair."""
    if not index.ntotal:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    cosine, found = index.search(vectors, min(NEIGHBOURS, index.ntotal))
    row, column = np.nonzero((cosine >= threshold) & (found >= 0))
    return row, found[row, column]


def _index(videos: Sequence[Sampled], faces: int) -> faiss.Index:
    """An empty index: exact for few faces; for many, half precision in cells around faces chosen by chance."""
    dimension = videos[0].vectors.shape[1]
    flat = faiss.IndexFlatIP(dimension)
    if faces <= EXACT_UP_TO:
        return flat
    cells = int(4 * faces**0.5)
    chosen = np.sort(np.random.default_rng(_SEED).choice(faces, cells, replace=False))
    starts = np.cumsum([0, *(len(video.times) for video in videos)])
    owner = np.searchsorted(starts, chosen, side="right") - 1
    centres = np.stack([videos[o].vectors[face - starts[o]] for o, face in zip(owner, chosen, strict=True)])
    flat.add(centres.astype(np.float32))
    index = faiss.IndexIVFScalarQuantizer(
        flat, dimension, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.by_residual = False
    index.train(centres.astype(np.float32))  # keeps the centres, there are as many as cells
    index.nprobe = CELLS_SEARCHED
    return index


def _candidates(
    videos: Sequence[Sampled], place: int, hits: _Hits, interval_s: float
) -> Iterator[tuple[int, list[float]]]:
    """Earlier videos that most looked-up faces are alike to, in list order, with the likeliest differences of times."""
    times = videos[place].times
    needed = max(1, round(AGREE * min(PROBES, len(times))))
    for earlier in np.unique(hits.video).tolist():
        here = hits.video == earlier
        if len(np.unique(hits.probe[here])) < needed:
            continue
        shift = times[hits.probe[here]] - videos[earlier].times[hits.face[here]]
        bins, inverse = np.unique(np.round(shift / (interval_s / 2)).astype(np.int64), return_inverse=True)
        # A face votes once for a difference, so that a still passage does not outvote the rest.
        votes = np.unique(np.stack([inverse, hits.probe[here]]), axis=1)[0]
        likeliest = np.argsort(-np.bincount(votes, minlength=len(bins)), kind="stable")[:DIFFERENCES]
        yield earlier, (bins[likeliest] * (interval_s / 2)).tolist()


def _follows(later: Sampled, earlier: Sampled, shift: float, threshold: float, interval_s: float) -> bool:
    """Whether the later video's faces are the earlier one's, `shift` seconds on."""
    matched = _matched(later, earlier, shift, threshold, TOLERANCE * interval_s)
    count = int(matched.sum())
    if count < max(FEWEST, SHARE * len(matched)):
        return False
    return float(np.ptp(later.times[matched])) >= SHARE * float(np.ptp(later.times))


def _matched(later: Sampled, earlier: Sampled, shift: float, threshold: float, tolerance_s: float) -> NDArray[np.bool_]:
    """bool [n]: which of the later video's faces have an alike one in the earlier video at their time less `shift`."""
    first = np.searchsorted(earlier.times, later.times - shift - tolerance_s, side="left")
    count = np.searchsorted(earlier.times, later.times - shift + tolerance_s, side="right") - first
    matched = np.zeros(len(later.times), np.bool_)
    for step in range(int(count.max(initial=0))):  # as many as faces fit into the tolerance: a handful
        here = np.flatnonzero((count > step) & ~matched)
        ours = later.vectors[here].astype(np.float32)
        theirs = earlier.vectors[first[here] + step].astype(np.float32)
        matched[here] = np.einsum("nd,nd->n", ours, theirs) >= threshold
    return matched
