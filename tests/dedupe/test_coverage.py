"""Counts before and after deduplication: nothing is lost between ranges, and the kept are among all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.dedupe import coverage


class Faces:
    """As much of a build as `coverage` reads; text in several chunks."""

    spaces = ("appearance", "identity")

    def __init__(self, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        boxes = np.concatenate([np.zeros((count, 2)), rng.uniform(1, 600, (count, 2))], axis=1).astype(np.float32)
        half = count // 2
        ids = [f"v{k}" for k in np.sort(rng.integers(0, 4, count))]
        columns: dict[str, object] = {
            "video_id": pa.chunked_array([ids[:half], ids[half:]], pa.string()),
            "shot": pa.array(rng.integers(0, 3, count).astype(np.int32)),
            "track": pa.array(rng.integers(0, 5, count).astype(np.int32)),
            "bbox": pa.array(boxes.tolist(), pa.list_(pa.float32(), 4)),
        }
        for name in ("yaw", "pitch", "roll"):
            columns[name] = pa.array(rng.uniform(-120, 120, count).astype(np.float32))
        for name in ("sharpness", "brightness", "quality"):
            columns[name] = pa.array(rng.uniform(0, 1, count).astype(np.float32))
        for name in coverage.LATER:
            columns[name] = pa.array(rng.uniform(0, 1, count).astype(np.float32), mask=rng.random(count) < 0.3)
        self.table, self.people = pa.table(columns), rng.integers(0, 3, count)

    def faces(self, columns: list[str]) -> pa.Table:
        return self.table.select(columns)

    def face_columns(self, pictures: bool) -> list[str]:
        return list(self.table.column_names)

    def clusters(self, space: str) -> pa.Table:
        return pa.table({"cluster": self.people})


@given(st.integers(0, 99), st.integers(2, 60))
def test_ranges_hold_every_face_once_and_groups_are_counted(seed: int, count: int) -> None:
    build, kept = Faces(seed, count), np.random.default_rng(seed).random(count) < 0.5
    found = coverage.coverage(build, kept)
    assert found["ranges"].keys() == coverage.EDGES.keys()
    for one in found["ranges"].values():
        assert sum(one["before"]) + one["unknown"]["before"] == count
        assert sum(one["after"]) + one["unknown"]["after"] == kept.sum()
        assert all(a <= b for a, b in zip(one["after"], one["before"], strict=True))
    table = build.table
    assert found["ranges"]["mouth_open"]["unknown"]["before"] == table["mouth_open"].null_count
    assert found["ranges"]["yaw"]["unknown"] == {"before": 0, "after": 0}
    rows = list(zip(*(table[c].to_pylist() for c in ("video_id", "shot", "track")), strict=True))
    assert found["videos"]["before"] == len({r[0] for r in rows})
    assert found["shots"]["before"] == len({r[:2] for r in rows})
    assert found["tracks"]["after"] == len({(r[0], r[2]) for r, k in zip(rows, kept, strict=True) if k})
    assert found["people"] == {"before": len(set(build.people)), "after": len(set(build.people[kept]))}
    sizes = [min(b[2] - b[0], b[3] - b[1]) for b in table["bbox"].to_pylist()]
    assert found["ranges"]["size"]["before"][-1] == sum(size >= 384 for size in sizes)
    assert found["ranges"]["size"]["edges"][-1] is None


def test_a_build_without_expressions_has_the_other_ranges() -> None:
    build = Faces(0, 20)
    build.table = build.table.drop_columns(list(coverage.LATER))
    ranges = coverage.coverage(build, np.ones(20, bool))["ranges"]
    assert ranges.keys() == coverage.EDGES.keys() - set(coverage.LATER)
