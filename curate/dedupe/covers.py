"""Covers: which faces stay so that nothing unlike is thrown away and nothing alike is kept twice.

Faces are visited in order, better ones first. A face becomes a *representative* unless an earlier representative has
cosine >= t to it (greedy cover); afterwards every face belongs to its most similar representative.

Why the result is unique, so that any way to compute it gives the same bits: a set R of faces is the greedy cover if and
only if (1) no two faces of R have cosine >= t, and (2) every face outside R has an *earlier* face of R with
cosine >= t. Proof by induction along the order: if R and the greedy cover agree on all faces before x, then x has an
earlier near representative in both or in neither, so x is in both or in neither. The cosine of a pair is itself one
number on all machines (`curate.dedupe.cosine`). Everything below only decides which pairs are worth that number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.dedupe.cosine import check, check_threshold
from curate.dedupe.greedy import Greedy, prefilter_for
from curate.dedupe.order import order_of
from curate.dedupe.paired import cover_by_pairs
from curate.dedupe.pairs import cheapest
from curate.dedupe.pivots import find_pivots
from curate.dedupe.threads import pool


class Cover(NamedTuple):
    """A greedy cover of N faces.

    Attributes:
        cluster: int64 [N], number of the face's representative, counted from 0 in the order of the faces.
        representative: bool [N].
        similarity: float32 [N], cosine to the own representative; 1 for representatives.
    """

    cluster: NDArray[np.int64]
    representative: NDArray[np.bool_]
    similarity: NDArray[np.float32]


def cover(
    vectors: Any,
    threshold: float,
    priority: ArrayLike | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> Cover:
    """The greedy cover of unit vectors at a cosine threshold.

    Args:
        vectors: float16 or float32 [N, D], unit rows, taken as they are; may be a `numpy.memmap`.
        threshold: cosine in (0, 1] from which two rows are near-duplicates.
        priority: [N], higher first, ties by row; None: by row.
        device: a torch device for the products.
        threads: how many to use; None: as many as torch uses. Neither changes any bit of the result.

    Raises:
        UsageError: a row is NaN, infinite, zero or not of length 1 (it is named), a shape, the threshold or the
            priority is wrong.
    """
    with pool(threads, vectors) as each:
        rows = check(vectors, each)
        order = order_of(priority, len(rows))
        table = find_pivots(rows, prefilter_for(rows, check_threshold(threshold), device), each, (threshold,))
        if cheapest(table, (threshold,), each) == 0:
            best, flags, cosine = cover_by_pairs(table, order, threshold, each)
        else:
            run = Greedy(table, threshold, each)
            run.run(order)
            best, flags, cosine = run.assignment.best, run.flags, run.assignment.cosine
    return Cover(best, flags, similarity(cosine))


def similarity(cosine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cosines as they are stored; representatives, which carry 2 during assignment, have 1."""
    return np.minimum(cosine, 1.0).astype(np.float32)
