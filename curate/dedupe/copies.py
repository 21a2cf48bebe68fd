"""Which videos are copies of earlier ones: re-encoded, rescaled, letterboxed, mirrored, uploaded again, trimmed.

A copy shows the same faces in the same order at the same pace. That is looked for in two steps:

1. A few faces of each video, spread over it, are looked up among all faces of earlier videos (FAISS), as they are and
   mirrored. Each alike pair votes for a difference of two times; earlier videos that most of the few agree on are
   candidates.
2. A candidate is checked at the differences that got most votes. Nearly all faces of the later video must stand within
   *twice* the angle of near-duplicates of a face of the earlier one, within the grid of sampling: a copy that starts
   between two samples shows moments that the original was not sampled at, and small or mirrored faces are aligned a
   little otherwise. That alone does not make a copy; one person who speaks twice in the same chair comes as near. So
   either nearly all are near-duplicates, or the faces *move* alike: with the mean of each side taken off, what is left
   of the two paths correlates. A constant error of alignment falls out of that; other takes do not move alike.

Step 2 costs a handful of products a face, so a long build is two searches of `PROBES` faces a video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
"""Share of the later video's faces that must be near-duplicates at one difference, where their motion says nothing."""
LOOSE_SHARE = 0.75
"""Share of them that must be within twice the angle in any case, and of its length that they must span."""
MOTION = 0.6
"""Correlation of two paths from which they are one. On 18 videos with 104 copies made of them, all but one of the
copies reached 0.65; pairs of videos that show one person, same place, same clothes, reached 0.41."""
FEWEST = 3
"""Matches without which nothing is called a copy, unless the bytes are the same."""
FEWEST_MOVING = 6
"""Matches without which a correlation of paths is chance."""
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


def find_copies(
    videos: Sequence[Sampled],
    threshold: float,
    interval_s: float,
    mirrored: Callable[[NDArray[np.float16]], NDArray[np.float16]] | None = None,
) -> dict[str, str]:
    """video_id of each copy -> video_id of the earliest video that it copies.

    Args:
        videos: in the order of the user's list; only earlier ones can be originals.
        threshold: cosine from which two faces are near-duplicates.
        interval_s: seconds between sampled frames.
        mirrored: gives the vectors [n, D] of the mirrored pictures; None: mirrored copies are not looked for.
    """
    originals = _same_bytes(videos)
    rest = [video for video in videos if len(video.times) and video.video_id not in originals]
    sides = [rest]
    if mirrored is not None:
        sides.append([replace(video, vectors=mirrored(video.vectors)) for video in rest])
    loose = max(2 * threshold**2 - 1, 0.0)  # twice the angle
    for place, hits_of_sides in _search(sides, loose):
        for side, hits in zip(sides, hits_of_sides, strict=True):
            original = _original(side[place], rest, hits, threshold, loose, interval_s)
            if original is not None:
                originals[rest[place].video_id] = originals.get(original, original)
                break
    # A copy by its bytes may name a video that turned out to be a copy itself.
    return {copy: originals.get(first, first) for copy, first in originals.items()}


def _original(
    later: Sampled, videos: Sequence[Sampled], hits: _Hits, threshold: float, loose: float, interval_s: float
) -> str | None:
    """video_id of the earliest video that the later one copies."""
    for earlier, shifts in _candidates(later, videos, hits, interval_s):
        if any(_follows(later, videos[earlier], shift, threshold, loose, interval_s) for shift in shifts):
            return videos[earlier].video_id
    return None


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
        weight: float in [0, 1], 1 for equal faces, 0 for those that are just alike.
    """

    probe: NDArray[np.int64]
    video: NDArray[np.int64]
    face: NDArray[np.int64]
    weight: NDArray[Any]


def _search(sides: Sequence[Sequence[Sampled]], loose: float) -> Iterator[tuple[int, list[_Hits]]]:
    """The alike faces in earlier videos of a few faces of each video, in list order.

    Args:
        sides: the videos as they are, and the same ones mirrored.
        loose: cosine from which faces are alike enough to be looked at.
    """
    videos = sides[0]
    if not videos:
        return
    starts = np.cumsum([0, *(len(video.times) for video in videos)])
    index = _index(videos, int(starts[-1]))
    for first in range(0, len(videos), BLOCK):
        block = range(first, min(first + BLOCK, len(videos)))
        vectors = np.concatenate([videos[place].vectors for place in block]).astype(np.float32)
        chosen = [_spread(videos[place]) for place in block]
        mine = np.repeat(np.array(block), [len(faces) for faces in chosen])
        probe = np.concatenate(chosen)
        found = []
        for side in sides:
            looked_up = [side[place].vectors[faces] for place, faces in zip(block, chosen, strict=True)]
            found.append(_look_up(np.concatenate(looked_up).astype(np.float32), index, vectors, starts[first], loose))
        hits: list[list[_Hits]] = [[] for _ in block]
        for row, face, cosine in found:
            owner = np.searchsorted(starts, face, side="right") - 1
            weight = (cosine - loose) / (1 - loose) if loose < 1 else np.ones_like(cosine)
            for place in block:
                here = np.flatnonzero((mine[row] == place) & (owner < place))
                near = owner[here]
                hits[place - first].append(_Hits(probe[row[here]], near, face[here] - starts[near], weight[here]))
        yield from zip(block, hits, strict=True)
        index.add(vectors)


def _look_up(
    looked_up: NDArray[np.float32], index: faiss.Index, vectors: NDArray[np.float32], start: int, loose: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Number of the looked-up face, number of the face in the build, and cosine of each alike pair.

    The index holds what came before the block; inside it, all faces (`vectors`, the first is `start`) are compared.
    """
    row, face, cosine = _nearest(index, looked_up, loose)
    products = looked_up @ vectors.T
    near, other = np.nonzero(products >= loose)
    return (
        np.concatenate([row, near]),
        np.concatenate([face, other + start]),
        np.concatenate([cosine, products[near, other]]),
    )


def _spread(video: Sampled) -> NDArray[np.int64]:
    """Which faces of a video are looked up."""
    return np.unique(np.linspace(0, len(video.times) - 1, PROBES).round().astype(np.int64))


def _nearest(
    index: faiss.Index, vectors: NDArray[np.float32], loose: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Row of `vectors`, number in the index and cosine of each alike pair."""
    if not index.ntotal:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    cosine, found = index.search(vectors, min(NEIGHBOURS, index.ntotal))
    row, column = np.nonzero((cosine >= loose) & (found >= 0))
    return row, found[row, column], cosine[row, column]


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
    later: Sampled, videos: Sequence[Sampled], hits: _Hits, interval_s: float
) -> Iterator[tuple[int, list[float]]]:
    """Earlier videos that most looked-up faces are alike to, in list order, with the likeliest differences of times."""
    needed = max(1, round(AGREE * min(PROBES, len(later.times))))
    for earlier in np.unique(hits.video).tolist():
        here = hits.video == earlier
        probe, weight = hits.probe[here], hits.weight[here]
        if len(np.unique(probe)) < needed:
            continue
        shift = later.times[probe] - videos[earlier].times[hits.face[here]]
        bins, inverse = np.unique(np.round(shift / (interval_s / 2)).astype(np.int64), return_inverse=True)
        # A face votes once for a difference, so that a still passage does not outvote the rest.
        pairs, vote = np.unique(np.stack([inverse, probe]), axis=1, return_inverse=True)
        best = np.zeros(pairs.shape[1])
        np.maximum.at(best, vote.ravel(), weight)
        likeliest = np.argsort(-np.bincount(pairs[0], best, len(bins)), kind="stable")[:DIFFERENCES]
        yield earlier, (bins[likeliest] * (interval_s / 2)).tolist()


def _follows(later: Sampled, earlier: Sampled, shift: float, threshold: float, loose: float, interval_s: float) -> bool:
    """Whether the later video's faces are the earlier one's, `shift` seconds on."""
    cosine, face = _matched(later, earlier, shift, TOLERANCE * interval_s)
    alike = cosine >= loose
    if alike.sum() < max(FEWEST, LOOSE_SHARE * len(cosine)):
        return False
    if np.ptp(later.times[alike]) < LOOSE_SHARE * np.ptp(later.times):
        return False
    if (cosine >= threshold).sum() >= max(FEWEST, SHARE * len(cosine)):
        return True
    return bool(alike.sum() >= FEWEST_MOVING and _moves_alike(later.vectors[alike], earlier.vectors[face[alike]]))


def _moves_alike(path: NDArray[np.float16], other: NDArray[np.float16]) -> bool:
    """Whether two paths [n, D] correlate, once the mean of each is taken off."""
    x, y = (vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64) for vectors in (path, other))
    return float((x * y).sum()) >= MOTION * float(np.sqrt((x * x).sum() * (y * y).sum())) > 0


def _matched(
    later: Sampled, earlier: Sampled, shift: float, tolerance_s: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine and number of the most alike face in the earlier video at the time of each face less `shift`; both [n].

    Faces that meet none have cosine -1.
    """
    first = np.searchsorted(earlier.times, later.times - shift - tolerance_s, side="left")
    count = np.searchsorted(earlier.times, later.times - shift + tolerance_s, side="right") - first
    best, face = np.full(len(later.times), -1, np.float32), np.zeros(len(later.times), np.int64)
    for step in range(int(count.max(initial=0))):  # as many as faces fit into the tolerance: a handful
        here = np.flatnonzero(count > step)
        theirs = first[here] + step
        ours = later.vectors[here].astype(np.float32)
        cosine = np.einsum("nd,nd->n", ours, earlier.vectors[theirs].astype(np.float32))
        better = cosine > best[here]
        best[here[better]], face[here[better]] = cosine[better], theirs[better]
    return best, face
