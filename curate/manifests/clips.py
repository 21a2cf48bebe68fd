"""`curate export --format clips`: short videos of one face, with a table.

OUT/clips/VIDEO_ID/TRACK.mp4    the faces of one track that the manifest has, at their times
OUT/metadata.parquet            a row a clip
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import UsageError
from curate.storage.clips import write_clip
from curate.storage.files import atomic_write
from curate.storage.parquet import write_batches
from curate.storage.pictures import decode

SCHEMA = pa.schema(
    [
        ("file_name", pa.string()),
        ("video_id", pa.string()),
        ("shot", pa.int32()),
        ("track", pa.int32()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("identity", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("frames", pa.int32()),
        ("longest_gap_s", pa.float64()),
        ("face_id", pa.list_(pa.string())),
        ("time_s", pa.list_(pa.float64())),
    ]
)


def write(faces: Iterator[tuple[bytes, dict[str, Any]]], out: Path) -> Iterator[None]:
    """Writes clips and table; yields for each face.

    Args:
        faces: picture and what is known of it, in build order: those of a video follow each other.
    """
    rows = []
    for _, own in groupby(faces, key=lambda face: face[1]["video_id"]):
        tracks: dict[int, list[tuple[bytes, dict[str, Any]]]] = defaultdict(list)
        for face in own:
            tracks[face[1]["track"]].append(face)
        for track in tracks.values():
            rows.append(_clip(track, out))
            yield from (None for _ in track)
    write_batches(out / "metadata.parquet", SCHEMA, [pa.Table.from_pylist(rows, schema=SCHEMA)])


def _clip(track: list[tuple[bytes, dict[str, Any]]], out: Path) -> dict[str, Any]:
    """Writes one clip and gives its row."""
    known = [about for _, about in track]
    first, times = known[0], [about["time_s"] for about in known]
    name = f"clips/{first['video_id']}/{first['track']}.mp4"
    pictures = []
    for picture, about in track:
        try:
            pictures.append(decode(picture))
        except (ValueError, OSError) as error:
            raise UsageError(
                f"{about['face_id']}: its stored picture is damaged; curate verify BUILD says more"
            ) from error
    with atomic_write(out / name) as temporary:
        write_clip(temporary, pictures, times)
    return {column: first[column] for column in ("video_id", "shot", "track", "source", "license")} | {
        "identity": Counter(about["identity"] for about in known).most_common(1)[0][0],
        "file_name": name,
        "start_s": times[0],
        "end_s": times[-1],
        "frames": len(track),
        "longest_gap_s": max((b - a for a, b in pairwise(times)), default=0.0),
        "face_id": [about["face_id"] for about in known],
        "time_s": times,
    }
