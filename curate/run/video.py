"""One video, from its line in the list to its pieces on disk. This is what a worker runs.

    fetch -> decode -> shots -> detect -> align, encode -> embed -> link into tracks -> judge -> pieces

A piece is a Parquet file of one video's faces, or of its vectors in one space; `run.pack` joins pieces into the build.
Vectors are made from the stored JPEG, so that embedding a finished build again gives the same numbers.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.calibration import expression
from curate.errors import ErrorKind, SourceError, one_line
from curate.hardware import limit_threads
from curate.heartbeat import DECODE, FACES, FETCH, beat
from curate.recipe import BuildRecipe
from curate.records import Detection, Face, Fetched, Frame, Pixels, Source, VideoInfo, VideoRecord
from curate.run.spaces.builtin import IDENTITY
from curate.run.spaces.builtin import vectors as vectors_of
from curate.stages import align, decode, fetch, follow, pose, quality, shots, template, track
from curate.stages.detect import Backend, load_backend
from curate.storage import schemas
from curate.storage.files import atomic_write
from curate.storage.ledger import Done
from curate.storage.parquet import parquet_writer

Item = TypeVar("Item")

FACES_AT_ONCE = 64
"""Faces that are encoded, embedded, linked and judged together."""


@dataclass(frozen=True)
class VideoTask:
    """What a worker needs to know beside the source.

    Attributes:
        key: digest of everything but the bytes that decides the faces.
        vector_keys: space -> digest of everything that decides its vectors, given the faces.
        media: folder for downloads; pieces: folder for pieces.
        models: sha256 of the backend's models, sorted.
    """

    recipe: BuildRecipe
    key: str
    vector_keys: dict[str, str]
    device: str
    media: Path
    pieces: Path
    models: tuple[str, ...] = ()


@dataclass
class Tally:
    """What happened while one video was read."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    dropped: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def spent(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to `stage`."""
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started

    def timed(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """Passes items on, adding the time it took to get each to `stage`, but for what other stages took of it."""
        iterator = iter(items)
        while True:
            started, others = time.perf_counter(), sum(self.seconds.values())
            item = next(iterator, None)
            self.seconds[stage] += time.perf_counter() - started - (sum(self.seconds.values()) - others)
            if item is None:
                return
            yield item


def process(source: Source, task: VideoTask, stamp: str, previous: Done | None) -> Done:
    """Takes one source through all stages.

    Args:
        stamp: the source's fingerprint as the driver saw it.
        previous: what an earlier run knows of it; it holds, be it faces or damage, for the same bytes.

    Returns:
        What was done; a source that cannot be used gives a record with `status = failed`, never an exception.
    """
    started = time.perf_counter()
    limit_threads(1)
    tally = Tally()
    beat(FETCH)
    fetched, retry_after_s = None, None
    try:
        fetched = fetch.fetch(source, task.recipe.fetch, task.media)
        tally.seconds["fetch"] = time.perf_counter() - started
        if previous and previous.key == task.key and previous.record.identity == fetched.identity:
            return replace(previous, stamp=stamp)
        record = _read(source, fetched, task, tally)
    except SourceError as error:
        record, retry_after_s = failed(source, error.kind, error.message, fetched), error.retry_after_s
    except (OSError, ValueError, RuntimeError) as error:
        # Hostile bytes find the bugs of every library beneath; one video must not stop ten million others. Memory that
        # runs out is the machine's fault: the process ends, and the source is tried again alone.
        record = failed(source, ErrorKind.OTHER, one_line(f"{type(error).__name__}: {error}"), fetched)
    tally.seconds["other"] = max(time.perf_counter() - started - sum(tally.seconds.values()), 0.0)
    dropped, seconds = dict(tally.dropped), dict(tally.seconds)
    return Done(record, stamp, task.key, task.vector_keys, dropped, seconds, retry_after_s=retry_after_s)


def piece(folder: Path, video_id: str, key: str, kind: str) -> Path:
    """Where the piece of one kind (`faces`, or the name of a space) of a video lies."""
    return folder / f"{video_id}.{key[:16]}.{kind}.parquet"


def _read(source: Source, fetched: Fetched, task: VideoTask, tally: Tally) -> VideoRecord:
    with tally.spent("load"):
        backend = loaded_backend(task.recipe, task.device)
    count = 0
    beat(DECODE)
    with ExitStack() as stack:
        with tally.spent("decode"):
            opened = decode.open_video(fetched.path, source.start_s, source.end_s, fetched.spans)
            video = stack.enter_context(opened)
        pieces = stack.enter_context(_Pieces(source.video_id, task))
        beat(DECODE, duration_s=video.info.duration_s)
        found = _find(video.frames(task.recipe.fps), backend, task.recipe, tally)
        people = _People.of(backend, task)
        for chunk in _chunks(found, FACES_AT_ONCE):
            count += _described(chunk, backend, people, task, pieces, tally)
            beat(FACES)
        info = video.read
    return _record(source, fetched, info, count)


@dataclass(frozen=True)
class _Cut:
    """A face and its aligned crop."""

    detection: Detection
    crop_matrix: NDArray[np.float64]
    crop: Pixels


@dataclass(frozen=True)
class _Seen:
    """A sampled frame without its pixels, and its faces."""

    frame: int
    time_s: float
    shot: int
    pts: int | None
    instants: tuple[int, int]
    inherited: bool
    faces: list[_Cut]


def _find(frames: Iterable[Frame], backend: Backend, recipe: BuildRecipe, tally: Tally) -> Iterator[_Seen]:
    """Detects and aligns, frame by frame in order."""
    marked = tally.timed("decode", _heard(shots.mark(iter(frames), recipe.shots)))
    for one in tally.timed("detect", follow.find_faces(marked, backend, recipe.faces, recipe.fps)):
        frame = one.frame
        tally.dropped.update(one.found.dropped)
        with tally.spent("align"):
            cuts = [_cut(frame, detection, recipe) for detection in one.found.faces]
        yield _Seen(frame.index, frame.time_s, frame.shot, frame.pts, frame.instants, one.inherited, cuts)


def _cut(frame: Frame, detection: Detection, recipe: BuildRecipe) -> _Cut:
    matrix = align.crop_matrix(detection.landmarks, recipe.crop.size, recipe.crop.margin)
    return _Cut(detection, matrix, align.warp(frame.pixels, matrix, recipe.crop.size))


def _heard(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames, with a beat for each: while the next is waited for it is decoded, else faces are searched for."""
    while True:
        beat(DECODE)
        frame = next(frames, None)
        beat(DECODE, frames=frame is not None)
        if frame is None:
            return
        beat(FACES)
        yield frame


def _chunks(seen: Iterable[_Seen], count: int) -> Iterator[list[_Seen]]:
    """Lists of frames, in order, with `count` faces or a few more."""
    chunk: list[_Seen] = []
    faces = 0
    for one in seen:
        chunk.append(one)
        faces += len(one.faces)
        if faces >= count:
            yield chunk
            chunk, faces = [], 0
    if faces:
        yield chunk


def _described(
    chunk: list[_Seen], backend: Backend, people: _People, task: VideoTask, pieces: _Pieces, tally: Tally
) -> int:
    """Encodes, embeds, links, judges and writes the faces of some frames; how many there are."""
    with tally.spent("align"):
        jpegs = [align.encode(cut.crop, task.recipe.crop.jpeg_quality) for seen in chunk for cut in seen.faces]
    with tally.spent("embed"):
        stored = np.stack([align.decode(jpeg) for jpeg in jpegs])
        vectors = {space: vectors_of(space, stored, backend, task.recipe) for space in task.vector_keys}
        tracks = people.link(chunk, vectors.get(IDENTITY))
        if IDENTITY in vectors:
            vectors[IDENTITY] = people.templates.add(tracks, vectors[IDENTITY])
    with tally.spent("judge"):
        faces = _judge(pieces.video_id, chunk, tracks, jpegs, task.recipe.crop.margin)
    with tally.spent("write"):
        pieces.write(faces, vectors)
    return len(faces)


@dataclass(frozen=True)
class _People:
    """Who goes where in one video, and what is known of them."""

    linker: track.Linker
    templates: template.Templates

    @classmethod
    def of(cls, backend: Backend, task: VideoTask) -> _People:
        same_person = backend.identity_threshold if IDENTITY in task.vector_keys else None
        return cls(track.Linker(same_person), template.Templates())

    def link(self, chunk: list[_Seen], vectors: NDArray[np.float32] | None) -> list[int]:
        """The track of each face of some frames, which come in order."""
        tracks: list[int] = []
        for seen in chunk:
            here = slice(len(tracks), len(tracks) + len(seen.faces))
            found = [cut.detection for cut in seen.faces]
            tracks += self.linker.link(seen.shot, seen.time_s, found, None if vectors is None else vectors[here])
        return tracks


def _judge(video_id: str, chunk: list[_Seen], tracks: list[int], jpegs: list[bytes], margin: float) -> list[Face]:
    """The faces of some frames as rows, each named by its video, its frame and its place among that frame's faces."""
    placed = [(seen, number, cut) for seen in chunk for number, cut in enumerate(seen.faces)]
    crops = np.stack([cut.crop for _, _, cut in placed])
    landmarks = np.stack([cut.detection.landmarks for _, _, cut in placed])
    boxes = np.stack([cut.detection.bbox for _, _, cut in placed])
    scores = np.array([cut.detection.score for _, _, cut in placed], dtype=np.float32)
    yaw, pitch, roll = pose.angles(landmarks)
    sizes = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    measures = quality.measure(crops, scores, yaw, pitch, sizes)
    hashes = quality.phash(crops)
    lips, lids = expression.seen_openings(crops, margin, yaw, sizes)
    return [
        Face(
            face_id=f"{video_id}-{seen.frame:07d}-{number:02d}",
            video_id=video_id,
            frame=seen.frame,
            time_s=seen.time_s,
            shot=seen.shot,
            track=tracks[i],
            bbox=cut.detection.bbox,
            landmarks=cut.detection.landmarks,
            score=cut.detection.score,
            yaw=float(yaw[i]),
            pitch=float(pitch[i]),
            roll=float(roll[i]),
            sharpness=float(measures.sharpness[i]),
            brightness=float(measures.brightness[i]),
            mouth_open=_known(lips[i]),
            eyes_open=_known(lids[i]),
            quality=float(measures.quality[i]),
            phash=int(hashes[i]),
            pts=seen.pts,
            first_instant=seen.instants[0],
            last_instant=seen.instants[1],
            crop_matrix=cut.crop_matrix.astype(np.float32),
            inherited=seen.inherited,
            jpeg=jpegs[i],
        )
        for i, (seen, number, cut) in enumerate(placed)
    ]


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


class _Pieces:
    """The pieces of one video, written as faces come; they appear whole when the block ends well."""

    def __init__(self, video_id: str, task: VideoTask) -> None:
        self.video_id, self._task = video_id, task
        self._stack = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]  # the three of the protocol, passed through

    def write(self, faces: list[Face], vectors: dict[str, NDArray[np.float32]]) -> None:
        """Takes faces, and their vectors in each space."""
        self._write("faces", self._task.key, faces_table(faces))
        ids = [face.face_id for face in faces]
        for space, key in self._task.vector_keys.items():
            self._write(space, key, vectors_table(ids, vectors[space]))

    def _write(self, kind: str, key: str, table: pa.Table) -> None:
        if kind not in self._writers:
            path = self._stack.enter_context(atomic_write(piece(self._task.pieces, self.video_id, key, kind)))
            writer = parquet_writer(path, table.schema)
            self._writers[kind] = self._stack.enter_context(writer)
        self._writers[kind].write_table(table)


def faces_table(faces: list[Face]) -> pa.Table:
    """Rows of `faces/*.parquet`; the picture's `path` names it as `<face_id>.jpg`."""
    columns = {name: [getattr(face, name) for face in faces] for name in schemas.FACES.names if name != "image"}
    columns["landmarks"] = [face.landmarks.reshape(10) for face in faces]
    columns["crop_matrix"] = [face.crop_matrix.reshape(6) for face in faces]
    columns["image"] = [{"bytes": face.jpeg, "path": f"{face.face_id}.jpg"} for face in faces]
    return pa.table(columns, schema=schemas.FACES)


def vectors_table(face_ids: list[str], vectors: NDArray[np.float32]) -> pa.Table:
    """Rows of `embeddings/<space>/*.parquet`."""
    halves = np.ascontiguousarray(vectors, dtype=np.float16)
    schema = schemas.embeddings(halves.shape[1])
    column = pa.FixedSizeListArray.from_arrays(pa.array(halves.reshape(-1)), halves.shape[1])
    return pa.table([pa.array(face_ids, pa.string()), column], schema=schema)


def failed(source: Source, kind: ErrorKind, message: str, fetched: Fetched | None = None) -> VideoRecord:
    """The row of a source that cannot be used; `fetched`: its bytes, where it got so far."""
    about = _about(source, fetched)
    return VideoRecord(status="failed", error=message, error_kind=kind.value, **about)


def _record(source: Source, fetched: Fetched, info: VideoInfo, faces: int) -> VideoRecord:
    return VideoRecord(
        status="ok" if faces else "no_faces",
        info=info,
        faces=faces,
        retrieved_at=fetched.retrieved_at,
        format_id=fetched.format_id,
        **_about(source, fetched),
    )


def _about(source: Source, fetched: Fetched | None) -> dict[str, Any]:
    """Which source it is, and what its site says of it."""
    about: dict[str, Any] = {name: getattr(source, name) for name in ("video_id", "source", "start_s", "end_s")}
    about_site = ("title", "uploader", "license", "webpage_url")
    about_file = ("content_sha256", "header_sha256", "bytes_fetched", "whole_because")
    return about | {name: getattr(fetched, name, None) for name in about_site + about_file}


@functools.lru_cache(maxsize=1)
def _loaded(chosen: str, device: str) -> Backend:
    recipe = BuildRecipe.model_validate_json(chosen)
    return load_backend(recipe.faces, recipe.crop, device)


def loaded_backend(recipe: BuildRecipe, device: str) -> Backend:
    """The face backend, loaded once a process."""
    return _loaded(recipe.model_dump_json(include={"faces", "crop"}), device)
