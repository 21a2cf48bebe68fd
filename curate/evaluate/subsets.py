"""Few-shot subsets: seeded, nested, spread over classes, and published as lists of ids.

Each sample draws a number from a hash of the seed and its id, so a subset depends on nothing else: not on the order of
files, not on the machine. Samples are ranked by it; a smaller subset is the beginning of a larger one.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.storage.files import write_bytes

Indices = NDArray[np.int64]


def draw(seed: int, name: str) -> float:
    """A number in [0, 1) that only the seed and the name decide."""
    value = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(value, "big") / 2**64


def ranked(ids: Sequence[str], strata: Sequence[Hashable] | None, seed: int) -> Indices:
    """All positions, in the order in which subsets take them.

    Args:
        ids: one a sample.
        strata: class or person of each sample; every prefix of the order holds them in nearly their own proportion,
            and each once before one of equal size twice. None: no matter.
    """
    draws = np.array([draw(seed, name) for name in ids])
    order = np.lexsort((np.array(ids, dtype=object).astype(str), draws)) if len(ids) else np.zeros(0, dtype=np.int64)
    if strata is None:
        return order.astype(np.int64)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position in order:
        members[strata[position]].append(int(position))
    place = np.empty(len(ids))
    for found in members.values():
        place[found] = (np.arange(len(found)) + draws[found[0]]) / len(found)  # evenly through the whole order
    return order[np.argsort(place[order], kind="stable")].astype(np.int64)


def take(
    ids: Sequence[str], strata: Sequence[Hashable] | None, seed: int, fraction: float = 1.0, shots: int | None = None
) -> Indices:
    """Positions of a subset, rising.

    Args:
        fraction: share of all samples, rounded up.
        shots: instead, so many samples of each stratum (all, where it has fewer); without strata, in all.

    Raises:
        UsageError: the fraction is not in (0, 1], or `shots` is below 1.
    """
    check_size(fraction, shots)
    if shots is not None:
        return _shots(ids, strata, seed, shots)
    order = ranked(ids, strata, seed)
    return np.sort(order[: math.ceil(len(order) * fraction - 1e-9)])


def check_size(fraction: float, shots: int | None) -> None:
    """Refuses sizes that no subset has.

    Raises:
        UsageError: the fraction is not in (0, 1], or `shots` is below 1.
    """
    if shots is not None and shots < 1:
        raise UsageError(f"--shots {shots}: at least 1")
    if not 0 < fraction <= 1:
        raise UsageError(f"--fraction {fraction}: a share above 0 and at most 1, for example 0.1")


def _shots(ids: Sequence[str], strata: Sequence[Hashable] | None, seed: int, shots: int) -> Indices:
    taken: dict[Hashable, int] = defaultdict(int)
    chosen = []
    for position in ranked(ids, None, seed):
        stratum = strata[position] if strata is not None else None
        if taken[stratum] < shots:
            taken[stratum] += 1
            chosen.append(position)
    return np.sort(np.array(chosen, dtype=np.int64))


def hold_out(ids: Sequence[str], groups: Sequence[str | None], share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples validate: whole subjects where there are at least two, else single samples.

    Returns:
        bool [N], about `share` of the samples, at least one and never all where N >= 2.
    """
    units = [group if group is not None else f"\0{name}" for name, group in zip(ids, groups, strict=True)]
    sizes: dict[str, int] = defaultdict(int)
    for unit in units:
        sizes[unit] += 1
    if len(sizes) < 2:
        units = list(ids)
        sizes = dict.fromkeys(units, 1)
    order = sorted(sizes, key=lambda unit: (draw(seed + 1, unit), unit))
    chosen: set[str] = set()
    held = 0
    for unit in order[:-1]:
        if chosen and held + sizes[unit] / 2 > share * len(ids):
            break
        chosen.add(unit)
        held += sizes[unit]
    return np.array([unit in chosen for unit in units], dtype=bool)


def assign_folds(
    ids: Sequence[str], groups: Sequence[str | None], strata: Sequence[Hashable] | None, count: int
) -> Indices:
    """The fold of each sample, int64 [N], where a data set has no test part: whole subjects, else spread over strata.

    The same for every seed, so that all seeds are tested on the same folds.
    """
    if any(group is not None for group in groups):
        units = sorted({group or name for name, group in zip(ids, groups, strict=True)})
        order = ranked(units, None, 0)
        fold_of = {units[position]: rank % count for rank, position in enumerate(order)}
        return np.array([fold_of[group or name] for name, group in zip(ids, groups, strict=True)], dtype=np.int64)
    folds = np.empty(len(ids), dtype=np.int64)
    folds[ranked(ids, strata, 0)] = np.arange(len(ids)) % count
    return folds


def publish(folder: Path, name: str, ids: Sequence[str], about: str) -> str:
    """Writes ids, one a line below a comment, to `NAME-HASH.txt`; returns the first 12 digits of their hash."""
    text = "".join(f"{id_}\n" for id_ in ids)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    write_bytes(folder / f"{name}-{digest}.txt", f"# {about}; sha256 of the lines below: {digest}\n{text}".encode())
    return digest
