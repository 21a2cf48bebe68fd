from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.run import pack
from curate.run.pack import VideoRows
from curate.storage.parquet import write_batches

SCHEMA = pa.schema([("video_id", pa.string()), ("n", pa.int64())])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "PART_ROWS", 10)


def write_piece(path: Path, held: VideoRows) -> None:
    rows = [pa.table({"video_id": [held.video_id] * 3, "n": range(i, i + 3)}) for i in range(0, held.rows, 3)]
    trimmed = pa.concat_tables(rows).slice(0, held.rows)
    write_batches(path, SCHEMA, [trimmed.slice(i, 3) for i in range(0, held.rows, 3)])


def run(root: Path, videos: list[VideoRows], make: set[str]) -> list[str]:
    def piece(held: VideoRows) -> Path:
        return root / "pieces" / f"{held.video_id}.parquet"

    for held in videos:
        if held.video_id in make:
            write_piece(piece(held), held)
    return pack.pack(root, "faces", pack.plan(videos), SCHEMA, piece, lambda count: None)


def content(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "faces").iterdir())}


def expected(videos: list[VideoRows]) -> list[tuple[str, int]]:
    return [(held.video_id, n) for held in videos for n in range(held.rows)]


def rows_of(root: Path) -> list[tuple[str, int]]:
    tables = [pq.read_table(path) for path in sorted((root / "faces").iterdir())]
    return [(row["video_id"], row["n"]) for table in tables for row in table.to_pylist()]


sizes = st.lists(st.integers(1, 14), min_size=1, max_size=12)


@settings(max_examples=25)
@given(sizes=sizes, known=st.data())
def test_growing_a_build_equals_a_fresh_one(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], known: st.DataObject
) -> None:
    videos = [VideoRows(f"v{i}", "k", rows) for i, rows in enumerate(sizes)]
    earlier = [video for video in videos if known.draw(st.booleans())]
    grown, fresh = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("fresh")
    if earlier:
        run(grown, earlier, {video.video_id for video in earlier})
    run(grown, videos, {video.video_id for video in videos} - {video.video_id for video in earlier})
    run(fresh, videos, {video.video_id for video in videos})
    assert content(grown) == content(fresh)
    assert rows_of(fresh) == expected(videos)
    assert not list((grown / "pieces").glob("*"))


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    videos = [VideoRows(f"v{i}", "k", 4) for i in range(7)]
    assert run(tmp_path, videos, {video.video_id for video in videos})
    assert run(tmp_path, videos, set()) == []


def test_appending_leaves_all_but_the_last_file(tmp_path: Path) -> None:
    videos = [VideoRows(f"v{i}", "k", 4) for i in range(8)]
    run(tmp_path, videos[:7], {video.video_id for video in videos[:7]})
    before = set(content(tmp_path))
    written = run(tmp_path, videos, {"v7"})
    assert len(written) == 1 and len(before - set(content(tmp_path))) == 1


def test_a_file_holds_whole_videos_and_small_ones_share(tmp_path: Path) -> None:
    parts = pack.plan([VideoRows("a", "k", 25), VideoRows("b", "k", 3), VideoRows("c", "k", 3)])
    assert [[held.video_id for held in part.held] for part in parts] == [["a"], ["b", "c"]]
