"""The build against what a user writes today, on the same sampled frames, and where its time goes.

    python benchmarks/build.py --source FOLDER [--models DIR] [--fps 5 --fps 15] [--rounds 3] [--processor] [--quick]
        [--only NAME] [--json FILE]

ours   `curate build` as it comes, without the report's pictures: one and two workers, faces followed (the default) and
       searched for in every frame (`faces.search=every`), with each backend; start and end of workers included
peer   decord, a loop over `insightface.FaceAnalysis` (without `--models` over the default backend, a frame at a time),
       crops to disk, imagehash, FAISS range search; every library with the threads that it takes by itself
floor  the work that cannot be left out, shared by all cores without loss: every frame is decoded, one in so many is
       searched, each face is looked at once in the frames between, every face is described once; nothing is kept

`--processor` compares processor time instead, all in one process and on one thread: what to use on a busy machine.
"processor_s" is the processor time of all processes of a run, in its last round, whichever way is compared; "profile"
has the seconds of one worker by stage, and how much of the wall time they add up to.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import decord
import faiss
import imagehash
import numpy as np
import onnxruntime
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate import recipe
from curate.demo import clips
from curate.hardware import cores, limit_threads
from curate.records import Frame
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.spaces.builtin import spaces_of, vectors
from curate.run.video import VideoTask, loaded_backend, process
from curate.sampling import sample
from curate.stages import align, follow
from curate.stages.backend import Known
from curate.stages.sources import read_sources

Frames = tuple[decord.VideoReader, list[int]]


def instants(path: Path, fps: float) -> Frames:
    """A decord reader and the frames that are nearest to each 1 / fps."""
    reader = decord.VideoReader(str(path), num_threads=1)
    times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    return reader, sample(times - times[0], fps, 1e-3).frames.tolist()


def peer(paths: list[Path], fps: float, models: Path | None, threads: int | None) -> dict[str, Any]:
    """The script that everyone writes."""
    analysis = _analysis(models, threads)
    faces, vectors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            reader, frames = instants(path, fps)
            for number in frames:
                frame = reader[number].asnumpy()
                for box, vector in analysis(frame):
                    x0, y0, x1, y1 = (max(0, int(value)) for value in box)
                    crop = cv2.resize(frame[y0 : y1 + 1, x0 : x1 + 1], (224, 224))
                    cv2.imwrite(f"{folder}/{faces}.jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
                    imagehash.phash(Image.fromarray(crop))
                    vectors.append(vector)
                    faces += 1
    stacked = np.stack(vectors).astype(np.float32)
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(stacked.shape[1])
    index.add(stacked)
    limits, _, _ = index.range_search(stacked, 0.9)
    return {"faces": faces, "pairs": int(limits[-1])}


def _analysis(models: Path | None, threads: int | None) -> Callable[[Any], list[tuple[Any, Any]]]:
    if models is None:
        backend = loaded_backend(recipe.BuildRecipe(), "cpu")

        def one(frame: Any) -> list[tuple[Any, Any]]:
            found = backend.detect([frame])[0].faces
            crops = [align.align(frame, face.landmarks, 224, recipe.CropSettings().margin) for face in found]
            return [(face.bbox, backend.identity(crop[None])[0]) for face, crop in zip(found, crops, strict=True)]

        return one
    from insightface.app import FaceAnalysis

    pack = next(path.name for path in sorted((models / "models").iterdir()))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    app = FaceAnalysis(pack, root=str(models), providers=["CPUExecutionProvider"], sess_options=options)
    app.prepare(ctx_id=-1, det_size=(640, 640))
    return lambda frame: [(face.bbox, face.embedding) for face in app.get(frame[..., ::-1])]


def floor(paths: list[Path], chosen: recipe.BuildRecipe) -> int:
    """What no build can leave out; the faces that were found."""
    backend = loaded_backend(chosen, "cpu")
    step = max(min(int(follow.GAP_S * chosen.fps), follow.MAX_STEP), 1)
    count = 0
    for path in paths:
        reader, frames = instants(path, chosen.fps)
        for start in range(0, len(frames), step):
            batch = reader.get_batch(frames[start : start + step]).asnumpy()
            faces = backend.detect([batch[0]])[0].faces
            shown = [Frame(number, number / chosen.fps, pixels) for number, pixels in enumerate(batch)]
            for before, frame in itertools.pairwise(shown):
                backend.follow(Known(faces, before), frame)
            if faces:
                crops = np.zeros((len(faces) * len(batch), 224, 224, 3), np.uint8)
                for space in spaces_of(backend, chosen):
                    vectors(space.name, crops, backend, chosen)
            count += len(faces) * len(batch)
    return count


def built(listed: Path, chosen: recipe.BuildRecipe, workers: int) -> dict[str, Any]:
    """A fresh build by worker processes, their start included; what it says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        info = build(str(listed), Path(folder) / "b", chosen, Executor(workers)).build.info
        wall = time.perf_counter() - started
        spent = {name: value for name, value in info.seconds.items() if value > 0}
        return {"faces": info.counts.faces, "frames": info.counts.frames_sampled, "stages": spent, "wall": wall}


def alone(listed: Path, chosen: recipe.BuildRecipe) -> dict[str, Any]:
    """The sources one after the other in this process, as a worker takes them."""
    backend = loaded_backend(chosen, "cpu")
    keys = {space.name: space.key for space in spaces_of(backend, chosen)}
    stages: Counter[str] = Counter()
    faces = frames = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task = VideoTask(chosen, "k", keys, "cpu", Path(folder) / "media", Path(folder) / "pieces")
        task.media.mkdir()
        task.pieces.mkdir()
        for source in read_sources(str(listed)):
            done = process(source, task, "", None)
            stages.update(done.seconds)
            faces += done.record.faces
            frames += done.record.info.frames_sampled if done.record.info else 0
    return {"faces": faces, "frames": frames, "stages": dict(stages), "wall": time.perf_counter() - started}


def recipes(models: Path | None, fps: float) -> dict[str, recipe.BuildRecipe]:
    """What is compared: backend and search by name."""
    packs = {"insightface": {"faces.models": str(models)}} if models else {}
    chosen = {}
    for backend, settings in {**packs, "centerface": {}}.items():
        for search in ("follow", "every"):
            asked = {"fps": fps, "faces.backend": backend, "faces.search": search, **settings}
            chosen[f"{backend} {search}"] = recipe.load(None, asked)
    return chosen


def runs_of(asked: argparse.Namespace, fps: float, listed: Path, paths: list[Path]) -> dict[str, Callable[[], Any]]:
    """Everything that is timed at one rate."""
    runs: dict[str, Callable[[], Any]] = {}
    for name, chosen in recipes(asked.models, fps).items():
        if not name.startswith(asked.only):
            continue
        if asked.processor:
            runs[name] = functools.partial(alone, listed, chosen)
            continue
        for workers in (2, 1) if name.endswith("follow") else (2,):
            runs[f"{name}, {workers} workers"] = functools.partial(built, listed, chosen, workers)
    runs["peer"] = functools.partial(peer, paths, fps, asked.models, 1 if asked.processor else None)
    runs["floor"] = functools.partial(floor, paths, next(iter(recipes(asked.models, fps).values())))
    return runs


def options() -> argparse.Namespace:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--fps", type=float, action="append", help="sampled frames a second; repeatable [5 and 15]")
    parser.add_argument("--only", default="", help="ours alone whose name begins so, beside peer and floor")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything runs, in turns; medians count [3]")
    parser.add_argument("--processor", action="store_true", help="processor time in one process, on one thread")
    return parser.parse_args()


def main() -> None:
    """Runs everything in turns."""
    asked = options()
    measure.adopt()
    if asked.processor:
        os.environ["OMP_NUM_THREADS"] = "1"
        limit_threads(1)
    rates = asked.fps or ([5.0] if asked.quick else [5.0, 15.0])
    clock = time.process_time if asked.processor else time.perf_counter
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = _readable(asked.source or clips.render(Path(folder)))
        paths = paths[:3] if asked.quick else paths
        listed = Path(folder) / "same.txt"
        listed.write_text("".join(f"{path}\n" for path in paths))
        for fps in rates:
            runs = {name: functools.partial(_counted, run) for name, run in runs_of(asked, fps, listed, paths).items()}
            seconds, results = measure.alternate(runs, 1 if asked.quick else asked.rounds, clock=clock)
            if not asked.processor:  # one process on one thread; its floor is shared by all cores
                started = time.process_time()
                runs["floor"]()
                seconds["floor"] = (time.process_time() - started) / cores()
            found[f"{fps:g} fps"] = _rows(seconds, results)
            print(json.dumps({f"{fps:g} fps": found[f"{fps:g} fps"]}, indent=1), flush=True)
    _report(found, paths, asked)


def _readable(listed: Path) -> list[Path]:
    paths = []
    for source in read_sources(str(listed)):
        try:  # what the peer cannot read is left out
            instants(Path(source.location), 1.0)
            paths.append(Path(source.location))
        except Exception:  # decord raises its own, undocumented errors
            continue
    return paths


def _counted(run: Callable[[], Any]) -> dict[str, Any]:
    """What a run returns, with the processor time that it took."""
    before = measure.processor_s()
    result = run()
    named = result if isinstance(result, dict) else {"faces": result}
    return named | {"processor_s": round(measure.processor_s() - before, 2)}


def _rows(seconds: dict[str, float], results: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, value in seconds.items():
        rows[name] = {"seconds": round(value, 2), "peer_over_it": round(seconds["peer"] / value, 2)}
        result = results[name]
        rows[name] |= {"faces": result["faces"], "processor_s": result["processor_s"]}
        if "stages" in result:
            rows[name]["profile"] = {stage: round(value, 2) for stage, value in result["stages"].items()}
            rows[name]["stages_over_wall"] = round(sum(result["stages"].values()) / result["wall"], 3)
    return rows


def _report(found: dict[str, dict[str, Any]], paths: list[Path], asked: argparse.Namespace) -> None:
    rate, rows = next(iter(found.items()))
    ours = next(iter(rows))
    measure.report(
        {
            "name": "build",
            "work": {
                "videos": len(paths),
                "seconds_are": "processor time, one process" if asked.processor else "wall time",
                "cores": cores(),
                "rates": found,
            },
            "ours_s": rows[ours]["seconds"],
            "quality": f"{ours}, {rate}: {rows[ours]['faces']} faces",
            "peers": {
                name: {"seconds": row["seconds"], "quality": f"{row.get('faces', '')} faces"}
                for name, row in rows.items()
                if name not in (ours, "floor")
            },
            "floor_s": rows["floor"]["seconds"],
            "floor": "decode, needed searches and looks, one description",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
