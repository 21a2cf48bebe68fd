"""fastdup's components and curate's clusters of the same crops, each judged in its own space at its own threshold.

    python benchmarks/fastdup_crops.py BUILD --python FASTDUP/bin/python [--quick] [--json FILE]

fastdup wants an older numpy than curate, so it runs in an environment of its own (`pip install fastdup`): the crops of
a build as files, one thread, its own network, its default threshold of 0.96. Of each component and each cluster the
face of the best quality stays. Seconds are processor time from the stored crops on, vectors included.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np
from numpy.typing import NDArray

from curate.dedupe.covers import cover
from curate.hardware import limit_threads
from curate.stages.appearance import describe
from curate.storage.build import Build, open_build
from curate.storage.pictures import decode

THRESHOLD, ROUNDING = 0.96, 1e-5
THEIRS = """
import json, sys, time
import fastdup
folder, work, threshold = sys.argv[1], sys.argv[2], float(sys.argv[3])
run = fastdup.create(work_dir=work, input_dir=folder)
run.run(ccthreshold=threshold, threshold=min(threshold, 0.9), num_threads=1, overwrite=True)
seconds = time.process_time()
found = run.connected_components()[0]
files, vectors = fastdup.load_binary_feature(work + "/atrain_features.dat")
component = dict(zip(found["filename"].astype(str), found["component_id"].astype(int).tolist()))
known = {"seconds": seconds, "version": fastdup.__version__, "component": component}
json.dump(known | {"files": list(map(str, files)), "vectors": vectors.tolist()}, open(work + "/found.json", "w"))
"""


def main() -> None:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("build", type=Path)
    parser.add_argument("--python", required=True, help="of an environment that has fastdup")
    options = parser.parse_args()
    limit_threads(1)
    built = open_build(options.build)
    faces = built.faces(["face_id", "quality", "video_id"]).slice(0, 300 if options.quick else None)
    ids, quality = faces["face_id"].to_pylist(), faces["quality"].to_numpy().astype(np.float64)
    pictures = list(built.pictures(np.arange(len(ids))))
    ours_s, ours = _ours(built, pictures, quality)
    theirs_s, theirs = _theirs(options.python, dict(zip(ids, pictures, strict=True)), quality)
    started = time.process_time()
    for picture in pictures:
        decode(picture)
    result = {
        "name": "fastdup_crops",
        "work": f"{len(ids):,} crops of {len(set(faces['video_id'].to_pylist())):,} videos",
        "ours_s": ours_s,
        "quality": ours,
        "peers": {f"fastdup {theirs.pop('version')} at {THRESHOLD}": {"seconds": theirs_s, "quality": theirs}},
        "floor_s": time.process_time() - started,
        "floor": "decoding the crops",
        "seconds": "of the processor, one run each",
    }
    measure.report(result, options.json)


def _ours(built: Build, pictures: list[bytes], quality: NDArray[np.float64]) -> tuple[float, dict[str, Any]]:
    """Processor seconds, and what the clusters hold."""
    threshold = built.info.spaces["appearance"].threshold
    started = time.process_time()
    vectors = describe(np.stack([decode(picture) for picture in pictures]), built.info.recipe["crop"]["margin"])
    found = cover(vectors, threshold, quality)
    seconds = time.process_time() - started
    heads = np.flatnonzero(found.representative)
    stands = heads[np.argsort(found.cluster[heads])][found.cluster]
    return seconds, judged(vectors, stands, threshold)


def _theirs(python: str, crops: dict[str, bytes], quality: NDArray[np.float64]) -> tuple[float, dict[str, Any]]:
    """The same of fastdup; a crop that is in no component stands alone."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "crops").mkdir()
        for name, data in crops.items():
            (Path(folder) / "crops" / f"{name}.jpg").write_bytes(data)
        arguments = [f"{folder}/crops", f"{folder}/work", str(THRESHOLD)]
        subprocess.run([python, "-c", THEIRS, *arguments], check=True, capture_output=True)
        found = json.loads((Path(folder) / "work" / "found.json").read_text())
    place = {Path(file).stem: row for row, file in enumerate(found["files"])}
    vectors = np.array(found["vectors"], np.float32)[[place[name] for name in crops]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    component = {Path(file).stem: number for file, number in found["component"].items()}
    alone = max(component.values(), default=0) + 1
    cluster = np.array([component.get(name, alone + row) for row, name in enumerate(crops)])
    order = np.argsort(-quality, kind="stable")
    _, first, number = np.unique(cluster[order], return_index=True, return_inverse=True)
    stands = np.empty(len(cluster), np.int64)
    stands[order] = order[first][number]
    return found["seconds"], judged(vectors, stands, THRESHOLD) | {"version": found["version"]}


def judged(vectors: NDArray[np.float32], stands: NDArray[np.int64], threshold: float) -> dict[str, Any]:
    """What stays, and how unlike faces are that were put together; cosines in the method's own space.

    Args:
        stands: of each face the one that stays for it, itself where it stays.
    """
    heads = np.unique(stands)
    dropped = stands != np.arange(len(stands))
    to_head = np.einsum("nd,nd->n", vectors, vectors[stands])[dropped]
    groups = [np.flatnonzero(stands == head) for head in heads]
    among = vectors[heads] @ vectors[heads].T
    return {
        "kept": len(heads),
        "dropped though unlike": round(float((to_head < threshold - ROUNDING).mean()), 4),
        "least cosine to the face that stays": round(float(to_head.min(initial=1.0)), 3),
        "least cosine inside a group": round(min(float((vectors[own] @ vectors[own].T).min()) for own in groups), 3),
        "kept pairs that are near": int((np.triu(among, 1) >= threshold + ROUNDING).sum()),
        "largest group": max(len(own) for own in groups),
    }


if __name__ == "__main__":
    main()
