"""The face detectors side by side, on frames of videos: what each finds of the reference's faces, what besides.

    pip download --no-deps facenet-pytorch
    python benchmarks/detectors.py --source VIDEOS --models DIR --mtcnn WHEEL --pts 300W --sheets FOLDER --json FILE

reference  SCRFD of an insightface pack (`--models`), which users need a licence for
ours       CenterFace, the default; every frame is searched, nothing is followed
peers      dlib; MTCNN, from a wheel of `facenet-pytorch` that is not installed (`--mtcnn`)
floor      decoding the same frames and nothing else

Seconds are of one thread's processor time, on every sixth frame. Faces that the reference does not confirm are drawn
into `--sheets FOLDER`, a PNG a detector, to be looked at: they may be false, or right and missed by the reference.
Landmarks are compared with the reference's, in pixels of ArcFace's 112, and with those of annotated pictures (`--pts`:
68 points as ibug has them, five made of them), as shares of the distance of the eyes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import measure
from detectors_mtcnn import unpacked

from curate.hardware import cores, limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Pixels
from curate.stages import align, decode
from curate.stages.backend import overlaps
from curate.stages.backend_dlib import FIVE_OF_68
from curate.stages.detect import load_backend

FPS, FRAMES, TIMED = 1.5, 6, 6
"""Frames a second of each video, how many at most, and of how many one is timed."""
SAME, CONFIRMED = 0.5, 0.4
"""Intersection over union from which two detectors found the same face, and from which the reference saw something."""
TILE = 160
PICTURES = 60
"""Annotated pictures at most."""

Find = Callable[[Pixels], list[Detection]]


def frames_of(folder: Path, most: int) -> list[Pixels]:
    frames: list[Pixels] = []
    for path in sorted(folder.iterdir()):
        try:
            with decode.open_video(path) as video:
                sampled = [frame.pixels for frame in video.frames(FPS)]
        except Exception:  # what is no sound video is left out of a comparison of detectors
            continue
        places = np.linspace(0, len(sampled) - 1, min(len(sampled), most)).astype(int)
        frames += [sampled[i] for i in places]
    return frames


def compare(found: list[list[Detection]], reference: list[list[Detection]]) -> dict[str, Any]:
    hit, besides, apart = 0, 0, []
    for here, known in zip(found, reference, strict=True):
        if not here or not known:
            besides += len(here)
            continue
        shared = overlaps(np.stack([face.bbox for face in known]), np.stack([face.bbox for face in here]))
        besides += int((shared.max(0) < CONFIRMED).sum())
        for face, row in zip(known, shared, strict=True):
            if row.max() >= SAME:
                hit += 1
                scale = align.similarity(face.landmarks, align.ARCFACE)[:, :2]
                moved = (here[int(row.argmax())].landmarks - face.landmarks) @ scale.T
                apart.append(float(np.linalg.norm(moved, axis=1).mean()))
    total = sum(map(len, reference))
    return {
        "faces": sum(map(len, found)),
        "of_reference": round(hit / max(total, 1), 4),
        "besides": besides,
        "landmarks_px_of_112": round(float(np.median(apart)), 2) if apart else None,
    }


def annotated(folder: Path) -> list[tuple[Pixels, np.ndarray]]:
    """Pictures and their five true landmarks, float [5, 2]."""
    pairs = []
    paths = sorted(folder.rglob("*.pts"))
    for path in paths[:: -(-len(paths) // PICTURES)]:
        lines = path.read_text().split("{")[1].split("}")[0].split("\n")
        points = np.array([line.split() for line in lines if line.strip()], np.float64) - 1  # ibug counts from 1
        picture = cv2.imread(str(next(path.parent.glob(f"{path.stem}.[jp][pn]g"))))
        pairs.append(
            (cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.stack([points[list(p)].mean(0) for p in FIVE_OF_68]))
        )
    return pairs


def landmark_error(find: Find, pairs: list[tuple[Pixels, np.ndarray]]) -> dict[str, Any]:
    """Mean distance to the true landmarks, as a share of that of the eyes: median and 95 of 100; and faces missed."""
    errors: list[float] = []
    for picture, true in pairs:
        apart = [np.linalg.norm(face.landmarks - true, axis=1).mean() for face in find(picture)]
        errors.append(min(apart, default=np.inf) / np.linalg.norm(true[0] - true[1]))
    seen = [error for error in errors if error < 0.5]
    median, p95 = (round(float(np.quantile(seen, q)), 4) for q in (0.5, 0.95))
    return {"pictures": len(pairs), "missed": len(pairs) - len(seen), "error": median, "error_p95": p95}


def sheet(frames: list[Pixels], found: list[list[Detection]], reference: list[list[Detection]]) -> Pixels:
    tiles = [np.zeros((TILE, TILE, 3), np.uint8)]
    for frame, here, known in zip(frames, found, reference, strict=True):
        for face in here:
            if known and overlaps(face.bbox[None], np.stack([one.bbox for one in known])).max() >= CONFIRMED:
                continue
            room = (face.bbox[2:] - face.bbox[:2]) / 2
            x0, y0 = np.maximum(face.bbox[:2] - room, 0).astype(int)
            x1, y1 = np.ceil(face.bbox[2:] + room).astype(int)
            tiles.append(cv2.resize(frame[y0:y1, x0:x1], (TILE, TILE)))
    tiles += [np.zeros((TILE, TILE, 3), np.uint8)] * (-len(tiles) % 8)
    return np.concatenate([np.concatenate(tiles[i : i + 8], 1) for i in range(0, len(tiles), 8)])


def options() -> argparse.Namespace:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--mtcnn", type=Path, help="a wheel of facenet-pytorch")
    parser.add_argument("--pts", type=Path, help="folder of pictures beside .pts files of 68 points")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of what the reference does not confirm")
    asked = parser.parse_args()
    if asked.source is None or asked.models is None:
        parser.error("--source FOLDER and --models DIR are needed")
    return asked


def detectors(asked: argparse.Namespace, stack: ExitStack) -> dict[str, Find]:
    """Every detector, each asked for faces of the recipe's least size and more."""
    chosen = {"centerface": {}, "dlib": {"backend": "dlib"}, "scrfd": {"models": asked.models}}
    found: dict[str, Find] = {}
    for name, settings in chosen.items():
        backend = load_backend(FaceSettings(**settings), CropSettings())
        found[name] = lambda frame, backend=backend: backend.detect([frame])[0].faces
    if asked.mtcnn:
        least = FaceSettings().min_size
        mtcnn = stack.enter_context(unpacked(asked.mtcnn, least))
        found["mtcnn"] = lambda frame: [f for f in mtcnn(frame) if min(f.bbox[2:] - f.bbox[:2]) >= least]
    return found


def main() -> None:
    asked = options()
    limit_threads(1)
    started = time.process_time()
    frames = frames_of(asked.source, 2 if asked.quick else FRAMES)
    decoding = time.process_time() - started
    with ExitStack() as stack:
        finders = detectors(asked, stack)
        found = {name: [find(frame) for frame in frames] for name, find in finders.items()}
        some = frames[::TIMED]
        runs = {name: (lambda find=find: [find(frame) for frame in some]) for name, find in finders.items()}
        seconds, _ = measure.alternate(runs, 1 if asked.quick else 3, clock=time.process_time)
        pairs = annotated(asked.pts) if asked.pts else []
        errors = {name: landmark_error(find, pairs) for name, find in finders.items()} if pairs else {}
    quality: dict[str, dict[str, Any]] = {}
    for name in finders:
        quality[name] = compare(found[name], found["scrfd"]) | {"ms": round(seconds[name] / len(some) * 1000, 1)}
        quality[name] |= {"annotated": errors[name]} if pairs else {}
        if asked.sheets and name != "scrfd":
            asked.sheets.mkdir(parents=True, exist_ok=True)
            drawn = cv2.cvtColor(sheet(frames, found[name], found["scrfd"]), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(asked.sheets / f"{name}.png"), drawn)
    measure.report(
        {
            "name": "detectors",
            "work": {"frames": len(frames), "timed": len(some), "cores": cores(), "threads": 1, "quality": quality},
            "ours_s": seconds["centerface"],
            "quality": str(quality["centerface"]),
            "peers": {
                name: {"seconds": seconds[name], "quality": str(quality[name])}
                for name in finders
                if name != "centerface"
            },
            "floor_s": decoding * len(some) / len(frames),
            "floor": "decode",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
