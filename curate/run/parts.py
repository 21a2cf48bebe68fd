"""A long video in parts: several processes work on it, and what comes out is what one makes of the whole.

    video.process -> Split -> `look` at each part -> `join` -> Done

Faces are followed from anchor to anchor (`curate.stages.follow`), and whether a shot begins with a frame is decided by
a few frames around it: a part that begins at an anchor finds the faces that the whole has there. Shots are numbered,
faces linked and identity vectors drawn together when all parts are there, in the order of the video.

A part with a damaged frame gives nothing: how far damage reaches, only the whole tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.heartbeat import FACES, beat
from curate.records import Detection, Fetched, Frame, Source, VideoInfo
from curate.run.pieces import FACES_AT_ONCE, Pieces, piece, vectors_table
from curate.run.tracks import FrameFaces, Tracks
from curate.stages import follow, shots
from curate.storage import schemas

PART_S, MOST = 120.0, 24
"""Seconds of video a part at least, and parts a video at most: each reads all packets' headers once more."""
AROUND = 2 * shots.REACH + 2
"""Sampled frames before and after a part that decide where its shots begin."""


@dataclass(frozen=True)
class Part:
    """Some of a video: the frames sampled for the instants from `first` up to `last`, that one not included."""

    number: int
    first: int
    last: int

    def has(self, frame: Frame) -> bool:
        """Whether a frame is one of its own."""
        return self.first <= frame.instants[0] < self.last

    @property
    def name(self) -> str:
        """What the names of its pieces say."""
        return f"part-{self.number:05d}."


@dataclass(frozen=True)
class Split:
    """What is known of a long video that was fetched: its parts, and the seconds that it took so far by stage."""

    fetched: Fetched
    parts: list[Part]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Looked:
    """A part that was worked on, and left its pieces.

    Attributes:
        cut: whether a shot begins with its first frame.
        frames: each with its shot, from 0 for the first, its time and the number of its faces.
        info: of the video, with the frames of this part.
    """

    part: Part
    cut: bool
    frames: list[tuple[int, float, int]]
    info: VideoInfo
    dropped: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Broken:
    """A part that gave nothing; the video is to be worked on as a whole."""

    reason: str


@dataclass(frozen=True)
class Join:
    """All parts of a video."""

    split: Split
    looked: list[Looked]


@dataclass(frozen=True)
class PartOf:
    """One part of a video, to be worked on."""

    split: Split
    part: Part


def divided(duration_s: float, fps: float, part_s: float) -> list[Part]:
    """The parts of a video, each of some anchors; one alone where it is not long enough for two."""
    instants, anchor = math.ceil(duration_s * fps), follow.anchor_instants(fps)
    length = max(math.ceil(max(part_s, duration_s / MOST) * fps / anchor), 1) * anchor
    starts = range(0, max(instants - length // 2, 1), length)  # the last is longer by half at most
    ends = [*starts[1:], instants + length]
    return [Part(number, first, last) for number, (first, last) in enumerate(zip(starts, ends, strict=True))]


@dataclass
class Own:
    """Passes the frames of a part on.

    Attributes:
        cut: whether a shot begins with the first.
    """

    part: Part
    cut: bool = False

    def of(self, marked: Iterator[Frame]) -> Iterator[Frame]:
        """Its own among frames whose shots are marked, those around it included; shots count from its first."""
        before, first = None, None
        for frame in marked:
            if self.part.has(frame):
                if first is None:
                    self.cut, first = before is not None and frame.shot != before, frame.shot
                yield replace(frame, shot=frame.shot - first)
            before = frame.shot


def join(source: Source, whole: Join, tracks: Tracks, folder: Path, keys: dict[str, str]) -> VideoInfo:
    """Writes the pieces of a video from those of its parts, which it removes.

    Args:
        keys: `faces`, or the name of a space -> digest of everything that decides it.

    Returns:
        What is known of the video.
    """
    beat(FACES)
    with Pieces(folder, source.video_id, keys) as pieces:
        for frames, rows in _chunks(source, whole.looked, folder, keys):
            vectors = {space: _matrix(table["vector"]) for space, table in rows.items() if space != "faces"}
            numbers, vectors = tracks.add(frames, vectors)
            joined = {"track": numbers, "shot": [frame.shot for frame in frames for _ in frame.faces]}
            columns = [
                pa.array(joined[field.name], field.type)
                if field.name in joined
                else rows["faces"][field.name].combine_chunks()
                for field in schemas.FACES
            ]
            faces = pa.table(columns, schema=schemas.FACES)
            ids = faces["face_id"].to_pylist()
            tables = {space: vectors_table(ids, values) for space, values in vectors.items()}
            pieces.write_rows({"faces": faces} | tables)
            beat(FACES)
    for looked in whole.looked:
        for kind, key in keys.items():
            piece(folder, source.video_id, key, f"{looked.part.name}{kind}").unlink(missing_ok=True)
    infos = [looked.info for looked in whole.looked]
    return replace(infos[0], frames_sampled=sum(info.frames_sampled for info in infos))


def totals(whole: Join) -> tuple[Counter[str], Counter[str]]:
    """Detections that were dropped, by reason, and seconds, by stage, over all parts."""
    dropped, seconds = Counter[str](), Counter[str](whole.split.seconds)
    for looked in whole.looked:
        dropped.update(looked.dropped)
        seconds.update(looked.seconds)
    return dropped, seconds


Rows = dict[str, pa.Table]


def _chunks(
    source: Source, looked: Sequence[Looked], folder: Path, keys: dict[str, str]
) -> Iterator[tuple[list[FrameFaces], Rows]]:
    """The frames of all parts with their rows, so many faces at once as the whole has them."""
    frames: list[FrameFaces] = []
    rows: Rows = {}
    start = count = shot = 0
    for one in looked:
        rows = _after({kind: table.slice(start) for kind, table in rows.items()}, _rows(source, one, folder, keys))
        start = 0
        here, base = count, shot + one.cut
        for own_shot, time_s, faces in one.frames:
            shot = base + own_shot
            frames.append(FrameFaces(shot, time_s, _detections(rows, here, faces)))
            here, count = here + faces, count + faces
            if count >= FACES_AT_ONCE:
                yield frames, {kind: table.slice(start, count) for kind, table in rows.items()}
                frames, start, count = [], start + count, 0
    if count:
        yield frames, {kind: table.slice(start, count) for kind, table in rows.items()}


def _rows(source: Source, looked: Looked, folder: Path, keys: dict[str, str]) -> Rows:
    if not any(faces for _, _, faces in looked.frames):
        return {}
    paths = {kind: piece(folder, source.video_id, key, f"{looked.part.name}{kind}") for kind, key in keys.items()}
    return {kind: pq.read_table(path, use_threads=False, memory_map=True) for kind, path in paths.items()}


def _after(rows: Rows, more: Rows) -> Rows:
    if not rows or not more:
        return rows or more
    return {kind: pa.concat_tables([rows[kind], more[kind]]) for kind in more}


def _detections(rows: Rows, start: int, count: int) -> list[Detection]:
    if not count:
        return []
    faces = rows["faces"].slice(start, count)
    boxes, landmarks = (
        _matrix(faces[name]).reshape(count, *shape) for name, shape in (("bbox", (4,)), ("landmarks", (5, 2)))
    )
    scores = faces["score"].to_pylist()
    return [Detection(*one) for one in zip(boxes, landmarks, scores, strict=True)]


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    flat = column.combine_chunks().flatten()
    return np.asarray(flat, np.float32).reshape(len(column), -1)
