"""Redundancy: each number from a cover of its own, whatever they share."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.dedupe.covers import cover
from curate.dedupe.curve import RATES, THRESHOLDS, measure, sampled_at, tracks_of
from curate.dedupe.order import compacted, priority

from .conftest import walks

VIDEOS, LENGTH, OWN = 8, 40, 0.92


class Held:
    """As much of a build as `measure` reads."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.values = walks(VIDEOS, LENGTH, 24, 0.3)
        self.values[LENGTH : 2 * LENGTH] = self.values[:LENGTH]  # the second video is a copy of the first
        count = len(self.values)
        self.table = pa.table(
            {
                "face_id": [f"f{i:05d}" for i in range(count)],
                "video_id": [f"v{i // LENGTH}" for i in range(count)],
                "track": pa.array((np.arange(count) % LENGTH // 15).astype(np.int32)),
                "first_instant": np.arange(count) % LENGTH,
                "last_instant": np.arange(count) % LENGTH,
                "quality": rng.integers(0, 9, count).astype(np.float32),
            }
        )

    def faces(self, columns: list[str]) -> pa.Table:
        return self.table.select(columns)

    def vectors(self, space: str) -> np.ndarray:
        return self.values


def kept(held: Held, rows: np.ndarray, threshold: float) -> int:
    return int(cover(held.values[rows], threshold, priority(held.table)[rows]).representative.sum())


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


def test_every_point_is_a_cover_of_its_own(held: Held):
    told = measure(held, "appearance", OWN, 5.0)
    count = len(held.values)
    assert json.loads(json.dumps(told)) == told
    assert [point["threshold"] for point in told["curve"]] == sorted({*THRESHOLDS, OWN})
    track = np.arange(count) // LENGTH * 10 + np.arange(count) % LENGTH // 15
    for point in told["curve"]:
        t = point["threshold"]
        whole = kept(held, np.arange(count), t)
        alone = sum(kept(held, np.arange(v * LENGTH, (v + 1) * LENGTH), t) for v in range(VIDEOS))
        tracks = sum(kept(held, np.flatnonzero(track == k), t) for k in np.unique(track))
        assert point["clusters"] == whole
        assert point["redundancy"] == pytest.approx(1 - whole / count)
        assert point["within"] == pytest.approx(1 - alone / count)
        assert point["across"] == pytest.approx((alone - whole) / count)
        assert point["by_track"] == pytest.approx(1 - tracks / count)
    assert told["curve"][-1]["across"] >= 1 / VIDEOS - 0.03  # the copy is redundant at any threshold


def test_videos_and_rates(held: Held):
    told = measure(held, "appearance", OWN, 5.0)
    assert sum(row["faces"] for row in told["by_video"]) == len(held.values)
    own = next(point for point in told["curve"] if point["threshold"] == OWN)
    assert sum(row["kept"] for row in told["by_video"]) == own["clusters"]
    assert len(told["by_video_quantiles"]) == len(told["by_track_quantiles"]) == 11
    assert [row["fps"] for row in told["by_rate"]] == [rate for rate in RATES if rate <= 5]
    for row in told["by_rate"]:
        rows = np.flatnonzero(sampled_at(held.table, row["fps"], 5.0))
        assert row["exact"] == (row["fps"] != 2)
        assert (row["faces"], row["clusters"]) == (len(rows), kept(held, rows, OWN))


@pytest.mark.parametrize(("rate", "wanted"), [(1.0, [0, 5, 10]), (2.0, [0, 3, 5, 8, 10, 13])])
def test_a_lower_rate_takes_the_first_frame_at_or_after_each_instant(rate, wanted):
    faces = pa.table({name: np.arange(15) for name in ("first_instant", "last_instant")})
    assert np.flatnonzero(sampled_at(faces, rate, 5.0)).tolist() == wanted


@given(rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30), far=st.sampled_from([1, 1000, -7]))
def test_numbers_are_those_of_sorted_distinct_ones(rows: list[tuple[int, int]], far: int) -> None:
    video, track = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    assert (
        tracks_of(video, track.astype(np.int32)).tolist()
        == np.unique(100 * video + track, return_inverse=True)[1].tolist()
    )
    assert compacted(far * track).tolist() == np.unique(far * track, return_inverse=True)[1].tolist()
