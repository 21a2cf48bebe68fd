"""Pairs whose answer is known, from any build: its faces after edits of their frames, and its faces among themselves.

Edited crops go to one Parquet file a video below `folder`, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.calibration import calibrate, edits, expression
from curate.recipe import BuildRecipe
from curate.stages import align, decode, fetch
from curate.stages.backend_dlib import landmarks_68
from curate.stages.detect import load_backend
from curate.stages.sources import read_sources
from curate.storage.build import Build
from curate.storage.parquet import write_table

NEAR = 0.3
"""A face found again is the same one if its landmarks are this near, on average, in distances from eye to mouth."""
MOVED = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Motion from which bins of the next frame start: mean move of 68 landmarks, in distances between the eyes."""


@dataclass(frozen=True)
class Pairs:
    """Everything that spaces are judged on; rows are those of the build.

    Attributes:
        crops: all stored crops. video: int64 [faces], number of each face's video.
        original, edit: int64 [copies], the row and the edit (place in `names`) of each edited crop in `copies`.
        placed: the same copies cut out at the original's landmarks, as if they had been found there again.
        missed: edited faces that the detector did not find again, by edit.
        altered: rows of two faces of a track that differ, and bool [pairs] for each measure.
        following: rows of two faces that follow each other in a track, and their motion.
        elsewhere: rows of one person in different videos, as far as identity vectors tell.
        strangers: rows of two people.
    """

    crops: list[np.ndarray]
    video: np.ndarray
    names: list[str]
    kinds: list[str]
    copies: list[np.ndarray]
    placed: list[np.ndarray]
    original: np.ndarray
    edit: np.ndarray
    missed: dict[str, int]
    altered: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]
    following: tuple[np.ndarray, np.ndarray, np.ndarray]
    elsewhere: tuple[np.ndarray, np.ndarray]
    strangers: tuple[np.ndarray, np.ndarray]


def gather(
    built: Build,
    folder: Path,
    per_video: int,
    most: int,
    say: Callable[[str], object],
    without: frozenset[str] = frozenset(),
) -> Pairs:
    """Makes what is missing in `folder` and reads it all: `per_video` faces of each of `most` videos.

    Videos whose edited faces are there already come first. No pair has a face of a video of `without`.
    """
    faces = built.faces(["video_id", "frame", "track", "shot", "time_s", "landmarks", "bbox"])
    ids = faces["video_id"].to_numpy(zero_copy_only=False)
    known = [video_id for video_id in dict.fromkeys(ids.tolist()) if video_id not in without]
    here = sorted(known, key=lambda video_id: not _file(folder, video_id, per_video).is_file())[:most]
    files = [_edited(built, faces, ids, video_id, folder, per_video, say) for video_id in here]
    rows = np.flatnonzero(~np.isin(ids, list(without)))
    crops = calibrate.crops_of(built, np.arange(len(ids)))
    video = np.unique(ids, return_inverse=True)[1]
    frame, track = faces["frame"].to_numpy(), faces["track"].to_numpy()

    all_edits = [*edits.on_frames(), edits.mirrored()]
    names = [edit.name for edit in all_edits]
    copies, placed, original, edit_of, missed = [], [], [], [], dict.fromkeys(names, 0)
    for file in files:
        for row in pq.read_table(file, partitioning=None).to_pylist():
            if row["jpeg"] is None:
                missed[row["name"]] += 1
            else:
                copies.append(align.decode(row["jpeg"]))
                placed.append(align.decode(row["placed"]))
                original.append(row["row"])
                edit_of.append(names.index(row["name"]))

    margin = built.info.recipe["crop"]["margin"]
    large = rows[calibrate.sizes(faces)[rows] >= expression.SMALLEST]
    found = expression.measures(np.stack([crops[row] for row in large.tolist()]), margin)
    altered = calibrate.changed_pairs(video, track, large, found)
    strangers = calibrate.strangers(built, video, frame, rows)
    return Pairs(
        crops,
        video,
        names,
        [edit.kind for edit in all_edits],
        copies,
        placed,
        np.array(original, np.int64),
        np.array(edit_of, np.int64),
        missed,
        altered,
        _following(video, track, faces["time_s"].to_numpy(), crops, large, margin),
        _elsewhere(built, video, rows),
        strangers,
    )


def _file(folder: Path, video_id: str, per_video: int) -> Path:
    return folder / f"{video_id}.{per_video}.placed.parquet"


def _edited(
    built: Build,
    faces: pa.Table,
    ids: np.ndarray,
    video_id: str,
    folder: Path,
    per_video: int,
    say: Callable[[str], object],
) -> Path:
    path = _file(folder, video_id, per_video)
    if path.is_file():
        return path
    recipe = BuildRecipe.model_validate(built.info.recipe)
    backend = load_backend(recipe.faces, recipe.crop)
    source = next(source for source in read_sources(built.info.source) if source.video_id == video_id)
    say(f"editing {source.source}")
    rows = np.flatnonzero(ids == video_id)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(per_video, len(rows))).round().astype(int))]
    frames = faces["frame"].to_numpy()[rows]
    wanted = sorted(set(frames.tolist()))
    fetched = fetch.fetch(source, recipe.fetch, built.path / "work" / "media")
    with decode.open_video(fetched.path) as video:
        clip = [frame.pixels for frame in video.frames(recipe.fps) if frame.index in wanted]
    landmarks = np.array(faces["landmarks"].take(rows).to_pylist(), np.float32).reshape(-1, 5, 2)
    found = []
    for edit in [*edits.on_frames(), edits.mirrored()]:
        pictures = edit.apply(clip)
        detected = [backend.detect([np.ascontiguousarray(picture)])[0].faces for picture in pictures]
        for row, frame, points in zip(rows.tolist(), frames.tolist(), landmarks, strict=True):
            place = wanted.index(frame)
            expected = edit.moved(points, *clip[0].shape[:2])
            if edit.kind == "mirrored":
                expected = expected[[1, 0, 2, 4, 3]]
            jpeg = _cut_again(pictures[place], expected, [face.landmarks for face in detected[place]], recipe)
            placed = _cut(pictures[place], expected.astype(np.float32), recipe)
            found.append({"row": row, "kind": edit.kind, "name": edit.name, "jpeg": jpeg, "placed": placed})
    pictures = [("jpeg", pa.binary()), ("placed", pa.binary())]
    schema = pa.schema([("row", pa.int64()), ("kind", pa.string()), ("name", pa.string()), *pictures])
    write_table(path, pa.Table.from_pylist(found, schema=schema))
    return path


def _cut_again(picture: np.ndarray, expected: np.ndarray, found: list[np.ndarray], recipe: BuildRecipe) -> bytes | None:
    """The stored crop that a build would have of the face, if the detector finds it."""
    distances = [float(np.linalg.norm(points - expected, axis=1).mean()) for points in found]
    if not distances or min(distances) > NEAR * np.linalg.norm(expected[0] - expected[3]):
        return None
    return _cut(picture, found[int(np.argmin(distances))], recipe)


def _cut(picture: np.ndarray, landmarks: np.ndarray, recipe: BuildRecipe) -> bytes:
    crop = align.align(picture, landmarks, recipe.crop.size, recipe.crop.margin)
    return align.encode(crop, recipe.crop.jpeg_quality)


def _following(
    video: np.ndarray, track: np.ndarray, times: np.ndarray, crops: list[np.ndarray], large: np.ndarray, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = large[np.lexsort((times[large], track[large], video[large]))]
    next_to = (video[order][1:] == video[order][:-1]) & (track[order][1:] == track[order][:-1])
    first, second = order[:-1][next_to], order[1:][next_to]
    points = landmarks_68(np.stack([crops[row] for row in large.tolist()]), margin)
    place = {row: i for i, row in enumerate(large.tolist())}
    here, there = (np.stack([points[place[row]] for row in rows.tolist()]) for rows in (first, second))
    eyes = np.linalg.norm(here[:, 36:42].mean(1) - here[:, 42:48].mean(1), axis=1)
    return first, second, np.linalg.norm(here - there, axis=2).mean(1) / eyes


def _elsewhere(built: Build, video: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if "identity" not in built.spaces:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    people = built.clusters("identity")["cluster"].to_numpy()
    left, right = (rows[side] for side in np.triu_indices(len(rows), 1))
    same = (people[left] == people[right]) & (video[left] != video[right])
    return left[same], right[same]
