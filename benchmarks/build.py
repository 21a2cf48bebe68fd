"""The build against what a user writes today, on the same sampled frames.

ours   `curate build` as it comes: one worker a core, their start included, without the report
peer   decord, a loop over `insightface.FaceAnalysis` (or dlib, one frame at a time), crops to disk, imagehash, FAISS
       range search; every library with the threads that it takes by itself
floor  decoding the same frames and one batched pass of the same networks on all cores, nothing kept
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import decord
import faiss
import imagehash
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from dataclasses import asdict

import measure

from curate import recipe
from curate.demo import clips
from curate.hardware import cores
from curate.run.build import build
from curate.stages import align, decode
from curate.stages.detect import load_backend
from curate.stages.sources import read_sources

FPS = 5.0


def instants(path: Path) -> tuple[decord.VideoReader, list[int]]:
    """A decord reader and the frames that are nearest to each 1 / FPS."""
    reader = decord.VideoReader(str(path), num_threads=1)
    times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    times = times - times[0]
    return reader, decode.sample(times, FPS, 1e-3).tolist()


def peer(paths: list[Path], models: Path | None) -> dict[str, Any]:
    """The script that everyone writes."""
    analysis = _analysis(models)
    faces, vectors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            reader, frames = instants(path)
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


def _analysis(models: Path | None) -> Any:
    if models is None:
        backend = load_backend(recipe.FaceSettings(backend="dlib"), recipe.CropSettings())

        def one(frame: Any) -> list[tuple[Any, Any]]:
            found = backend.detect([frame])[0].faces
            crops = [align.align(frame, face.landmarks, 224, recipe.CropSettings().margin) for face in found]
            return [(face.bbox, backend.identity(crop[None])[0]) for face, crop in zip(found, crops, strict=True)]

        return one
    from insightface.app import FaceAnalysis

    pack = next(path.name for path in sorted((models / "models").iterdir()))
    app = FaceAnalysis(pack, root=str(models), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1, det_size=(640, 640))
    return lambda frame: [(face.bbox, face.embedding) for face in app.get(frame[..., ::-1])]


def floor(paths: list[Path], models: Path | None) -> int:
    """Decoding, detecting and identifying in batches; nothing is aligned again, judged or written."""
    backend = load_backend(_faces(models), recipe.CropSettings(), threads=cores())
    crops = 0
    for path in paths:
        reader, frames = instants(path)
        for start in range(0, len(frames), 8):
            batch = reader.get_batch(frames[start : start + 8]).asnumpy()
            found = backend.detect(list(batch))
            count = sum(len(one.faces) for one in found)
            if count:
                backend.identity(np.zeros((count, 224, 224, 3), np.uint8))
            crops += count
    return crops


def ours(listed: Path, models: Path | None) -> dict[str, Any]:
    """A fresh build by one worker process a core, their start included."""
    overrides = {"fps": FPS, "faces.backend": "insightface" if models else "dlib"}
    if models:
        overrides["faces.models"] = str(models)
    with tempfile.TemporaryDirectory() as folder:
        outcome = build(str(listed), Path(folder) / "b", recipe.load(None, overrides))
        return asdict(outcome.build.info.counts)


def _faces(models: Path | None) -> recipe.FaceSettings:
    return recipe.FaceSettings(backend="insightface", models=models) if models else recipe.FaceSettings(backend="dlib")


def main() -> None:
    """Runs all three in turns."""
    asked = measure.arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        listed = asked.source or clips.render(Path(folder))
        paths = []
        for source in read_sources(str(listed)):
            try:  # what the peer cannot read it may leave out
                instants(Path(source.location))
                paths.append(Path(source.location))
            except Exception:  # decord raises its own, undocumented errors
                continue
        paths = paths[:3] if asked.quick else paths
        names = Path(folder) / "same.txt"
        names.write_text("".join(f"{path}\n" for path in paths))
        seconds, results = measure.alternate(
            {
                "ours": lambda: ours(names, asked.models),
                "peer": lambda: peer(paths, asked.models),
                "floor": lambda: floor(paths, asked.models),
            },
            1 if asked.quick else 3,
        )
    measure.report(
        {
            "name": "build",
            "work": {
                "videos": len(paths),
                "fps": FPS,
                "backend": "insightface" if asked.models else "dlib",
                "frames": results["ours"]["frames_sampled"],
                "cores": cores(),
            },
            "ours_s": seconds["ours"],
            "quality": f"{results['ours']['faces']} faces",
            "peers": {
                "decord + FaceAnalysis" if asked.models else "decord + dlib": {
                    "seconds": seconds["peer"],
                    "quality": f"{results['peer']['faces']} faces",
                }
            },
            "floor_s": seconds["floor"],
            "floor": "decode + networks",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
