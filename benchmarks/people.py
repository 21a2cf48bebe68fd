"""Whose face it is: curate's identity clusters on labelled photographs, against chinese whispers and DBSCAN.

    python benchmarks/people.py --photographs DIR [--models DIR] [--quick] [--json FILE]

DIR/<person>/*.jpg (as LFW has it). All methods get the same vectors. Each is judged at its usual threshold and at the
best one of the other half of the people (twice, halves swapped), so that no figure is tuned on what it is measured on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import dlib
import measure
import numpy as np
from sklearn.cluster import DBSCAN

import curate
from curate.hardware import limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.stages import align
from curate.stages.backend import Backend
from curate.stages.detect import load_backend

Clustering = Callable[[np.ndarray, float], np.ndarray]


def main() -> None:
    options = _options()
    limit_threads(1)
    backends = [load_backend(FaceSettings(backend="dlib"), CropSettings())]
    if options.models:
        backends.append(
            load_backend(FaceSettings(backend="insightface", models=options.models, pack=options.pack), CropSettings())
        )
    rows: dict[str, Any] = {}
    for backend in backends:
        people, vectors, missed = read(options.photographs, backend, 60 if options.quick else options.most)
        usual = float(backend.identity_threshold or 0)
        step = 0.005 if backend.name == "dlib" else 0.02
        grid = np.round(np.arange(usual - 12 * step, usual + 8.5 * step, step), 4)
        for name, (cluster, common) in METHODS.items():
            started = time.perf_counter()
            labels = {t: cluster(vectors, t) for t in sorted({*grid.tolist(), common.get(backend.name, usual)})}
            seconds = (time.perf_counter() - started) / len(labels)
            rows[f"{name}, {backend.name}"] = {
                "seconds": seconds,
                "usual_threshold": common.get(backend.name, usual),
                "usual": scores(labels[common.get(backend.name, usual)], people),
                **cross_validated(labels, people),
                "by_threshold": {f"{t:g}": scores(found, people)["bcubed_f"] for t, found in labels.items()},
                "faces": len(people),
                "people": len(set(people.tolist())),
                "missed": missed,
            }
            print(_line(f"{name}, {backend.name}", rows[f"{name}, {backend.name}"]), flush=True)
    ours = rows["curate, dlib"]
    measure.report(
        {
            "name": "people",
            "work": f"{ours['faces']:,} photographs of {ours['people']:,} people; seconds a clustering",
            "quality": _words(ours),
            "ours_s": ours["seconds"],
            "peers": {
                n: {"seconds": r["seconds"], "quality": _words(r)} for n, r in rows.items() if n != "curate, dlib"
            },
            "floor": "all products of the vectors",
            "floor_s": _floor(vectors),
            "methods": rows,
        },
        options.json,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="DIR/<person>/*.jpg")
    parser.add_argument("--models", type=Path, help="insightface root; default: dlib alone")
    parser.add_argument("--pack", help="pack below it")
    parser.add_argument("--most", type=int, default=500, help="people, those with most photographs first")
    parser.add_argument("--quick", action="store_true", help="60 people")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    return parser.parse_args()


def read(folder: Path, backend: Backend, most: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Person int64 [n] and unit vector [n, D] of each photograph with its largest face; and how many had none."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*.jp*g")):
        files.setdefault(path.parent.name, []).append(path)
    people, crops, missed = [], [], 0
    for number, name in enumerate(sorted(files, key=lambda name: (-len(files[name]), name))[:most]):
        for path in files[name]:
            pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            found = backend.detect([pixels])[0].faces
            missed += not found
            for face in found[:1]:
                crop = align.align(pixels, face.landmarks, CropSettings().size, CropSettings().margin)
                crops.append(align.decode(align.encode(crop, CropSettings().jpeg_quality)))
                people.append(number)
    vectors = [backend.identity(np.stack(crops[at : at + 32])) for at in range(0, len(crops), 32)]
    return np.array(people), np.concatenate(vectors), missed


def _cover(vectors: np.ndarray, threshold: float) -> np.ndarray:
    return curate.cover(vectors.astype(np.float16), threshold)[0]


def _whispers(vectors: np.ndarray, threshold: float) -> np.ndarray:
    dlib.set_dnn_prefer_smallest_algorithms()
    return np.array(dlib.chinese_whispers_clustering([dlib.vector(v.tolist()) for v in vectors], _distance(threshold)))


def _dbscan(vectors: np.ndarray, threshold: float) -> np.ndarray:
    found = DBSCAN(eps=_distance(threshold), min_samples=2).fit_predict(vectors)
    alone = found < 0  # noise: a person each
    found[alone] = found.max() + 1 + np.arange(alone.sum())
    return found


def _distance(cosine: float) -> float:
    """Between unit vectors of that cosine."""
    return float(np.sqrt(2 - 2 * cosine))


# dlib's own 0.6 is a distance of vectors of length about 1.4; in cosines of unit vectors that is 0.91
METHODS: dict[str, tuple[Clustering, dict[str, float]]] = {
    "curate": (_cover, {}),
    "chinese whispers": (_whispers, {"dlib": 0.91}),
    "DBSCAN": (_dbscan, {"dlib": 0.91}),
}


def scores(labels: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """Pairwise and BCubed precision, recall and F of a clustering."""
    same, together = people[:, None] == people, labels[:, None] == labels
    both = same & together
    off = ~np.eye(len(people), dtype=bool)
    hits = int((both & off).sum())
    pairwise = hits / max(int((together & off).sum()), 1), hits / max(int((same & off).sum()), 1)
    bcubed = float((both.sum(1) / together.sum(1)).mean()), float((both.sum(1) / same.sum(1)).mean())
    found = {}
    for kind, (precision, recall) in (("pairwise", pairwise), ("bcubed", bcubed)):
        found |= {f"{kind}_precision": precision, f"{kind}_recall": recall, f"{kind}_f": _f(precision, recall)}
    return found


def cross_validated(labels: dict[float, np.ndarray], people: np.ndarray) -> dict[str, Any]:
    """Scores on each half of the people at the threshold that is best (BCubed F) for the other half, averaged."""
    held, thresholds = [], []
    for half in (0, 1):
        mine = people % 2 == half
        best = max(labels, key=lambda t: scores(labels[t][~mine], people[~mine])["bcubed_f"])
        thresholds.append(best)
        held.append(scores(labels[best][mine], people[mine]))
    return {"thresholds": thresholds, "held_out": {key: float(np.mean([h[key] for h in held])) for key in held[0]}}


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _words(row: dict[str, Any]) -> str:
    usual, best = row["usual"], row["held_out"]
    return (
        f"at {row['usual_threshold']:g}: pairwise F {usual['pairwise_f']:.3f}, BCubed F {usual['bcubed_f']:.3f}; "
        f"cross-validated {best['pairwise_f']:.3f}, {best['bcubed_f']:.3f}"
    )


def _line(name: str, row: dict[str, Any]) -> str:
    return f"{name:32}{_words(row)}; best for the other half: {row['thresholds']}"


def _floor(vectors: np.ndarray) -> float:
    started = time.perf_counter()
    _ = vectors @ vectors.T
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
