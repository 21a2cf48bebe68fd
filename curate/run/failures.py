"""What failed in a build, by kind, each with its fix and one example."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from curate.errors import ErrorKind, one_line


def by_kind(videos: pa.Table) -> list[str]:
    """One line for each kind of failure in `videos.parquet`, the most frequent first."""
    rows = videos.select(["error_kind", "source", "error"]).filter(videos["error_kind"].is_valid()).to_pylist()
    counts = Counter(row["error_kind"] for row in rows)
    first = {row["error_kind"]: row for row in reversed(rows)}
    return [
        f"{count:,} {kind}, such as {one_line(first[kind]['source'], 80)} ({one_line(first[kind]['error'], 120)}): "
        f"{ErrorKind(kind).fix}"
        for kind, count in counts.most_common()
    ]
