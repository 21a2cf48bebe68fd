"""Faces that are followed between searches against faces that are searched for in every frame.

    python benchmarks/follow.py --source FOLDER [--models DIR] [--fps 5 --fps 15] [--seconds S] [--quick] [--json FILE]

The same decoded frames go through `curate.stages.follow` twice, by each backend: with `faces.search=every`, the
reference, and with `follow`, the default. Seconds are of one thread's processor time, decoding and vectors not counted.

ours   follow
peer   every
floor  one frame in so many searched and each face looked at once in between (`follow` without a check)

`recall`: share of the reference's faces that were found at intersection over union 0.5; `invented`: faces that overlap
none of the reference's by 0.5; landmarks: distance in pixels of ArcFace's 112; `tracks` by geometry alone, of both.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.hardware import limit_threads
from curate.recipe import BuildRecipe, CropSettings, FaceSettings
from curate.records import Detection, Frame
from curate.stages import align, decode, shots
from curate.stages.backend import Backend, Known, overlaps
from curate.stages.detect import load_backend
from curate.stages.follow import GAP_S, MAX_STEP, FrameFaces, find_faces
from curate.stages.track import Linker

SAME = 0.5


def frames_of(path: Path, fps: float, seconds: float) -> list[Frame]:
    found = []
    with decode.open_video(path) as video:
        for frame in shots.mark(video.frames(fps), BuildRecipe().shots):
            if frame.time_s > seconds:
                break
            found.append(frame)
    return found


def compare(found: list[Detection], known: list[Detection]) -> tuple[list[float], int]:
    """Distances of the landmarks of known faces that were found, and how many faces are none of them."""
    if not found or not known:
        return [], len(found)
    shared = overlaps(np.stack([face.bbox for face in known]), np.stack([face.bbox for face in found]))
    apart = []
    for face, row in zip(known, shared, strict=True):
        if row.max() >= SAME:
            scale = align.similarity(face.landmarks, align.ARCFACE)[:, :2]
            moved = (found[int(row.argmax())].landmarks - face.landmarks) @ scale.T
            apart.append(float(np.linalg.norm(moved, axis=1).mean()))
    return apart, int((shared.max(0) < SAME).sum())


def tracks(found: list[FrameFaces]) -> int:
    linker, numbers = Linker(), set()
    for one in found:
        numbers |= set(linker.link(one.frame.shot, one.frame.time_s, one.found.faces))
    return len(numbers)


def floor(frames: list[Frame], backend: Backend, fps: float) -> None:
    step = max(min(int(GAP_S * fps), MAX_STEP), 1)
    faces: list[Detection] = []
    for number, frame in enumerate(frames):
        if number % step == 0:
            faces = backend.detect([frame.pixels])[0].faces
        else:
            backend.follow(Known(faces, frames[number - 1]), frame)


def measured(paths: list[Path], backend: Backend, fps: float, seconds: float) -> dict[str, Any]:
    spent = dict.fromkeys(("follow", "every", "floor"), 0.0)
    apart: list[float] = []
    totals = dict.fromkeys(("faces", "followed_faces", "invented", "frames", "searched", "tracks", "tracks_every"), 0)
    lost: dict[str, int] = {}
    for path in paths:
        try:
            frames = frames_of(path, fps, seconds)
        except Exception as error:  # what is no sound video is left out
            print(f"{path}: left out ({error})")
            continue
        results: dict[str, list[FrameFaces]] = {}
        for search in ("follow", "every"):
            started = time.process_time()
            results[search] = list(find_faces(frames, backend, FaceSettings(search=search), fps))
            spent[search] += time.process_time() - started
        started = time.process_time()
        floor(frames, backend, fps)
        spent["floor"] += time.process_time() - started
        before = len(apart), totals["faces"], totals["invented"]
        for one, known in zip(results["follow"], results["every"], strict=True):
            near, invented = compare(one.found.faces, known.found.faces)
            apart += near
            totals["invented"] += invented
            totals["faces"] += len(known.found.faces)
            totals["followed_faces"] += len(one.found.faces)
            totals["searched"] += one.searched
        totals["frames"] += len(frames)
        totals["tracks"] += tracks(results["follow"])
        totals["tracks_every"] += tracks(results["every"])
        missed = totals["faces"] - before[1] - (len(apart) - before[0])
        if missed or totals["invented"] > before[2]:
            lost[path.name] = missed
            print(f"{path.name}: {missed} lost, {totals['invented'] - before[2]} invented", flush=True)
    quantiles = {f"p{round(q * 100)}": round(float(np.quantile(apart, q)), 3) for q in (0.5, 0.95, 0.99, 1.0)}
    recall = {"recall": round(len(apart) / max(totals["faces"], 1), 5)}
    return {**totals, **recall, "lost_in": lost, "landmarks_px_of_112": quantiles, "seconds": spent}


def main() -> None:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--fps", type=float, action="append", help="sampled frames a second; repeatable [5 and 15]")
    parser.add_argument("--seconds", type=float, default=1e9, help="of each video, from its first frame")
    asked = parser.parse_args()
    if asked.source is None:
        parser.error("--source FOLDER is needed")
    limit_threads(1)
    paths = sorted(asked.source.iterdir())[: 3 if asked.quick else None]
    chosen: dict[str, FaceSettings] = {"centerface": FaceSettings()}
    if asked.models:
        chosen["insightface"] = FaceSettings(models=asked.models)
    rows: dict[str, Any] = {}
    for name, settings in chosen.items():
        backend = load_backend(settings, CropSettings())
        for fps in asked.fps or ([5.0] if asked.quick else [5.0, 15.0]):
            rows[f"{name}, {fps:g} fps"] = measured(paths, backend, fps, 2.0 if asked.quick else asked.seconds)
            print(f"{name}, {fps:g} fps: {rows[f'{name}, {fps:g} fps']}", flush=True)
    first = next(iter(rows))
    words = {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in rows.items()}
    measure.report(
        {
            "name": "follow",
            "work": {"videos": len(paths), "seconds_of_each_at_most": asked.seconds, "rows": rows},
            "ours_s": rows[first]["seconds"]["follow"],
            "quality": f"{first}: {words[first]}",
            "peers": {
                f"{search}, {name}": {"seconds": row["seconds"][search], "quality": str(words[name])}
                for name, row in rows.items()
                for search in ("follow", "every")
                if (name, search) != (first, "follow")
            },
            "floor_s": rows[first]["seconds"]["floor"],
            "floor": "needed searches and looks",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
