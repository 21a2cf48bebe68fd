"""A threshold for a space that nobody has measured: the same pairs for every space, made from a build's own crops.

same       a sample of faces against themselves after each edit of `calibration.edits.on_crops`
anew       changed: two faces of one track of which one has turned, speaks, blinks, smiles or looks aside where the
           other does not (`calibration.expression`)
strangers  two faces of one frame, and faces in different videos whose identity vectors are apart

The threshold is where the same pictures are separated from the same person changed at `PRECISION`, or above every
pair of strangers if that is higher.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.calibration import edits, expression
from curate.calibration.recall import PRECISION, measured_at, recall_curve
from curate.errors import UsageError
from curate.records import Pixels
from curate.stages import align
from curate.storage.build import Build

VERSION = 2
"""Raised when the same vectors come to another threshold."""
EDITED = 64
"""Faces that are edited."""
WATCHED = 1500
"""Faces whose expression is measured, and that are compared across tracks."""
PAIRS_OF_A_TRACK = 40
"""Pairs taken from one track at most, so that a long one does not outvote the rest."""
FEWEST = 50
"""Pairs of a kind that a threshold is based on at least."""
ROOM = 1e-3
"""How far above the most alike strangers the threshold stays."""

Rows = NDArray[np.int64]

Vectors = Callable[[Pixels], NDArray[np.float32]]
"""Crops uint8 [n, side, side, 3] -> float32 [n, D], unit rows."""


@dataclass(frozen=True)
class Calibration:
    """A threshold with what it is based on.

    Attributes:
        recall: share of the same pictures at or above the threshold; false: share of the same person changed there.
        strangers: highest cosine of two people; None where the build shows no two that are sure to be different.
        pairs: how many of each kind.
        by_edit: recall of each edit; by_change: share of each change of expression at or above the threshold.
    """

    threshold: float
    recall: float
    false: float
    strangers: float | None
    pairs: dict[str, int]
    by_edit: dict[str, float]
    by_change: dict[str, float]

    def summary(self) -> dict[str, object]:
        """What `build.json` says of it."""
        return asdict(self)


def calibrate(built: Build, space: str, vectors: Vectors, margin: float, seed: int = 0) -> Calibration:
    """Finds the threshold of a space whose vectors are stored in a build already.

    Args:
        vectors: crops uint8 [n, side, side, 3] -> float32 [n, D], unit rows, as the stored ones were made.
        margin: of the build's crops.

    Raises:
        UsageError: the build shows too little to go by.
    """
    stored = built.vectors(space)
    faces = built.faces(["video_id", "frame", "track", "bbox"])
    videos = np.unique(faces["video_id"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    frames, tracks = faces["frame"].to_numpy(), faces["track"].to_numpy()
    chosen = spread(videos, WATCHED, seed)
    crops = dict(zip(chosen.tolist(), crops_of(built, chosen), strict=True))

    large = chosen[sizes(faces)[chosen] >= expression.SMALLEST]
    if not len(large):
        raise _too_few(built, 0)
    found = expression.measures(np.stack([crops[row] for row in large.tolist()]), margin)
    first, second, changes = changed_pairs(videos, tracks, large, found)
    other = cosines(stored, first, second)
    if len(other) < FEWEST:
        raise _too_few(built, len(other))
    apart = cosines(stored, *strangers(built, videos, frames, chosen))

    edited = spread(videos[chosen], EDITED, seed)
    by_edit = {}
    for edit in edits.on_crops():
        pictures = edit.apply([crops[row] for row in chosen[edited].tolist()])
        again = vectors(np.stack([align.decode(align.encode(picture, 95)) for picture in pictures]))
        by_edit[edit.name] = np.einsum("nd,nd->n", again, stored[chosen[edited]].astype(np.float32))
    same = np.concatenate(list(by_edit.values()))

    best = recall_curve(same, other).at(PRECISION)
    highest = float(apart.max()) if len(apart) else None
    threshold = float(np.clip(np.ceil(1e4 * max(best.threshold, (highest or 0) + ROOM)) / 1e4, ROOM, 1))
    point = measured_at(threshold, same, other)
    return Calibration(
        threshold,
        round(point.recall, 4),
        round(point.false, 4),
        None if highest is None else round(highest, 4),
        {"same": len(same), "anew": len(other), "strangers": len(apart)},
        {name: round(float((found >= threshold).mean()), 4) for name, found in by_edit.items()},
        {name: round(float((other[rows] >= threshold).mean()), 4) for name, rows in changes.items() if rows.any()},
    )


def _too_few(built: Build, pairs: int) -> UsageError:
    return UsageError(
        f"{built.path}: shows only {pairs} pairs of one person with another expression, {FEWEST} are needed "
        "to calibrate; give --threshold"
    )


def spread(videos: Rows, count: int, seed: int) -> Rows:
    """int64 [<= count]: rows drawn so that each video has about as many, ascending."""
    order = np.random.default_rng(seed).permutation(len(videos))
    turn: dict[int, int] = defaultdict(int)
    turns = np.empty(len(videos), np.int64)
    for row in order.tolist():
        turns[row] = turn[int(videos[row])]
        turn[int(videos[row])] += 1
    return np.sort(order[np.argsort(turns[order], kind="stable")][:count])


def sizes(faces: pa.Table) -> NDArray[np.float32]:
    """Shorter side of each face's box, pixels, float32 [n]."""
    boxes = np.asarray(faces["bbox"].combine_chunks().flatten()).reshape(-1, 4)
    return np.asarray(np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]), np.float32)


def changed_pairs(
    videos: Rows, tracks: Rows, chosen: Rows, found: dict[str, NDArray[np.float32]]
) -> tuple[Rows, Rows, dict[str, NDArray[np.bool_]]]:
    """Pairs of rows of one track whose expression or pose has changed for certain, and what has.

    Args:
        found: `expression.measures` of the faces `chosen`.

    Returns:
        int64 [pairs] each, and bool [pairs] for each measure.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, row in enumerate(chosen.tolist()):
        groups[int(videos[row]), int(tracks[row])].append(place)
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for places in groups.values():
        left, right = (np.array(places)[side] for side in np.triu_indices(len(places), 1))
        pairs = np.flatnonzero(np.any(list(expression.changed(found, left, right).values()), axis=0))
        if len(pairs) > PAIRS_OF_A_TRACK:
            pairs = pairs[np.linspace(0, len(pairs) - 1, PAIRS_OF_A_TRACK).round().astype(np.int64)]
        lefts.append(left[pairs])
        rights.append(right[pairs])
    first, second = np.concatenate(lefts), np.concatenate(rights)
    return chosen[first], chosen[second], expression.changed(found, first, second)


def strangers(built: Build, videos: Rows, frames: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    """Pairs of rows that show two people for certain, int64 [pairs] each."""
    left, right = (chosen[side] for side in np.triu_indices(len(chosen), 1))
    apart = (videos[left] == videos[right]) & (frames[left] == frames[right])
    if "identity" in built.spaces:
        people = built.clusters("identity")["cluster"].to_numpy()
        unlike = cosines(built.vectors("identity"), left, right) < built.info.spaces["identity"].threshold
        apart |= (videos[left] != videos[right]) & (people[left] != people[right]) & unlike
    return left[apart], right[apart]


def cosines(vectors: NDArray[np.floating], first: Rows, second: Rows) -> NDArray[np.float32]:
    """Of the vectors [n, D] of rows `first` with those of rows `second`, float32 [pairs]."""
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(first), 8192):
        here = slice(start, start + 8192)
        rows = vectors[first[here]].astype(np.float32), vectors[second[here]].astype(np.float32)
        parts.append(np.einsum("nd,nd->n", *rows))
    return np.concatenate(parts)


def crops_of(built: Build, rows: Rows) -> list[Pixels]:
    """The stored crops of some rows (ascending), decoded."""
    return [align.decode(jpeg) for jpeg in built.pictures(rows)]
