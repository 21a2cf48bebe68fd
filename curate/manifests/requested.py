"""The manifests that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterable

from curate.errors import UsageError
from curate.manifests.candidates import Candidates, ManifestInfo
from curate.manifests.select import NATURAL
from curate.storage.manifest import Redundancy


def cut_requested(
    candidates: Candidates, sizes: Iterable[int] = (), redundancies: Iterable[float] = ()
) -> tuple[list[ManifestInfo], list[str]]:
    """Writes `unique`, `natural` and each size at each redundancy into `BUILD/manifests`.

    Sizes without redundancies are natural samples; redundancies without sizes are as large as they can be.

    Returns:
        What was written, and one line for each that cannot be had.
    """
    folder = candidates.build.path / "manifests"
    counts: list[int | None] = [*sorted(set(sizes))] or [None]
    shares: list[Redundancy] = [*sorted(set(redundancies))] or ([] if counts == [None] else [NATURAL])
    asked: list[tuple[str, int | None, Redundancy]] = [("unique", None, 0.0), ("natural", None, NATURAL)]
    asked += [(_name(size, redundancy), size, redundancy) for size in counts for redundancy in shares]
    written, refused = [], []
    for name, size, redundancy in asked:
        try:
            written.append(candidates.cut(folder / f"{name}.parquet", size, redundancy))
        except UsageError as error:
            refused.append(str(error))
    return written, refused


def _name(size: int | None, redundancy: Redundancy) -> str:
    count = "largest" if size is None else f"{size}"
    return f"{count}-natural" if redundancy == NATURAL else f"{count}-r{redundancy:g}"
