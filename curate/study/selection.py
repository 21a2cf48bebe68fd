"""Which faces a manifest of a study holds, by each rule that covers are compared with; exactly `size` of them.

cover                 curate's own: so many faces in exactly round(size (1 - redundancy)) clusters
random                a plain random sample
full                  every face
uniform               every n-th face in the order of the list, so every n-th frame of a video
semdedup              Abbas et al. 2023, at the threshold that leaves `size`
components            connected components of the k-NN graph (as for DINOv2), at the threshold that leaves `size`
hierarchical_kmeans   Vo et al. 2024: cells of cells, drawn from evenly, no face twice
k_centre              farthest first (Gonzalez 1985; core-sets of Sener & Savarese 2018)
more_videos           as many videos as there are, few frames of each, evenly in time
fewer_videos          whole videos in random order, until there are enough faces
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.choices import Order
from curate.dedupe.order import priority
from curate.errors import UsageError
from curate.manifests.candidates import Candidates, Criteria, ManifestInfo, candidates
from curate.manifests.filters import Filters
from curate.storage.build import open_build
from curate.storage.manifest import Redundancy
from curate.study import clustering, deduplication
from curate.study.grid import Selection

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """The faces that a rule chooses from, in build order.

    Attributes:
        video: int64 [M], number of each face's video, in the order of the list.
        vectors: float32 [M, D], unit rows; empty for rules that do not look at them.
        key: uint64 [M], random keys.
        rank: int64 [M], higher for better faces.
    """

    video: Rows
    vectors: NDArray[np.float32]
    key: NDArray[np.uint64]
    rank: Rows

    def __len__(self) -> int:
        return len(self.video)


def cut(path: Path, wanted: Selection, out: Path) -> ManifestInfo:
    """Writes the manifest of a selection.

    Args:
        path: of the build.

    Raises:
        UsageError: there are not so many faces, or no such cover; says what there is.
    """
    build = open_build(path)
    laid = candidates(build, _criteria(wanted))
    if wanted.rule == "cover":
        size = None if wanted.size is None else int(wanted.size)
        target: Redundancy = wanted.redundancy or 0.0
        return laid.write(out, laid.choose(size, target), target, wanted.rule)
    among = np.arange(len(laid.ids)) if laid.among is None else np.flatnonzero(laid.among)
    faces = build.faces(["face_id", "quality"])
    looked = (
        build.vectors(wanted.space or "appearance")[among].astype(np.float32)
        if wanted.space
        else np.empty((0, 0), np.float32)
    )
    offered = Pool(_videos(laid)[among], looked, laid.keys[among], priority(faces)[among])
    rows = among[choose(offered, wanted)]
    return laid.write(out, rows, "natural" if wanted.rule in ("random", "full") else None, wanted.rule)


def refusals(path: Path, selections: Iterable[Selection]) -> Iterator[str]:
    """What of some selections of one build cannot be cut, a line each, whatever the seed; writes nothing.

    A cover at another threshold or rate than the build's own is computed once for all its sizes. How far the graph of
    `components` falls apart is not looked at.
    """
    build = open_build(path)
    laid: dict[Criteria, Candidates] = {}
    for wanted in dict.fromkeys(replace(one, seed=None) for one in selections):
        criteria = _criteria(wanted if wanted.rule == "cover" else replace(wanted, threshold=None, space=None))
        try:
            if criteria not in laid:
                laid[criteria] = candidates(build, criteria)
            offered = laid[criteria]
            size = None if wanted.size is None else int(wanted.size)
            if wanted.rule == "cover":
                offered.choose(size, wanted.redundancy or 0.0)
            else:
                _check_size(wanted, len(offered.ids) if offered.among is None else int(offered.among.sum()))
        except UsageError as error:
            yield f"{wanted.label}: {error}"


def _criteria(wanted: Selection) -> Criteria:
    order: Order = "largest" if wanted.order is None else wanted.order  # type: ignore[assignment]
    space = wanted.space or "appearance"
    return Criteria(space, wanted.threshold, wanted.seed or 0, order, Filters(fps=wanted.fps))


def _check_size(wanted: Selection, faces: int) -> int:
    count = faces if wanted.size is None else int(wanted.size)
    if not 1 <= count <= faces:
        raise UsageError(f"{wanted.rule} of {count} faces cannot be had: sizes from 1 to {faces} can")
    return count


def choose(faces: Pool, wanted: Selection) -> Rows:
    """Positions among the faces that are offered, rising.

    Raises:
        UsageError: the rule cannot give so many.
    """
    count = _check_size(wanted, len(faces))
    seed = wanted.seed or 0
    match wanted.rule:
        case "full":
            found = np.arange(len(faces))
        case "random":
            found = np.argsort(faces.key, kind="stable")[:count]
        case "uniform":
            found = evenly(len(faces), count)
        case "more_videos":
            found = more_videos(faces, count)
        case "fewer_videos":
            found = fewer_videos(faces, count)
        case "semdedup":
            found = deduplication.semdedup(
                faces.vectors, None if wanted.size is None else count, wanted.threshold, seed
            )
        case "components":
            found = deduplication.components(
                faces.vectors, faces.rank, None if wanted.size is None else count, wanted.threshold
            )
        case "k_centre":
            found = clustering.k_centre(faces.vectors, count, int(np.argmin(faces.key)))
        case "hierarchical_kmeans":
            found = clustering.hierarchical(faces.vectors, faces.key, count, seed)
        case _:
            raise UsageError(f"{wanted.rule} is cut from the cover")
    return np.sort(found).astype(np.int64)


def evenly(total: int, count: int) -> Rows:
    """`count` of `total` places at equal distances."""
    return ((np.arange(count) + 0.5) * total / count).astype(np.int64)


def more_videos(faces: Pool, count: int) -> Rows:
    """The same number of every video, as far as it has them, evenly in time."""
    members = _by_video(faces)
    order = np.argsort([faces.key[own].min() for own in members], kind="stable")  # who gets what cannot be shared out
    shares = clustering.share_out(np.array([len(members[v]) for v in order]), count)
    return np.concatenate([members[v][evenly(len(members[v]), n)] for v, n in zip(order, shares, strict=True)])


def fewer_videos(faces: Pool, count: int) -> Rows:
    """All faces of random videos; of the last one the first faces in time."""
    members = _by_video(faces)
    order = np.argsort([faces.key[own].min() for own in members], kind="stable")
    return np.concatenate([members[v] for v in order])[:count]


def _by_video(faces: Pool) -> list[Rows]:
    order = np.argsort(faces.video, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(faces.video[order])) + 1)


def _videos(laid: Candidates) -> Rows:
    """int64 [N]: a number for each face's video."""
    coded = laid.video_ids.dictionary_encode().combine_chunks()
    return np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
