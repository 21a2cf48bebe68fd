"""`curate build --from-manifest`: builds the sources of a shared manifest and finds its faces again."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate import locations, recipe
from curate.errors import UsageError
from curate.manifests import shared
from curate.manifests.candidates import Criteria, candidates
from curate.run.build import BuildOutcome, build, check_folder
from curate.run.cluster import LOCAL, Executor
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.forgotten import overlap
from curate.storage.parquet import write_table

LIST = Path("work/shared.parquet")
REPORT = "work/shared.json"
MANIFEST = "shared.parquet"
NEAR_S = 0.02
"""A face is found again at its instant: its presentation time, or so near to it in seconds."""
OVERLAP = 0.5


@dataclass(frozen=True)
class SharedVideo:
    """What became of one source of a shared manifest.

    Attributes:
        state: `same` (equal bytes), `changed` (other bytes), or `gone` (cannot be read; `why` says it).
        faces: of the manifest; `found`: of them, those that are there again.
    """

    source: str
    state: str
    faces: int
    found: int
    why: str | None = None


@dataclass(frozen=True)
class Rebuilt:
    """A build made from a shared manifest, and how much of that is the same.

    Attributes:
        manifest: of the faces that were found, in the build; None where there are none.
    """

    outcome: BuildOutcome
    videos: list[SharedVideo]
    manifest: Path | None


def rebuild(
    path: str | Path, out: str | Path, keys: dict[str, Any], executor: Executor = LOCAL, retry: str | None = None
) -> Rebuilt:
    """Builds the sources that a shared manifest names, by its recipe, and finds its faces again.

    Args:
        path: the file of `curate export --format shared`; relative sources are relative to it.
        keys: of the recipe, dotted, over those of the manifest.

    Raises:
        UsageError, BuildError, StorageError: see `curate.build`.
    """
    table, about = shared.read(Path(path))
    if not locations.is_local(str(out)):
        raise UsageError(f"--out {out}: with --from-manifest a local folder is needed")
    chosen = recipe.load(None, _flat(about["recipe"]) | {"manifests.sizes": [], "manifests.redundancies": []} | keys)
    folder = Path(out)
    check_folder(folder)
    order = _videos(table)
    names = [locations.resolve(row["source"], Path(path).resolve().parent) for row in order]
    columns = {"source": names, "start": [row["start_s"] for row in order], "end": [row["end_s"] for row in order]}
    types = pa.schema([("source", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
    write_table(folder / LIST, pa.table(columns, schema=types))
    outcome = build(folder / LIST, folder, chosen, executor, retry)
    built = outcome.build
    rows, videos = _found(built, table, order)
    manifest = None
    if len(rows):
        manifest = folder / "manifests" / MANIFEST
        laid = candidates(built, Criteria(about["space"]) if about["space"] in built.spaces else None)
        laid.write(manifest, rows, None, shared.RULE)
    states = Counter(video.state for video in videos)
    report = {
        "videos": [asdict(video) for video in videos],
        "states": dict(states),
        "faces": len(table),
        "found": len(rows),
    }
    write_json(folder / REPORT, report)
    return Rebuilt(outcome, videos, manifest)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _videos(table: pa.Table) -> list[dict[str, Any]]:
    """The videos of a shared manifest, in the order of their first face."""
    rows = table.select(["video_id", *shared.VIDEO]).to_pylist()
    return list({row["video_id"]: row for row in reversed(rows)}.values())[::-1]


def _found(
    built: Build, table: pa.Table, order: list[dict[str, Any]]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[SharedVideo]]:
    """Rows in the build of the faces that are there again, ascending, and what became of each video."""
    there: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for row, face in enumerate(built.faces(["video_id", "time_s", "pts", "bbox"]).to_pylist()):
        there[face["video_id"]].append((row, face))
    wanted: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for face in table.select(["video_id", "time_s", "pts", "bbox"]).to_pylist():
        wanted[face["video_id"]].append(face)
    rows: set[int] = set()
    videos = []
    for known, now in zip(order, built.videos.to_pylist(), strict=True):
        own = {
            match for face in wanted[known["video_id"]] if (match := _match(face, there[now["video_id"]])) is not None
        }
        rows |= own
        same = all(now[name] == known.get(name) for name in ("content_sha256", "header_sha256"))
        state = "gone" if now["status"] == "failed" else "same" if same else "changed"
        videos.append(SharedVideo(known["source"], state, len(wanted[known["video_id"]]), len(own), now["error"]))
    return np.array(sorted(rows), np.int64), videos


def _match(face: dict[str, Any], there: list[tuple[int, dict[str, Any]]]) -> int | None:
    """The row of the face that overlaps most at the same instant, if one overlaps by half."""
    best, row = OVERLAP, None
    for number, other in there:
        at = other["pts"] == face["pts"] if face["pts"] is not None else abs(other["time_s"] - face["time_s"]) <= NEAR_S
        if at and (share := overlap(face["bbox"], other["bbox"])) >= best:
            best, row = share, number
    return row
