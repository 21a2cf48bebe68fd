"""The face backends side by side, on frames of videos: what each finds of the reference's faces, what it finds besides.

reference  SCRFD of an insightface pack (`--models`), which users need a licence for
ours       CenterFace, the default; every frame is searched, nothing is followed
peers      dlib
floor      decoding the same frames and nothing else

Faces that no reference confirms are drawn into `--sheet FILE` (PNG), to be looked at: they may be false, or right and
missed by the reference. Landmarks are compared with the reference's, in pixels of ArcFace's 112.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.hardware import cores, limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.records import Detection, Pixels
from curate.stages import align, decode
from curate.stages.backend import Backend, overlaps
from curate.stages.detect import load_backend

FPS, FRAMES = 1.5, 12
"""Frames a second of each video, and how many at most."""
SAME, CONFIRMED = 0.5, 0.4
"""Intersection over union from which two backends found the same face, and from which the reference saw something."""
TILE = 160


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


def main() -> None:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--sheet", type=Path, help="PNG of what the default finds besides the reference's faces")
    asked = parser.parse_args()
    if asked.source is None or asked.models is None:
        parser.error("--source FOLDER and --models DIR are needed")
    limit_threads(1)
    started = time.perf_counter()
    frames = frames_of(asked.source, 2 if asked.quick else FRAMES)
    decoding = time.perf_counter() - started
    chosen = {"centerface": {}, "dlib": {"backend": "dlib"}, "scrfd": {"models": asked.models}}
    backends: dict[str, Backend] = {
        name: load_backend(FaceSettings(**settings), CropSettings()) for name, settings in chosen.items()
    }

    def search(backend: Backend) -> list[list[Detection]]:
        return [one.faces for frame in frames for one in backend.detect([frame])]

    runs = {name: (lambda backend=backend: search(backend)) for name, backend in backends.items()}
    seconds, found = measure.alternate(runs, 1 if asked.quick else 3)
    quality = {name: compare(found[name], found["scrfd"]) for name in backends}
    if asked.sheet:
        cv2.imwrite(
            str(asked.sheet), cv2.cvtColor(sheet(frames, found["centerface"], found["scrfd"]), cv2.COLOR_RGB2BGR)
        )
    measure.report(
        {
            "name": "detectors",
            "work": {"frames": len(frames), "cores": cores(), "threads": 1, "quality": quality},
            "ours_s": seconds["centerface"],
            "quality": str(quality["centerface"]),
            "peers": {
                name: {"seconds": seconds[name], "quality": str(quality[name])}
                for name in backends
                if name != "centerface"
            },
            "floor_s": decoding,
            "floor": "decode",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
