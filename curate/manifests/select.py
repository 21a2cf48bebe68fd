"""Which faces make a manifest of N faces at redundancy r: exactly N, in exactly round(N (1 - r)) clusters, nested.

Clusters stand in one order for a build, space, threshold and seed, and a manifest takes the first u = round(N (1 - r))
of them: so with N fixed, the clusters of a more redundant manifest are among those of a less redundant one. `largest`
puts large clusters first (equal ones in seeded order): the first u clusters then hold more faces than any other u, so
that whatever can be had at all can be had. `random_walk` orders them as a seeded random walk over the faces first
reaches them: nearer to a plain sample, with a narrower range of r. Over *bins* (of pose, people, ...), clusters take
turns, a bin at a time, so that the first u clusters are spread as evenly as the bins allow; everything below holds for
any order.

Of each chosen cluster the *anchor* is in: its representative (where a filter left that out: its best face that
remains). The other N - u faces are the *fill*. With r fixed, think of N growing one by one: each step either brings the
next cluster, or a fill face from a cluster that is there, or, where all of those are used up, a debt that is paid as
soon as a new cluster brings faces. Nothing is ever taken out, so a smaller manifest is a subset of a larger one
wherever both exist. Fill is drawn at random, by seeded keys of the faces, in *epochs* that begin whenever the number
of clusters has grown by a twentieth: first all from the faces that were there when the epoch began, in the order of
their keys; if these run out, from the clusters that came since, in the order in which they came. (Proof that a manifest
gets all its fill wherever enough faces exist: at every N the faces of an epoch are drawn in the order in which they
become available, so the number drawn is the smaller of what is owed and what is there.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.choices import Order
from curate.dedupe.order import compacted
from curate.errors import UsageError

NATURAL: Literal["natural"] = "natural"
"""The redundancy of a plain random sample, whatever it turns out to be."""

EPOCH = 1.05
"""By how much the number of clusters grows from one epoch to the next."""


def clusters_wanted(size: int, redundancy: float) -> int:
    """round(size * (1 - redundancy)), halves up; the tiny term forgives what decimals lose in binary."""
    return math.floor(size * (1 - redundancy) + 0.5 + 1e-9)


@dataclass(frozen=True)
class Layout:
    """The faces that a manifest may be chosen from, cluster by cluster in the order of the clusters.

    Attributes:
        rows: int64 [M], rows of the faces: of each cluster the anchor (always in) first, then the others by key.
        starts: int64 [U + 1], where each cluster begins in `rows`; `starts[u]` faces lie in the first u clusters.
        keys: uint64 [M], random keys of `rows`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    keys: NDArray[np.uint64]

    @property
    def clusters(self) -> int:
        """U."""
        return len(self.starts) - 1


def lay_out(
    cluster: NDArray[np.int64],
    anchor_rank: NDArray[np.int64],
    keys: NDArray[np.uint64],
    among: NDArray[np.bool_] | None = None,
    order: Order = "largest",
    bins: NDArray[np.int64] | None = None,
) -> Layout:
    """Lays out the faces of a cover for choosing.

    Args:
        cluster: int64 [N], cluster of each face.
        anchor_rank: int64 [N]; the face with the lowest stands for its cluster: representatives come before all others.
        keys: uint64 [N], random keys of the faces (`curate.manifests.keys`).
        among: bool [N], faces that may be chosen; None: all.
        order: how clusters are ordered; see the module.
        bins: int64 [N], bin of each face, over which clusters are spread by their anchors; None: they are not.
    """
    rows = np.arange(len(cluster), dtype=np.int64) if among is None else np.flatnonzero(among)
    key = keys
    if among is not None:
        cluster, anchor_rank, key = cluster[rows], anchor_rank[rows], keys[rows]
    number = compacted(cluster)
    sizes = np.bincount(number)
    first_key = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first_key, number, key)
    ranked = np.lexsort((first_key, -sizes)) if order == "largest" else np.argsort(first_key, kind="stable")
    if bins is not None:
        anchor = np.lexsort((anchor_rank, number))[np.cumsum(sizes) - sizes]
        ranked = _in_turns(ranked, bins[rows][anchor])
    rank = np.empty(len(sizes), np.int64)
    rank[ranked] = np.arange(len(sizes))
    place = rank[number]
    del number
    best = np.full(len(sizes), np.iinfo(np.int64).max, np.int64)
    np.minimum.at(best, place, anchor_rank)
    filler = anchor_rank != best[place]
    places = np.lexsort((key, filler, place))  # equal ones stay in the order of rows
    starts = np.concatenate(([0], np.cumsum(sizes[ranked]))).astype(np.int64)
    return Layout(rows[places], starts, key[places])


def _in_turns(ranked: NDArray[np.int64], bin_: NDArray[np.int64]) -> NDArray[np.int64]:
    """Clusters in their order, but one of each bin at a time; bin_: int64 [clusters]."""
    by_bin = np.argsort(bin_[ranked], kind="stable")
    begins = np.flatnonzero(np.diff(bin_[ranked][by_bin], prepend=-1))
    turn = np.empty(len(ranked), np.int64)
    turn[by_bin] = np.arange(len(ranked)) - np.repeat(begins, np.diff(np.append(begins, len(ranked))))
    return ranked[np.argsort(turn, kind="stable")]


def choose(layout: Layout, size: int, redundancy: float) -> NDArray[np.int64]:
    """int64 [size]: rows of the faces of a manifest, ascending.

    Raises:
        UsageError: no such manifest exists; says the largest size at that redundancy and the redundancies at that size.
    """
    wanted = clusters_wanted(size, redundancy)
    if not (1 <= wanted <= layout.clusters and layout.starts[wanted] >= size):
        raise UsageError(refusal(layout, size, redundancy))
    anchors = layout.starts[:wanted]
    fill = _fill(layout, wanted, size - wanted, redundancy)
    return np.sort(layout.rows[np.concatenate((anchors, fill))])


def choose_natural(keys: NDArray[np.uint64], size: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """int64 [size]: rows of a plain random sample, ascending; a smaller sample is a subset of a larger one.

    Raises:
        UsageError: there are not so many faces.
    """
    rows = np.arange(len(keys), dtype=np.int64) if among is None else np.flatnonzero(among)
    if not 1 <= size <= len(rows):
        raise UsageError(f"a natural manifest of {size} faces cannot be had: sizes from 1 to {len(rows)} can")
    return np.sort(rows[np.argsort(keys[rows], kind="stable")[:size]])


def _fill(layout: Layout, wanted: int, count: int, redundancy: float) -> NDArray[np.int64]:
    """Places in the layout of the fill of a manifest, by the epochs of the module."""
    is_fill = np.ones(int(layout.starts[wanted]), np.bool_)
    is_fill[layout.starts[:wanted]] = False
    drawn: list[NDArray[np.int64]] = []
    there = np.empty(0, np.int64)  # fill of clusters of earlier epochs that were not drawn yet
    done, begin = 0, 0
    while done < count:
        end = min(_epoch_end(begin), wanted)
        came = int(layout.starts[begin]) + np.flatnonzero(is_fill[layout.starts[begin] : layout.starts[end]])
        # What is owed just before the cluster comes that begins the next epoch, as if this r went on.
        owed = count if end == wanted else min(count, _fill_owed(end, redundancy))
        take = owed - done
        if take >= len(there):
            fresh = came[: take - len(there)]
            drawn += [there, fresh]
            there = came[len(fresh) :]
        else:
            split = np.argpartition(layout.keys[there], take) if take else np.arange(len(there))
            drawn.append(there[split[:take]])
            there = np.concatenate((there[split[take:]], came))
        done = sum(map(len, drawn))
        begin = end
    return np.concatenate(drawn) if drawn else np.empty(0, np.int64)


def _epoch_end(begin: int) -> int:
    return max(begin + 1, math.ceil(begin * EPOCH))


def _fill_owed(clusters: int, redundancy: float) -> int:
    """Fill that the largest manifest of so many clusters has at this redundancy, were there faces enough."""
    return largest_of(clusters, redundancy) - clusters


def largest_of(clusters: int, redundancy: float) -> int:
    """The largest size whose manifest has at most so many clusters."""
    return int(_largest_of(np.array([clusters]), redundancy)[0])


def _largest_of(clusters: NDArray[np.int64], redundancy: float) -> NDArray[np.int64]:
    size: NDArray[np.int64] = np.floor((clusters + 0.5) / (1 - redundancy)).astype(np.int64) + 1
    for _ in range(3):  # the quotient is at most one off either way
        size -= np.floor(size * (1 - redundancy) + 0.5 + 1e-9) > clusters
    return size


def largest(layout: Layout, redundancy: float) -> int:
    """The largest size that can be had at a redundancy; 0 where there is none."""
    clusters = np.arange(1, layout.clusters + 1)
    sizes = np.minimum(_largest_of(clusters, redundancy), layout.starts[1:])
    exact = np.floor(sizes * (1 - redundancy) + 0.5 + 1e-9) == clusters
    return int(sizes[exact].max(initial=0))


def redundancies(layout: Layout, size: int) -> tuple[float, float] | None:
    """The least and the greatest redundancy that can be had at a size; None where the faces are too few."""
    if not 1 <= size <= layout.starts[-1]:
        return None
    fewest = int(np.searchsorted(layout.starts, size))
    digits = len(str(size)) + 1  # so few that it reads well, so many that it means the same number of clusters
    return round(1 - min(size, layout.clusters) / size, digits), round(1 - fewest / size, digits)


LISTED = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Redundancies at which `available` says what sizes there are."""


def available(layout: Layout) -> list[tuple[float, int]]:
    """The largest size at each of some redundancies, where there is one."""
    return [(share, size) for share in LISTED if (size := largest(layout, share))]


def refusal(layout: Layout, size: int, redundancy: float) -> str:
    """Why a manifest cannot be had, and what can."""
    most = largest(layout, redundancy)
    at_r = f"at redundancy {redundancy:g} the largest has {most}" if most else f"none has redundancy {redundancy:g}"
    span = redundancies(layout, size)
    if span is None:
        at_n = f"there are {int(layout.starts[-1])} faces in {layout.clusters} clusters"
    else:
        at_n = f"with {size} faces redundancy can be {span[0]} to {span[1]}"
    return f"a manifest of {size} faces at redundancy {redundancy:g} cannot be had: {at_r}; {at_n}"
