"""How the ranges of a list were fetched: alone, or with all of the video, and why."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc


def ranges(videos: pa.Table) -> list[str]:
    """Lines for `videos.parquet`: how many ranges were fetched alone, and of how many the whole video had to be."""
    alone = videos.filter(videos["header_sha256"].is_valid())
    because = Counter(videos["whole_because"].drop_null().to_pylist())
    lines = []
    if len(alone):
        size = pc.sum(alone["bytes_fetched"]).as_py() or 0
        lines.append(f"{len(alone):,} ranges of videos fetched alone: {size / 1e6:,.1f} MB")
    if because:
        why = "; ".join(f"{reason} ({count:,})" for reason, count in because.most_common(5))
        lines.append(f"{because.total():,} ranges came with their whole videos: {why}")
    return lines
