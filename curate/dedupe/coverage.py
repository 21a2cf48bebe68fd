"""What a collection shows before and after deduplication: how far the kept faces still cover it.

`coverage` in `redundancy.json`, of all faces and of those that the build's own cover keeps:

    videos, shots, tracks, people     how many there are (`people` where the build has an identity space)
    ranges    NAME -> edges [k + 1], before [k], after [k]: faces in each range of yaw, pitch and roll (degrees), size
              (shorter side of the box, pixels), sharpness, brightness, quality, and how far mouth (in distances between
              the eyes) and eyes (in shares of their width) are open; a last edge of null is open. `unknown`, before and
              after: faces without the value, which are too small or turned too far for it to be seen
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.dedupe.order import numbered
from curate.storage.build import Build
from curate.storage.schemas import LATER

ANGLES = (-90, -60, -45, -30, -15, 15, 30, 45, 60, 90)
EDGES: dict[str, tuple[float, ...]] = {
    "yaw": ANGLES,
    "pitch": ANGLES,
    "roll": ANGLES,
    "size": (0, 32, 48, 64, 96, 128, 192, 256, 384, np.inf),
    "sharpness": tuple(np.linspace(0, 1, 11).round(1).tolist()),
    "brightness": tuple(np.linspace(0, 1, 11).round(1).tolist()),
    "quality": tuple(np.linspace(0, 1, 11).round(1).tolist()),
    "mouth_open": (0, 0.06, 0.12, 0.18, 0.24, 0.36, 0.48, np.inf),
    "eyes_open": (0, 0.06, 0.12, 0.18, 0.24, 0.3, 0.36, 0.42, np.inf),
}
COLUMNS = ["video_id", "shot", "track", "bbox", "yaw", "pitch", "roll", "sharpness", "brightness", "quality"]


def coverage(build: Build, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """What all faces show, and those that are kept.

    Args:
        kept: bool [N], in build order.
    """
    known = [name for name in LATER if name in EDGES and name in build.face_columns(pictures=False)]
    faces = build.faces([*COLUMNS, *known])
    video = numbered(faces["video_id"])[1]
    groups = {
        "videos": video,
        "shots": within(video, faces["shot"].to_numpy()),
        "tracks": within(video, faces["track"].to_numpy()),
    }
    if "identity" in build.spaces:
        groups["people"] = np.asarray(build.clusters("identity")["cluster"].to_numpy(), np.int64)
    found: dict[str, Any] = {
        name: {"before": len(np.unique(group)), "after": len(np.unique(group[kept]))} for name, group in groups.items()
    }
    values = {name: faces[name].to_numpy().astype(np.float64) for name in EDGES if name in faces.column_names}
    values["size"] = sizes(faces["bbox"])
    found["ranges"] = {name: _counts(values[name], kept, edges) for name, edges in EDGES.items() if name in values}
    return found


def _counts(values: NDArray[np.float64], kept: NDArray[np.bool_], edges: tuple[float, ...]) -> dict[str, Any]:
    """Faces in each range; what lies beyond the edges counts to the outer ranges."""
    present = ~np.isnan(values)
    unknown = {"before": int((~present).sum()), "after": int((~present & kept).sum())}
    values, kept = values[present], kept[present]
    inside = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    count = len(edges) - 1
    return {
        "edges": [None if np.isinf(edge) else edge for edge in edges],
        "before": np.bincount(inside, minlength=count).tolist(),
        "after": np.bincount(inside[kept], minlength=count).tolist(),
        "unknown": unknown,
    }


def sizes(boxes: pa.ChunkedArray) -> NDArray[np.float64]:
    """float64 [N]: the shorter side of each box of x0, y0, x1, y1, pixels."""
    parts = [np.asarray(chunk.flatten()).reshape(-1, 4) for chunk in boxes.chunks]
    corners = np.concatenate(parts) if parts else np.empty((0, 4))
    return np.asarray((corners[:, 2:] - corners[:, :2]).min(axis=1), np.float64)


def within(video: NDArray[np.int64], number: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [N]: shots or tracks, which each video counts for itself, numbered over all of them."""
    return video * (1 << 32) + number
