"""`videos.parquet` and `duplicates.parquet`: one row a source, and what each shows again of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import progress
from curate.dedupe.copied_spans import Search
from curate.dedupe.copies import VideoCopy, find_copies
from curate.dedupe.sampled_video import SampledVideo
from curate.run.analysis import parts
from curate.run.context import BuildContext
from curate.run.spaces.builtin import APPEARANCE
from curate.stages import appearance
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.ledger import Done
from curate.storage.parquet import open_parquet, read_table, table_digest, write_table
from curate.storage.pictures import StoredPictures
from curate.storage.vectors import let_go, release_memory, rows_beside

VERSION = 7
"""Raised when the same vectors come to other copies, or a table changes."""
COLUMN = "scene"
"""Of `faces/*.parquet`: the whole frame, see `curate.stages.scene`."""
FILES = 16
"""Files whose frames can be read without opening them again."""
ROWS = 4096
"""Rows of `videos.parquet` that are made at once."""


def videos(context: BuildContext) -> None:
    """Writes both tables. The search for copies has a threshold of its own: that of the build does not change it."""
    built, done, recipe = context.built, context.done, context.recipe
    path = built.path / "videos.parquet"

    def search() -> dict[str, str]:
        progress.say(f"looking for copies among {len(done):,} videos")
        space = appearance.chosen(recipe.embed)
        mirror = partial(appearance.mirrored, space=space)
        frames = _Frames(built)
        if frames.older:
            progress.say(
                f"{frames.older:,} faces are of an older version: copies of their videos are told by faces alone"
            )
        found = find_copies(_sampled(built, done, frames), Search(1 / recipe.fps, space.copied), mirror)
        write_table(duplicates, duplicates_table(found))
        return {copy.video_id: copy.duplicate_of for copy in reversed(found) if copy.whole}

    duplicates = built.path / "duplicates.parquet"
    ranges = [[one.record.video_id, one.record.start_s, one.record.end_s] for one in done]
    depends = [VERSION, parts(built, f"embeddings/{APPEARANCE}"), ranges]
    table = _videos(_rows(done, context.steps.run("copies", depends, [duplicates], search)), context)
    context.steps.run("videos", [VERSION, table_digest(table)], [path], lambda: write_table(path, table))


def duplicates_table(copies: list[VideoCopy]) -> pa.Table:
    """The rows of `duplicates.parquet`."""
    rows = [
        {
            "video_id": copy.video_id,
            "duplicate_of": copy.duplicate_of,
            "whole": copy.whole,
            "kind": copy.kind,
            "spans": [asdict(span) for span in copy.spans],
            "evidence": copy.evidence and asdict(copy.evidence),
        }
        for copy in copies
    ]
    return pa.Table.from_pylist(rows, schema=schemas.DUPLICATES)


def _sampled(built: Build, done: Iterable[Done], frames: _Frames) -> list[SampledVideo]:
    """What the search for copies needs of each source, in the order of the list."""
    vectors = built.vectors(APPEARANCE)
    times, tracks, places = _read(built, len(vectors))
    sampled, first = [], 0
    for one in done:
        here = slice(first, first + one.record.faces)
        record = one.record
        sampled.append(
            SampledVideo(
                record.video_id,
                record.identity or "",
                times[here],
                vectors[here],
                tracks[here],
                record.start_s,
                record.end_s,
                places[here],
                frames.of(here),
            )
        )
        first = here.stop
    return sampled


def _read(built: Build, count: int) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float32]]:
    """Times and tracks of all faces, and where eyes and mouth are (`curate.dedupe.motion.Faces`), file by file."""
    folder = built.path / "work"
    times = rows_beside((count,), np.float64, folder)
    tracks = rows_beside((count,), np.int32, folder)
    places = rows_beside((count, 4), np.float32, folder)
    first = 0
    for path in built.face_files():
        faces = read_table(path, ["time_s", "track", "landmarks"])
        here = slice(first, first + faces.num_rows)
        times[here], tracks[here] = faces["time_s"].to_numpy(), faces["track"].to_numpy()
        points = np.asarray(faces["landmarks"].combine_chunks().flatten()).reshape(-1, 5, 2)
        places[here] = np.concatenate([points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)], axis=1)
        for values in (times, tracks, places):
            let_go(values)
        first = here.stop
    return times, tracks, places


class _Frames:
    """The whole frames of faces, read when they are needed.

    Attributes:
        older: faces that were found by a version that kept none.
    """

    def __init__(self, built: Build) -> None:
        files = built.face_files()
        rows, has, self.older = [], [], 0
        for number, path in enumerate(files):
            layout = open_parquet(path)
            rows.append(layout.metadata.num_rows)
            has.append(COLUMN in layout.schema_arrow.names)
            self.older += _without(layout) if has[-1] else rows[-1]
            if number % FILES == 0:
                release_memory()  # what a file says of its row groups takes megabytes
        self._starts = np.cumsum([0, *rows])
        self._place = np.where(has, np.cumsum(has) - 1, -1)
        with_frames = [path for path, one in zip(files, has, strict=True) if one]
        self._stored = StoredPictures(with_frames, COLUMN, FILES)

    def of(self, rows: slice) -> Callable[[], NDArray[np.uint8] | None] | None:
        """What reads those of a video, given its rows in the build; None where an older version wrote its file."""
        file = int(np.searchsorted(self._starts, rows.start, side="right")) - 1
        if rows.start == rows.stop or self._place[file] < 0:
            return None
        return partial(self._read, int(self._place[file]), rows.start - int(self._starts[file]), rows.stop - rows.start)

    def _read(self, file: int, first: int, count: int) -> NDArray[np.uint8] | None:
        stored = self._stored.several(file, first, count)
        known = [one for one in stored if one is not None]
        return np.frombuffer(b"".join(known), np.uint8).reshape(count, -1) if len(known) == count else None


def _without(layout: pq.ParquetFile) -> int:
    """Rows of a file whose whole frame is not there."""
    # Not by the schema of the metadata: both hold each other, and megabytes, until the garbage collector comes by.
    groups = [layout.metadata.row_group(number) for number in range(layout.num_row_groups)]
    leaves = range(groups[0].num_columns if groups else 0)
    place = next((leaf for leaf in leaves if groups[0].column(leaf).path_in_schema == COLUMN), 0)
    frames = (group.column(place) for group in groups)
    return sum(one.statistics.null_count for one in frames if one.is_stats_set)


def _videos(rows: Iterator[dict[str, Any]], context: BuildContext) -> pa.Table:
    """What was found, with what the list says: where a site says nothing of a video, and in its own columns."""
    parts = [pa.Table.from_pylist([], schema=schemas.VIDEOS)]
    while few := list(islice(rows, ROWS)):
        parts.append(pa.Table.from_pylist(few, schema=schemas.VIDEOS))
    table = pa.concat_tables(parts).combine_chunks()
    for name in context.listed.column_names:
        column = context.listed[name]
        if name not in table.column_names:
            table = table.append_column(context.listed.schema.field(name), column)
            continue
        place = table.column_names.index(name)
        text = column if name == "source" else pc.coalesce(table[name], _text(column))
        table = table.set_column(place, schemas.VIDEOS.field(name), text)
    return table


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of the list as text, whatever its type."""
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowNotImplementedError:  # nested, for one
        return pa.chunked_array([[None if value is None else str(value) for value in column.to_pylist()]], pa.string())


def _rows(done: Iterable[Done], copies: dict[str, str]) -> Iterator[dict[str, Any]]:
    for one in done:
        record, info = one.record, one.record.info
        original = copies.get(record.video_id)
        yield (
            {name: getattr(record, name) for name in schemas.VIDEOS.names if hasattr(record, name)}
            | {name: getattr(info, name, None) for name in schemas.VIDEOS.names if not hasattr(record, name)}
            | {"duplicate_of": original, "status": "duplicate" if original else record.status}
        )
