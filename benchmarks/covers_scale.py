"""How covers grow: with the number of faces, of thresholds, and beyond memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pyarrow as pa
from covers_peers import THRESHOLD
from covers_work import Vectors, grown, walks
from numpy.typing import NDArray

from curate.dedupe import curve
from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.manifests.candidates import candidates
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.info import BuildState, SpaceInfo
from curate.storage.parquet import write_table


def growth(counts: list[int]) -> dict[str, Any]:
    """Seconds and peak memory of one cover each, in a process of its own, over vectors mapped from disk."""
    points = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            np.save(path, walks(count))
            took = [_child(path) for _ in range(3)]
        points.append(sorted(took, key=lambda one: one["seconds"])[1])
        print(points[-1], file=sys.stderr)
    x, y = np.log([p["faces"] for p in points]), np.log([p["seconds"] for p in points])
    return {"points": points, "exponent": float(np.polyfit(x, y, 1)[0])}


def large(count: int, chunk: int = 400_000) -> dict[str, Any]:
    """One cover of very redundant walks that are mapped from disk, and the memory that the issue of memory allows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        mapped = np.lib.format.open_memmap(path, "w+", np.float16, (count, 256))
        for seed, start in enumerate(range(0, count, chunk)):
            mapped[start : start + chunk] = walks(chunk, length=400, step=0.05, seed=seed)[: count - start]
        del mapped
        figures = _child(path)
    needed = figures["representatives"] * 256 * 2 / 2**20
    return {**figures, "representatives_mb": round(needed), "allowed_mb": round(1024 + 1.5 * needed)}


def _child(path: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("covers.py")
    figures = subprocess.run([sys.executable, script, "--one", str(path)], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(figures.stdout)
    return result


def one(path: Path) -> dict[str, Any]:
    """Measures one cover in this process."""
    vectors = np.load(path, mmap_mode="r")
    order = np.random.default_rng(1).random(len(vectors))
    before = measure.peak_mb()
    started = time.perf_counter()
    found = cover(vectors, THRESHOLD, order)
    return {
        "faces": len(vectors),
        "seconds": time.perf_counter() - started,
        "peak_mb": round(measure.peak_mb()),
        "imports_mb": round(before),
        "representatives": int(found.representative.sum()),
    }


class Filmed:
    """As much of a build as the redundancy curve reads: videos of 100 faces, ten a second."""

    def __init__(self, vectors: Vectors) -> None:
        count = len(vectors)
        place = np.arange(count) % 100
        self._vectors = vectors
        self._faces = pa.table(
            {
                "face_id": [f"{number:09d}" for number in range(count)],
                "video_id": [f"{number:07d}" for number in np.arange(count) // 100],
                "track": pa.array((place // 50).astype(np.int32)),
                "time_s": place / 10,
                "quality": np.random.default_rng(1).random(count).astype(np.float32),
            }
        )

    def faces(self, columns: list[str]) -> pa.Table:
        """Some columns of the faces."""
        return self._faces.select(columns)

    def vectors(self, _space: str) -> Vectors:
        """All vectors."""
        return self._vectors


def curves(count: int, base: NDArray[np.float32] | None) -> dict[str, Any]:
    """Seconds of the whole redundancy curve against those of one cover: a loose, a usual and the default threshold."""
    figures: dict[str, Any] = {}
    vectors = {"walks": walks(count)} | ({} if base is None else {"real": grown(base, count)})
    for name, own in vectors.items():
        build = Filmed(own)
        rank = priority(build.faces(["face_id", "quality"]))
        for threshold in (THRESHOLD, 0.985, 0.994):
            took, _ = measure.alternate(
                {
                    "cover_s": lambda own=own, rank=rank, threshold=threshold: cover(own, threshold, rank),
                    "curve_s": lambda build=build, threshold=threshold: curve.measure(build, "", threshold, 10.0),
                }
            )
            ratio = took["curve_s"] / took["cover_s"]
            figures[f"{name}, {count} x {own.shape[1]}, {threshold}"] = {**took, "covers": ratio}
            print(f"curve of {name} at {threshold}: {ratio:.2f} covers", took, file=sys.stderr)
    return figures


def manifests(faces: int, size: int) -> dict[str, Any]:
    """Seconds to lay out a build of so many faces, and to cut one manifest at each of several redundancies."""
    figures: dict[str, Any] = {"faces": faces, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        build = _many_faces(Path(folder), faces)
        space = SpaceInfo("appearance", 128, "1", THRESHOLD, "", "")
        state = BuildState("none", {"appearance": space})
        started = time.perf_counter()
        laid = candidates(build, state=state)
        figures["layout_s"] = time.perf_counter() - started
        for redundancy in (0.0, 0.3, 0.6, 0.9, "natural"):
            took = []
            for _ in range(3):
                started = time.perf_counter()
                laid.cut(Path(folder) / "m.parquet", size, redundancy)
                took.append(time.perf_counter() - started)
            figures[f"cut at {redundancy}, s"] = statistics.median(took)
    figures["peak_mb"] = round(measure.peak_mb())
    print(figures, file=sys.stderr)
    return figures


def _many_faces(folder: Path, faces: int, a_file: int = 200_000) -> Build:
    """A build without pictures or vectors: two thirds of its faces in clusters of 20, scattered, one third alone."""
    (folder / "embeddings" / "appearance").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lone = np.arange(faces) % 3 == 0
    drawn = np.where(lone, faces + np.arange(faces), rng.integers(0, faces // 30, faces))
    cluster = np.unique(drawn, return_inverse=True)[1]
    first = np.zeros(faces, np.bool_)
    first[np.unique(cluster, return_index=True)[1]] = True
    clusters = []
    for part, start in enumerate(range(0, faces, a_file)):
        numbers = np.arange(start, min(start + a_file, faces))
        columns: dict[str, Any] = {
            "face_id": [f"v{number // 100:06d}-{number % 100:07d}-00" for number in numbers.tolist()],
            "video_id": [f"v{number // 100:06d}" for number in numbers.tolist()],
            "quality": pa.array(np.where(first[numbers], 1.0, rng.random(len(numbers))).astype(np.float32)),
        }
        whole = pa.table({name: columns.get(name, pa.nulls(len(numbers))) for name in schemas.FACES.names})
        write_table(folder / "faces" / f"part-{part:05d}.parquet", whole.cast(schemas.FACES))
        own = [whole["face_id"], cluster[numbers], first[numbers], first[numbers].astype(np.float32)]
        clusters.append(pa.table(own, names=schemas.CLUSTERS.names).cast(schemas.CLUSTERS))
    write_table(folder / "clusters" / "appearance.parquet", pa.concat_tables(clusters))
    return Build(folder)


def plot(result: dict[str, Any], path: Path) -> None:
    """The growth on double logarithmic axes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    points = result["points"]
    figure, axes = plt.subplots(figsize=(6, 4))
    faces = [p["faces"] for p in points]
    for exponent in (1.0, 1.5, 2.0):
        reference = points[0]["seconds"] * (np.array(faces) / faces[0]) ** exponent
        axes.loglog(faces, reference, ":", color="grey")
        axes.annotate(f"N^{exponent:g}", (faces[-1], reference[-1]), xytext=(4, -3), textcoords="offset points")
    axes.loglog(faces, [p["seconds"] for p in points], "o-", label=f"one cover, N^{result['exponent']:.2f}")
    axes.set_xticks(faces, [f"{count // 1000}k" for count in faces])
    axes.minorticks_off()
    axes.margins(x=0.12)
    axes.set(xlabel="faces (256 numbers each, 10 % unique at cosine 0.9)", ylabel="seconds")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
