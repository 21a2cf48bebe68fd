"""One video, from its line in the list to its pieces on disk. This is what a worker runs.

    fetch -> decode -> shots -> detect -> align, encode -> embed -> link into tracks -> judge -> pieces

A piece is a Parquet file of one video's faces, or of its vectors in one space; `run.pack` joins pieces into the build.
Vectors are made from the stored JPEG, so that embedding a finished build again gives the same numbers.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.calibration import expression
from curate.errors import ErrorKind, SourceError, one_line
from curate.hardware import limit_threads
from curate.heartbeat import DECODE, FACES, FETCH, beat
from curate.recipe import BuildRecipe
from curate.records import Detection, Face, Fetched, Frame, Pixels, Source, VideoInfo, VideoRecord
from curate.run import parts as parts_of_a_video
from curate.run.ahead import decoded_ahead
from curate.run.parts import Broken, Join, Looked, Own, Part, Split
from curate.run.pieces import FACES_AT_ONCE, Pieces
from curate.run.spaces.builtin import vectors as vectors_of
from curate.run.tally import Tally
from curate.run.tracks import FrameFaces, Tracks
from curate.run.turns import Turns, turn
from curate.stages import align, decode, fetch, follow, pose, quality, scene, shots
from curate.stages.detect import Backend, load_backend
from curate.stages.gpu_process import GpuProcessError
from curate.storage.ledger import Done
from curate.storage.vectors import release_memory

DECODE_GPU = "decode_gpu"
"""Stage of the seconds that decoding took of videos all whose frames were decoded on the GPU; else `decode`."""


@dataclass(frozen=True)
class VideoTask:
    """What a worker needs to know beside the source.

    Attributes:
        key: digest of everything but the bytes that decides the faces.
        device: where networks run; decode: where frames are decoded, both `cpu` or `cuda`.
        vector_keys: space -> digest of everything that decides its vectors, given the faces.
        media: folder for downloads; pieces: folder for pieces.
        models: sha256 of the backend's models, sorted.
        turns: of the processes of a run that fetches; None: whoever has a source goes on.
        part_s: seconds a part of videos that are long enough for several; None: every video is worked on as a whole.
        ahead: whether frames are decoded while faces are searched for in those before (`curate.run.ahead`).
    """

    recipe: BuildRecipe
    key: str
    vector_keys: dict[str, str]
    device: str
    media: Path
    pieces: Path
    models: tuple[str, ...] = ()
    decode: str = "cpu"
    turns: Turns | None = None
    part_s: float | None = None
    ahead: bool = True

    @property
    def keys(self) -> dict[str, str]:
        """Kind of piece -> its key."""
        return {"faces": self.key} | self.vector_keys


def process(
    source: Source, task: VideoTask, stamp: str, previous: Done | None, join: Join | None = None
) -> Done | Split:
    """Takes one source through all stages.

    Args:
        stamp: the source's fingerprint as the driver saw it.
        previous: what an earlier run knows of it; it holds, be it faces or damage, for the same bytes.
        join: the parts of a long video, which were worked on.

    Returns:
        What was done; a source that cannot be used gives a record with `status = failed`, never an exception. Of a
        video that is to be worked on in parts: these.
    """
    started = time.perf_counter()
    limit_threads(1)
    tally = Tally()
    fetched, retry_after_s = join.split.fetched if join else None, None
    try:
        if join is None:
            beat(FETCH)
            fetched = fetch.fetch(source, task.recipe.fetch, task.media)
            tally.seconds["fetch"] = time.perf_counter() - started
            if previous and previous.key == task.key and previous.record.identity == fetched.identity:
                return replace(previous, stamp=stamp)
        assert fetched is not None
        with tally.waited("turn", turn(task.turns)):
            if join:
                record = _joined(source, join, task, tally)
            else:
                with _opened(source, fetched, task, tally) as video:
                    if parts := _parts(video, fetched, task):
                        return Split(fetched, parts, dict(tally.seconds))
                    info, frames = _faces_of(source, video, task, tally)
                record = _record(source, fetched, info, _count(frames))
    except SourceError as error:
        record, retry_after_s = failed(source, error.kind, error.message, fetched), error.retry_after_s
    except GpuProcessError:
        raise  # the machine's fault, too
    except (OSError, ValueError, RuntimeError) as error:
        # Hostile bytes find the bugs of every library beneath; one video must not stop ten million others. Memory that
        # runs out is the machine's fault: the process ends, and the source is tried again alone.
        record = failed(source, ErrorKind.OTHER, one_line(f"{type(error).__name__}: {error}"), fetched)
    tally.rest(started)
    dropped, seconds = tally.dropped, Counter(tally.seconds)
    if join:
        before, spent = parts_of_a_video.totals(join)
        dropped, seconds = dropped + before, seconds + spent
    return Done(record, stamp, task.key, task.vector_keys, dict(dropped), dict(seconds), retry_after_s=retry_after_s)


def look(source: Source, split: Split, part: Part, task: VideoTask) -> Looked | Broken:
    """Works on one part of a long video."""
    started = time.perf_counter()
    limit_threads(1)
    tally = Tally()
    own = Own(part)
    try:
        with tally.waited("turn", turn(task.turns)), _opened(source, split.fetched, task, tally) as video:
            info, frames = _faces_of(source, video, task, tally, own)
    except SourceError as error:
        return Broken(error.message)
    except GpuProcessError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        return Broken(one_line(f"{type(error).__name__}: {error}"))
    if info.frames_damaged:
        return Broken(f"{info.frames_damaged} damaged frames")
    tally.rest(started)
    return Looked(part, own.cut, frames, info, dict(tally.dropped), dict(tally.seconds))


def _opened(source: Source, fetched: Fetched, task: VideoTask, tally: Tally) -> decode.Video:
    beat(DECODE)
    with tally.spent("decode"):
        return decode.open_video(fetched.path, source.start_s, source.end_s, fetched.spans, task.decode)


def _parts(video: decode.Video, fetched: Fetched, task: VideoTask) -> list[Part]:
    """The parts in which a video is to be worked on; none where it is worked on as a whole."""
    if task.part_s is None or fetched.spans is not None or not video.divisible:
        return []
    found = parts_of_a_video.divided(video.info.duration_s, task.recipe.fps, task.part_s)
    return found if len(found) > 1 else []


def _joined(source: Source, whole: Join, task: VideoTask, tally: Tally) -> VideoRecord:
    with tally.spent("write"):
        tracks = Tracks.of(loaded_backend(task.recipe, task.device), task.vector_keys)
        info = parts_of_a_video.join(source, whole, tracks, task.pieces, task.keys)
    return _record(source, whole.split.fetched, info, sum(_count(looked.frames) for looked in whole.looked))


def _count(frames: list[tuple[int, float, int]]) -> int:
    return sum(faces for _, _, faces in frames)


def _faces_of(
    source: Source, video: decode.Video, task: VideoTask, tally: Tally, own: Own | None = None
) -> tuple[VideoInfo, list[tuple[int, float, int]]]:
    """Writes the pieces of a video, or of a part of it.

    Returns:
        What is known of the video, and each frame's shot, time and number of faces.
    """
    with tally.spent("load"):
        backend = loaded_backend(task.recipe, task.device)
    frames: list[tuple[int, float, int]] = []
    beat(DECODE, duration_s=video.info.duration_s)
    part = (own.part.first, own.part.last, parts_of_a_video.AROUND) if own else None

    def decoded() -> Iterator[Frame]:
        return shots.mark(video.frames(task.recipe.fps, part), task.recipe.shots)

    with (
        Pieces(task.pieces, source.video_id, task.keys, own.part.name if own else "") as pieces,
        decoded_ahead(decoded) if task.ahead else nullcontext(decoded()) as marked,
    ):
        found = _find(own.of(marked) if own else marked, backend, task.recipe, tally)
        tracks = None if own else Tracks.of(backend, task.vector_keys)
        for chunk in _chunks(_noted(found, frames), FACES_AT_ONCE):
            _described(chunk, backend, tracks, task, pieces, tally)
            beat(FACES)
        info = video.read
    if video.on_gpu:
        tally.seconds[DECODE_GPU] = tally.seconds.pop("decode")
    return info, frames


def _noted(found: Iterator[_Seen], frames: list[tuple[int, float, int]]) -> Iterator[_Seen]:
    for seen in found:
        frames.append((seen.shot, seen.time_s, len(seen.faces)))
        yield seen


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
    scene: bytes
    faces: list[_Cut]

    @property
    def shown(self) -> FrameFaces:
        """What linking asks for."""
        return FrameFaces(self.shot, self.time_s, [cut.detection for cut in self.faces])


def _find(marked: Iterator[Frame], backend: Backend, recipe: BuildRecipe, tally: Tally) -> Iterator[_Seen]:
    """Detects and aligns, frame by frame in order."""
    frames = tally.timed("decode", _heard(marked))
    for one in tally.timed("detect", follow.find_faces(frames, backend, recipe.faces, recipe.fps)):
        frame = one.frame
        tally.dropped.update(one.found.dropped)
        with tally.spent("align"):
            cuts = [_cut(frame, detection, recipe) for detection in one.found.faces]
            view = scene.view(frame.pixels) if cuts else b""
        yield _Seen(frame.index, frame.time_s, frame.shot, frame.pts, frame.instants, one.inherited, view, cuts)


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
    chunk: list[_Seen], backend: Backend, tracks: Tracks | None, task: VideoTask, pieces: Pieces, tally: Tally
) -> None:
    """Encodes, embeds, links, judges and writes the faces of some frames; without `tracks` they are linked later."""
    with tally.spent("align"):
        jpegs = [align.encode(cut.crop, task.recipe.crop.jpeg_quality) for seen in chunk for cut in seen.faces]
    with tally.spent("embed"):
        stored = np.stack([align.decode(jpeg) for jpeg in jpegs])
        vectors = {space: vectors_of(space, stored, backend, task.recipe) for space in task.vector_keys}
        numbers = [0] * len(jpegs)
        if tracks:
            numbers, vectors = tracks.add([seen.shown for seen in chunk], vectors)
    with tally.spent("judge"):
        faces = _judge(pieces.video_id, chunk, numbers, jpegs, task.recipe.crop.margin)
    with tally.spent("write"):
        pieces.write(faces, vectors)


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
            scene=seen.scene,
            jpeg=jpegs[i],
        )
        for i, (seen, number, cut) in enumerate(placed)
    ]


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


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
    backend = load_backend(recipe.faces, recipe.crop, device)
    release_memory()  # networks were read, changed and written on the way
    return backend


def loaded_backend(recipe: BuildRecipe, device: str) -> Backend:
    """The face backend, loaded once a process."""
    return _loaded(recipe.model_dump_json(include={"faces", "crop"}), device)
