"""`report.html`: what was found, what was dropped, and why, with pictures; one file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from markupsafe import Markup
from numpy.typing import NDArray

from curate.calibration import meaning
from curate.dedupe.order import numbered
from curate.drawing import plots
from curate.drawing.pictures import thumbnails
from curate.drawing.template import render
from curate.run import funnel
from curate.storage.build import Build, open_build
from curate.storage.files import sealed, write_bytes
from curate.storage.info import BuildInfo
from curate.storage.schemas import VIDEOS as VIDEO_COLUMNS

NAME = "report.html"
TEMPLATE = Path(__file__).with_name("page.html")
STRIP = 28
CLUSTERS = 10
MEMBERS = 10
PAIRS = 6
TRACKS, MOMENTS = 8, 12
RANGES = {
    "yaw": "yaw, degrees",
    "pitch": "pitch, degrees",
    "size": "shorter side of the box, pixels",
    "quality": "quality",
    "mouth_open": "opening of the mouth, distances between the eyes",
    "eyes_open": "opening of the eyes, shares of their width",
}
"""What is drawn of `coverage` in `redundancy.json`, with its label."""
VIDEOS = 200
BLOCK, NEAREST = 500, 200
"""Representatives that are compared at once with all after them, and the most similar pairs that are looked through."""
COMPARED = 4000
"""Representatives that are searched for pairs just below the threshold; a sample where there are more."""


@dataclass(frozen=True)
class Layout:
    """The cover of a build as arrays, all [faces] in build order."""

    cluster: NDArray[np.int64]
    representative: NDArray[np.bool_]
    similarity: NDArray[np.float32]
    face_id: pa.ChunkedArray


def write(path: Path) -> Path:
    """Writes `report.html` into a finished build, whole or not at all, and returns its path.

    A build of any size gives a page of a few megabytes: what does not fit is sampled, and the page says so.
    """
    build = open_build(path)
    target = path / NAME
    write_bytes(target, sealed(render(TEMPLATE, **gather(build))))
    return target


def gather(build: Build) -> dict[str, Any]:
    """Everything that the page shows."""
    info = build.info
    redundancy = build.redundancy()
    layout = _layout(build)
    threshold = info.spaces["appearance"].threshold
    strip = _strip(layout)
    clusters = _clusters(layout)
    above = _above(layout)
    below = _below(build, layout, threshold)
    tracks = _tracks(build, layout)
    rows = {*strip, *(row for rows in clusters for row in rows), *(row for track in tracks for row in track["rows"])}
    rows |= {row for left, right, _ in above + below for row in (left, right)}
    table = build.videos.select([name for name in VIDEO_COLUMNS.names if name not in ("retrieved_at", "bytes_fetched")])
    videos = table.slice(0, VIDEOS).to_pylist()  # of ten million rows as Python's objects no memory is left
    copies = table.filter(pc.is_valid(table["duplicate_of"])).slice(0, VIDEOS).to_pylist()
    coverage = redundancy.get("coverage", {})
    return {
        "info": info,
        "coverage": coverage,
        "ranges": [
            Markup(plots.ranges(**coverage["ranges"][name], label=label))  # noqa: S704 - our own SVG
            for name, label in RANGES.items()
            if name in coverage.get("ranges", {})
        ],
        "tracks": tracks,
        "representative": layout.representative,
        "name": build.path.resolve().name,
        "threshold": threshold,
        "meaning": meaning.words(info.spaces["appearance"].more),
        "redundancy": next(point for point in redundancy["curve"] if point["threshold"] == threshold),
        "curve": Markup(plots.redundancy_curve(redundancy["curve"], threshold)),  # noqa: S704 - our own SVG
        "rates": Markup(plots.redundancy_by_rate(redundancy["by_rate"])),  # noqa: S704 - our own SVG
        "by_rate": redundancy["by_rate"],
        "pictures": thumbnails(build, rows),
        "strip": strip,
        "clusters": [
            {"rows": rows, "size": int((layout.cluster == layout.cluster[rows[0]]).sum())} for rows in clusters
        ],
        "similarity": layout.similarity,
        "face_id": {row: layout.face_id[row].as_py() for row in rows},
        "above": above,
        "below": below,
        "sampled_pairs": int(layout.representative.sum()) > COMPARED,
        "stages": _stages(info),
        "hints": list(funnel.hints(info)),
        "failures": _counted(table["error_kind"].drop_null()),
        "videos": _videos(videos, redundancy["by_video"]),
        "all_videos": len(table),
        "copies": copies,
        "source_of": _sources(
            table, [track["video_id"] for track in tracks] + [copy["duplicate_of"] for copy in copies]
        ),
        "licences": _counted(
            pc.if_else(pc.equal(pc.coalesce(table["license"], ""), ""), "not stated", table["license"])
        )[:20],
        "manifests": build.manifests,
        "recipe": yaml.safe_dump(info.recipe, sort_keys=False),
    }


def _counted(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Distinct texts and how often each comes, the most frequent first, of equal ones the one that comes first."""
    found = pc.value_counts(values)
    counts = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    return sorted(counts, key=lambda one: -one[1])


def _sources(table: pa.Table, ids: list[str]) -> dict[str, str]:
    """What the list says of some videos."""
    rows = table.filter(pc.is_in(table["video_id"], pa.array(ids, pa.string())))
    return dict(zip(rows["video_id"].to_pylist(), rows["source"].to_pylist(), strict=True))


def _layout(build: Build) -> Layout:
    table = build.clusters("appearance")
    return Layout(
        table["cluster"].to_numpy(),
        table["representative"].to_numpy(zero_copy_only=False),
        table["similarity"].to_numpy(),
        table["face_id"],
    )


def _strip(layout: Layout) -> list[int]:
    """Representatives, evenly over the build."""
    rows = np.flatnonzero(layout.representative)
    return [int(row) for row in rows[np.unique(np.linspace(0, len(rows) - 1, min(STRIP, len(rows))).astype(int))]]


def _clusters(layout: Layout) -> list[list[int]]:
    """The largest clusters: the representative, then members from the least to the most similar, evenly."""
    found, sizes = np.unique(layout.cluster, return_counts=True)
    largest = found[np.lexsort((found, -sizes))][:CLUSTERS]
    shown = []
    for cluster in largest:
        rows = np.flatnonzero(layout.cluster == cluster)
        head = rows[layout.representative[rows]]
        rest = rows[~layout.representative[rows]]
        rest = rest[np.argsort(layout.similarity[rest], kind="stable")]
        if len(rest):
            rest = rest[np.unique(np.linspace(0, len(rest) - 1, min(MEMBERS, len(rest))).astype(int))]
            shown.append([int(row) for row in (*head, *rest)])
    return shown


def _tracks(build: Build, layout: Layout) -> list[dict[str, Any]]:
    """The longest tracks: faces evenly over their time, how many they have, and how many of them are kept."""
    faces = build.faces(["video_id", "track", "time_s"])
    tracks = numbered(faces["video_id"])[1] * (1 << 32) + faces["track"].to_numpy()
    found, track, sizes = np.unique(tracks, return_inverse=True, return_counts=True)
    shown = []
    for longest in np.lexsort((found, -sizes))[:TRACKS]:
        rows = np.flatnonzero(track == longest)
        times = faces["time_s"].to_numpy()[rows]
        rows, times = rows[np.argsort(times, kind="stable")], np.sort(times)
        even = np.unique(np.linspace(0, len(rows) - 1, min(MOMENTS, len(rows))).astype(int))
        shown.append(
            {
                "rows": rows[even].tolist(),
                "times": times[even].tolist(),
                "video_id": faces["video_id"][int(rows[0])].as_py(),
                "size": len(rows),
                "kept": int(layout.representative[rows].sum()),
            }
        )
    return shown


def _above(layout: Layout) -> list[tuple[int, int, float]]:
    """(representative, dropped face, cosine): the least similar that still count as the same picture."""
    dropped = np.flatnonzero(~layout.representative)
    dropped = dropped[np.argsort(layout.similarity[dropped], kind="stable")][:PAIRS]
    heads = np.flatnonzero(layout.representative)
    head_of = dict(zip(layout.cluster[heads].tolist(), heads.tolist(), strict=True))
    return [(head_of[int(layout.cluster[row])], int(row), float(layout.similarity[row])) for row in dropped]


def _below(build: Build, layout: Layout, threshold: float) -> list[tuple[int, int, float]]:
    """(face, face, cosine): the most similar pairs of representatives, each face once."""
    heads = np.flatnonzero(layout.representative)
    if len(heads) > COMPARED:
        heads = np.sort(np.random.default_rng(0).choice(heads, COMPARED, replace=False))
    vectors = build.vectors_of(heads).astype(np.float32)
    best: list[tuple[float, int, int]] = []
    for start in range(0, len(heads), BLOCK):
        products = vectors[start : start + BLOCK] @ vectors[start:].T
        products[np.tril_indices(products.shape[0], 0, products.shape[1])] = -2.0
        most = np.argpartition(products, -NEAREST, axis=None)[-NEAREST:] if products.size > NEAREST else slice(None)
        places = np.arange(products.size)[most]
        rows, columns = (start + np.stack(np.divmod(places, products.shape[1]))).tolist()
        found = zip(products.ravel()[places].tolist(), rows, columns, strict=True)
        best = sorted([*best, *found], key=lambda one: (-one[0], *one[1:]))[:NEAREST]
    pairs: list[tuple[int, int, float]] = []
    used: set[int] = set()
    for cosine, left, right in best:
        if cosine > -2 and not used & {left, right} and len(pairs) < PAIRS:
            used |= {left, right}
            pairs.append((int(heads[left]), int(heads[right]), min(cosine, threshold)))
    return pairs


def _stages(info: BuildInfo) -> list[dict[str, Any]]:
    """What went in and what was left after each stage, with the reasons for what was dropped."""
    counts = info.counts
    kept = counts.clusters["appearance"]
    damaged = counts.frames_damaged
    return [
        {"name": "sources in the list", "count": counts.sources, "why": ""},
        {
            "name": "videos that could be read",
            "count": counts.videos,
            "why": f"{counts.failed:,} failed" if counts.failed else "",
        },
        {
            "name": "sound frames looked at",
            "count": counts.frames_sampled,
            "why": f"{damaged:,} sampled instants were damaged" if damaged else "",
        },
        {
            "name": "frames with a face",
            "count": counts.spread.frames,
            "why": f"{counts.frames_sampled - counts.spread.frames:,} without",
        },
        {
            "name": "faces",
            "count": counts.faces,
            "why": ", ".join(f"{n:,} {reason}" for reason, n in info.dropped.items()),
        },
        {
            "name": "tracks",
            "count": counts.spread.tracks,
            "why": f"{counts.spread.single:,} of a single face",
        },
        {
            "name": "faces that differ",
            "count": kept,
            "why": f"{counts.faces - kept:,} are near-duplicates of a better one",
        },
        {
            "name": "videos that are no copies",
            "count": counts.ok + counts.no_faces,
            "why": f"{counts.duplicate:,} copies of earlier videos" if counts.duplicate else "",
        },
    ]


def _videos(videos: list[dict[str, Any]], by_video: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of videos, in list order, with what stays of them."""
    measured = {row["video_id"]: row for row in by_video}
    shown = []
    for video in videos:
        own = measured.get(video["video_id"])
        share = 1 - own["kept"] / own["faces"] if own and own["faces"] else None
        shown.append(video | {"kept": own["kept"] if own else None, "redundancy": share})
    return shown
