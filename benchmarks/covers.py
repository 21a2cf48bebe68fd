"""Covers against what else deduplicates vectors: time, and what each keeps and loses.

work   walks    200,000 x 256: videos of 100 faces that walk on the sphere, 10 % unique at cosine 0.9
       real     200,000 vectors of a real build (`--build BUILD`; else of pictures that packages ship, filmed),
                grown by jitter
       unique   50,000 x 256 without any near-duplicate: the worst case
peers  exact       FAISS flat range search over all, greedy over the lists, FAISS for the nearest representative
       semdedup    spherical k-means, in each cell drop what is near an earlier one, dropped or not (as released)
       mended      the same, near an earlier one that is kept
       components  FAISS k-NN graph (IVF, k = 32), edges from the threshold on, connected components (as DINOv2)
floor  one blocked float32 product of all vectors with the final representatives

quality: `lost` drops without a kept neighbour, `alike` pairs of kept ones that are near-duplicates, `chained` faces
that stand in one group with a kept one they are not near to.

`--growth` measures 50,000 to 800,000 walks and plots them to docs/covers-growth.svg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import faiss
import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate import hardware
from curate.dedupe.covers import cover
from curate.stages import embed
from curate.storage.build import open_build

THRESHOLD = 0.9
Vectors = NDArray[np.float16]


class Kept(NamedTuple):
    """Who stays, and the row that stands for each (-1: the method does not say)."""

    kept: NDArray[np.bool_]
    stands: NDArray[np.int64]


def walks(count: int, width: int = 256, length: int = 100, step: float = 0.168, seed: int = 0) -> Vectors:
    """Videos whose faces take small random steps on the sphere."""
    rng = np.random.default_rng(seed)
    videos = -(-count // length)
    out = np.empty((videos, length, width), np.float16)
    place = unit(rng.standard_normal((videos, width), np.float32))
    for k in range(length):
        out[:, k] = place
        place = unit(place + step * unit(rng.standard_normal((videos, width), np.float32)))
    return out.reshape(-1, width)[:count]


def grown(base: NDArray[np.float32], count: int, most: float = 0.45, seed: int = 0) -> Vectors:
    """Real vectors, each many times over with jitter of random size up to `most`."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(base)), -(-count // len(base)))[:count]
    out = np.empty((count, base.shape[1]), np.float16)
    for start in range(0, count, 8192):
        chosen = base[which[start : start + 8192]]
        jitter = unit(rng.standard_normal(chosen.shape, np.float32)) * rng.uniform(0, most, (len(chosen), 1))
        out[start : start + 8192] = unit(chosen + jitter)
    return out


def unique(count: int, width: int = 256, seed: int = 0) -> Vectors:
    """Vectors in all directions."""
    return unit(np.random.default_rng(seed).standard_normal((count, width), np.float32)).astype(np.float16)


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filmed(count: int = 1000) -> NDArray[np.float32]:
    """Appearance vectors of faces in pictures of scikit-image and insightface, under a moving, dimming camera."""
    import insightface
    import skimage

    folder = Path(insightface.__file__).parent / "data" / "images"
    pictures = [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))]
    pictures.append(skimage.data.astronaut()[:, :, ::-1])
    rng = np.random.default_rng(0)
    crops = []
    for index in range(count):
        picture = pictures[index * len(pictures) // count]
        if index % 10 == 0:  # a new place now and then, small moves in between
            x, y = rng.uniform(0.2, 0.8, 2) * (picture.shape[1], picture.shape[0])
            size = rng.uniform(80, 200)
        x, y, size = x + rng.normal(0, 2), y + rng.normal(0, 2), size * rng.uniform(0.98, 1.02)
        turn = cv2.getRotationMatrix2D((float(x), float(y)), rng.normal(0, 1), 224 / size)
        turn[:, 2] += 112 - x, 112 - y
        crop = cv2.warpAffine(picture, turn, (224, 224), borderMode=cv2.BORDER_REFLECT)
        crops.append(np.clip(crop * rng.uniform(0.9, 1.1), 0, 255).astype(np.uint8)[:, :, ::-1])
    return embed.appearance(np.stack(crops))


def normalised(vectors: Vectors) -> NDArray[np.float32]:
    """float32 rows of length 1, as FAISS takes them."""
    rows = vectors.astype(np.float32)
    faiss.normalize_L2(rows)
    return rows


def ours(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """`curate.cover`."""
    found = cover(vectors, THRESHOLD, priority)
    heads = np.empty(int(found.representative.sum()), np.int64)
    heads[found.cluster[found.representative]] = np.flatnonzero(found.representative)
    return Kept(found.representative, heads[found.cluster])


def exact(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """All pairs by FAISS, then the greedy over the lists."""
    rows = normalised(vectors)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    begins, near = [np.zeros(1, np.int64)], []
    for start in range(0, len(rows), 4096):
        limits, _, found = index.range_search(rows[start : start + 4096], THRESHOLD)
        begins.append(limits[1:].astype(np.int64) + begins[-1][-1])
        near.append(found.astype(np.int32))
    begin, neighbours = np.concatenate(begins), np.concatenate(near)
    kept, out = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for row in np.argsort(-priority, kind="stable").tolist():
        if not out[row]:
            kept[row] = True
            out[neighbours[begin[row] : begin[row + 1]]] = True
    heads = faiss.IndexFlatIP(rows.shape[1])
    heads.add(rows[kept])
    return Kept(kept, np.flatnonzero(kept)[heads.search(rows, 1)[1][:, 0]])


def semdedup(vectors: Vectors, priority: NDArray[np.float64], mended: bool = False) -> Kept:
    """Cells of spherical k-means; inside a cell, an item goes if its highest cosine to an earlier one is near."""
    rows = normalised(vectors)
    cells = max(1, int(np.sqrt(len(rows))))
    means = faiss.Kmeans(rows.shape[1], cells, niter=10, spherical=True, seed=1, min_points_per_centroid=1)
    means.train(rows)
    cell = means.index.search(rows, 1)[1][:, 0]
    order = np.lexsort((-priority, cell))
    kept = np.zeros(len(rows), bool)
    for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        own = torch.from_numpy(rows[members])
        near = torch.triu(own @ own.T, diagonal=1) >= THRESHOLD
        if not mended:
            kept[members] = ~near.any(dim=0).numpy()
            continue
        table, alive = near.numpy(), np.ones(len(members), bool)
        for place in np.flatnonzero(table.any(axis=1)).tolist():
            if alive[place]:
                alive &= ~table[place]
        kept[members] = alive
    return Kept(kept, np.full(len(rows), -1))


def components(vectors: Vectors, priority: NDArray[np.float64]) -> Kept:
    """Connected components of the k-NN graph; the best of each stays."""
    rows = normalised(vectors)
    cells = max(1, int(np.sqrt(len(rows))))
    index = faiss.index_factory(rows.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[np.random.default_rng(0).permutation(len(rows))[: 40 * cells]])
    index.add(rows)
    index.nprobe = 8
    cosine, found = index.search(rows, min(32, len(rows)))
    left, place = np.nonzero((cosine >= THRESHOLD) & (found >= 0))
    graph = scipy.sparse.coo_matrix((np.ones(len(left), bool), (left, found[left, place])), shape=(len(rows),) * 2)
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    order = np.argsort(-priority, kind="stable")
    best = order[np.unique(group[order], return_index=True)[1]]
    kept = np.zeros(len(rows), bool)
    kept[best] = True
    return Kept(kept, best[group])


def floor(vectors: Vectors, kept: NDArray[np.bool_]) -> None:
    """One product of everything with the representatives, in blocks."""
    rows = torch.from_numpy(vectors.astype(np.float32))
    heads = rows[torch.from_numpy(kept)]
    out = torch.empty(2048, len(heads))
    for start in range(0, len(rows), 2048):
        block = rows[start : start + 2048]
        torch.mm(block, heads.T, out=out[: len(block)])


def quality(vectors: Vectors, found: Kept) -> dict[str, int]:
    """What is lost, alike and chained."""
    rows = torch.from_numpy(unit(vectors.astype(np.float32)))
    heads = rows[torch.from_numpy(found.kept)]
    lost = alike = 0
    for start in range(0, len(rows), 1024):
        near = rows[start : start + 1024] @ heads.T >= THRESHOLD - 1e-6
        lost += int((~near.any(dim=1)).sum())
        alike += int(near[torch.from_numpy(found.kept[start : start + 1024])].sum())
    chained = 0
    if (found.stands >= 0).all():
        own = (rows * rows[torch.from_numpy(found.stands)]).sum(dim=1)
        chained = int((own < THRESHOLD - 1e-6).sum())
    return {"kept": int(found.kept.sum()), "lost": lost, "alike": (alike - len(heads)) // 2, "chained": chained}


def compare(name: str, vectors: Vectors, rounds: int) -> dict[str, Any]:
    """One work: all methods in turns."""
    priority = np.random.default_rng(1).random(len(vectors))
    kept = ours(vectors, priority).kept
    methods = {
        "ours": lambda: ours(vectors, priority),
        "floor": lambda: floor(vectors, kept),
        "exact": lambda: exact(vectors, priority),
        "semdedup": lambda: semdedup(vectors, priority),
        "semdedup, mended": lambda: semdedup(vectors, priority, mended=True),
        "k-NN components": lambda: components(vectors, priority),
    }
    seconds, found = measure.alternate(methods, rounds)
    qualities = {method: quality(vectors, result) for method, result in found.items() if method != "floor"}
    same = bool((found["ours"].kept == found["exact"].kept).all())
    return {
        "work": f"{name}: {len(vectors)} x {vectors.shape[1]}, {kept.mean():.1%} unique at {THRESHOLD}",
        "ours_s": seconds["ours"],
        "quality": {**qualities["ours"], "same as exact": same},
        "peers": {
            method: {"seconds": seconds[method], "quality": qualities[method]}
            for method in qualities
            if method != "ours"
        },
        "floor_s": seconds["floor"],
        "floor": "one product with representatives",
    }


def table(result: dict[str, Any]) -> None:
    """One work for people to read."""
    print(result["work"])
    rows = {"curate": {"seconds": result["ours_s"], "quality": result["quality"]}, **result["peers"]}
    rows["floor"] = {"seconds": result["floor_s"], "quality": result["floor"]}
    for method, row in rows.items():
        print(
            f"  {method:20}{row['seconds']:9.2f} s, {row['seconds'] / result['ours_s']:7.1f} x ours  {row['quality']}"
        )


def growth(counts: list[int]) -> dict[str, Any]:
    """Seconds and peak memory of one cover each, in a process of its own, over vectors mapped from disk."""
    points = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npy"
            np.save(path, walks(count))
            took = [json.loads(_child(path)) for _ in range(3)]
        points.append({"faces": count, **sorted(took, key=lambda one: one["seconds"])[1]})
        print(points[-1], file=sys.stderr)
    x, y = np.log([p["faces"] for p in points]), np.log([p["seconds"] for p in points])
    return {"points": points, "exponent": float(np.polyfit(x, y, 1)[0])}


def _child(path: Path) -> str:
    return subprocess.run(
        [sys.executable, __file__, "--one", str(path)], check=True, capture_output=True, text=True
    ).stdout


def one(path: Path) -> None:
    """Measures one cover in this process."""
    vectors = np.load(path, mmap_mode="r")
    priority = np.random.default_rng(1).random(len(vectors))
    before = measure._peak_mb()
    started = time.perf_counter()
    found = cover(vectors, THRESHOLD, priority)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "peak_mb": round(measure._peak_mb()),
                "imports_mb": round(before),
                "unique": float(found.representative.mean()),
            }
        )
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """The growth on double logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    points = result["points"]
    figure, axes = plt.subplots(figsize=(6, 4))
    faces = [p["faces"] for p in points]
    axes.loglog(faces, [p["seconds"] for p in points], "o-", label=f"cover, exponent {result['exponent']:.2f}")
    for exponent in (1.0, 1.5, 2.0):
        reference = points[0]["seconds"] * (np.array(faces) / faces[0]) ** exponent
        axes.loglog(faces, reference, ":", color="grey")
        axes.annotate(f"N^{exponent:g}", (faces[-1], reference[-1]))
    axes.set(xlabel="faces (256 numbers each, 10 % unique at cosine 0.9)", ylabel="seconds")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds on 2 cores")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    parser.add_argument("--build", type=Path, help="take the real vectors from this build")
    parser.add_argument("--growth", action="store_true", help="also measure growth, and plot it")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    wish = parser.parse_args()
    hardware.limit_threads(hardware.cores())
    if wish.one:
        one(wish.one)
        return
    base = open_build(wish.build).vectors().astype(np.float32) if wish.build else filmed(300 if wish.quick else 1000)
    size = 10_000 if wish.quick else 200_000
    works = {
        "walks": walks(size),
        "real": grown(base, size),
        "unique": unique(size // 4),
    }
    results = {}
    for name, vectors in works.items():
        results[name] = compare(name, vectors, 3)
        table(results[name])
    whole = {"name": "covers", **results["walks"], "works": results}
    counts = [2_000, 4_000, 8_000] if wish.quick else [50_000, 100_000, 200_000, 400_000, 800_000]
    if wish.growth or wish.quick:
        whole["growth"] = growth(counts)
    if wish.growth and not wish.quick:
        plot(whole["growth"], Path(__file__).parents[1] / "docs" / "covers-growth.svg")
    measure.report(whole, wish.json)


if __name__ == "__main__":
    main()
