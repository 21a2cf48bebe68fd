"""Whose face it is: curate's identity clusters on labelled photographs and clips, against the field's other ways.

    python benchmarks/people.py --photographs DIR [--build BUILD] [--held-out BUILD] [--models DIR] [--json FILE]

DIR/<person>/*.jpg (as LFW has it); a build of clips that show one person each (`people_clips.csv` says whom), and one
of clips of other people, on which no threshold was chosen (`people_clips_held_out.csv`, by series of clips, with where
they are from). All methods get the same vectors: of photographs and of faces of clips each by itself (`alone`), of
clips also those that a build keeps, which are drawn together along tracks (`tracks`). Each method is judged at its
usual threshold and at the best one of the other half of the people (twice, halves swapped), so that no figure is tuned
on what it is measured on; the *plateau* is the thresholds around the usual one at which BCubed F is within 0.02 of the
best. Faces of clips count so that all tracks weigh alike.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import dlib
import measure
import numpy as np
from sklearn.cluster import DBSCAN, HDBSCAN

import curate
from curate.hardware import limit_threads
from curate.recipe import CropSettings, FaceSettings
from curate.stages import align
from curate.stages.backend import Backend
from curate.stages.detect import load_backend
from curate.stages.template import Templates

Clustering = Callable[[np.ndarray, float], np.ndarray]
HERE = Path(__file__).parent
NEAR_BEST = 0.02
"""By how much BCubed F may be below the best on a plateau."""
EVERY = 3
"""Of the faces of clips one in so many is clustered."""


@dataclass(frozen=True)
class Faces:
    """What is clustered: person int64 [n], unit vector [n, D] and weight [n] of each face."""

    people: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray


def main() -> None:
    options = _options()
    limit_threads(1)
    backends = [
        load_backend(FaceSettings(), CropSettings()),
        load_backend(FaceSettings(backend="dlib"), CropSettings()),
    ]
    if options.models:
        chosen = FaceSettings(backend="insightface", models=options.models, pack=options.pack)
        backends.append(load_backend(chosen, CropSettings()))
    rows: dict[str, Any] = {}
    floor = 0.0
    for backend in backends:
        for kind, faces in collections(options, backend).items():
            floor = floor or _floor(faces.vectors)
            for name, (cluster, common) in METHODS.items():
                row = judged(cluster, common.get(backend.name), faces, backend)
                rows[f"{name}, {backend.name}, {kind}"] = row
                print(_line(f"{name}, {backend.name}, {kind}", row), flush=True)
    kind = "tracks" if options.build else "photographs"
    mine = f"curate, centerface, {kind}"
    measure.report(
        {
            "name": "people",
            "work": {name: {"faces": row["faces"], "people": row["people"]} for name, row in rows.items()},
            "quality": _words(rows[mine]),
            "ours_s": rows[mine]["seconds"],
            "peers": {n: {"seconds": r["seconds"], "quality": _words(r)} for n, r in rows.items() if n != mine},
            "floor": "all products of the vectors",
            "floor_s": floor,
            "methods": rows,
        },
        options.json,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="DIR/<person>/*.jpg")
    parser.add_argument("--build", type=Path, help="of labelled clips, whose crops are described by each backend")
    parser.add_argument("--held-out", type=Path, help="build of other labelled clips")
    parser.add_argument("--models", type=Path, help="insightface root; default: the default backend alone")
    parser.add_argument("--pack", help="pack below it")
    parser.add_argument("--most", type=int, default=500, help="people, those with most photographs first")
    parser.add_argument("--quick", action="store_true", help="60 people")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    return parser.parse_args()


def collections(options: argparse.Namespace, backend: Backend) -> dict[str, Faces]:
    """What the benchmark is about, by name."""
    found = {"photographs": photographs(options.photographs, backend, 60 if options.quick else options.most)}
    if backend.name == "dlib":  # describes the crops of clips as centerface does
        return found
    for build, labels, prefix in (
        (options.build, "people_clips", ""),
        (options.held_out, "people_clips_held_out", "other "),
    ):
        if build:
            found |= {prefix + kind: faces for kind, faces in clips(build, HERE / f"{labels}.csv", backend).items()}
    return found


def photographs(folder: Path, backend: Backend, most: int) -> Faces:
    """The largest face of each photograph."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*.jp*g")):
        files.setdefault(path.parent.name, []).append(path)
    people, crops = [], []
    for number, name in enumerate(sorted(files, key=lambda name: (-len(files[name]), name))[:most]):
        for path in files[name]:
            pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            for face in backend.detect([pixels])[0].faces[:1]:
                crop = align.align(pixels, face.landmarks, CropSettings().size, CropSettings().margin)
                crops.append(align.encode(crop, CropSettings().jpeg_quality))
                people.append(number)
    return Faces(np.array(people), described(crops, backend), np.ones(len(people)))


def clips(path: Path, labels: Path, backend: Backend) -> dict[str, Faces]:
    """The faces of a build's labelled clips: each by itself, and drawn together along tracks."""
    built = curate.open_build(path)
    rows = csv.DictReader(labels.read_text().splitlines())
    label = {row["clip"]: row["person"] for row in rows}
    videos = built.videos.select(["video_id", "source"]).to_pydict()
    person = {v: label.get(Path(s).name) for v, s in zip(videos["video_id"], videos["source"], strict=True)}
    faces = [row for row in built.faces(["video_id", "track", "image"]).to_pylist() if person[row["video_id"]]]
    alone = described([row["image"]["bytes"] for row in faces], backend)
    keys = [(row["video_id"], row["track"]) for row in faces]
    track = np.unique([f"{video} {number}" for video, number in keys], return_inverse=True)[1]
    drawn = Templates().add(track.tolist(), alone)
    people = np.unique([person[video] for video, _ in keys], return_inverse=True)[1]
    weights = 1 / np.bincount(track[::EVERY])[track[::EVERY]]
    return {
        kind: Faces(people[::EVERY], vectors[::EVERY], weights)
        for kind, vectors in (("alone", alone), ("tracks", drawn))
    }


def described(jpegs: list[bytes], backend: Backend) -> np.ndarray:
    parts = [jpegs[at : at + 32] for at in range(0, len(jpegs), 32)]
    return np.concatenate([backend.identity(np.stack([align.decode(one) for one in part])) for part in parts])


def _cover(vectors: np.ndarray, threshold: float) -> np.ndarray:
    return curate.cover(vectors.astype(np.float16), threshold)[0]


def _whispers(vectors: np.ndarray, threshold: float) -> np.ndarray:
    return np.array(dlib.chinese_whispers_clustering([dlib.vector(v.tolist()) for v in vectors], _distance(threshold)))


def _dbscan(vectors: np.ndarray, threshold: float) -> np.ndarray:
    return _apart(DBSCAN(eps=_distance(threshold), min_samples=2).fit_predict(vectors))


def _hdbscan(vectors: np.ndarray, threshold: float) -> np.ndarray:  # noqa: ARG001
    """As it comes, without a threshold: scikit-learn 1.9 fails with one and numpy 2.4."""
    return _apart(HDBSCAN(min_cluster_size=2, copy=True).fit_predict(vectors.astype(np.float64)))


def _apart(found: np.ndarray) -> np.ndarray:
    """What a method takes for noise is a person each."""
    alone = found < 0
    found[alone] = found.max() + 1 + np.arange(alone.sum())
    return found


def _distance(cosine: float) -> float:
    """Between unit vectors of that cosine."""
    return float(np.sqrt(max(2 - 2 * cosine, 0)))


# dlib's own 0.6 is a distance of vectors of length about 1.4; in cosines of unit vectors that is 0.91
METHODS: dict[str, tuple[Clustering, dict[str, float]]] = {
    "curate": (_cover, {}),
    "chinese whispers": (_whispers, {"centerface": 0.91, "dlib": 0.91}),
    "DBSCAN": (_dbscan, {"centerface": 0.91, "dlib": 0.91}),
    "HDBSCAN": (_hdbscan, {"centerface": 1.0, "dlib": 1.0, "insightface": 1.0}),
}


def judged(cluster: Clustering, common: float | None, faces: Faces, backend: Backend) -> dict[str, Any]:
    """A method on one collection: at its usual threshold, and at the best one of the other people."""
    usual = float(backend.identity_threshold or 0)
    step = 0.02 if backend.name == "insightface" else 0.005
    grid = [] if cluster is _hdbscan else np.round(np.arange(usual - 10 * step, usual + 8.5 * step, step), 4).tolist()
    at = usual if common is None else common
    started = time.process_time()
    labels = {t: cluster(faces.vectors, t) for t in sorted({*grid, at})}
    seconds = (time.process_time() - started) / len(labels)
    by_threshold = {t: scores(found, faces)["bcubed_f"] for t, found in labels.items()}
    return {
        "seconds": seconds,
        "usual_threshold": at,
        "usual": scores(labels[at], faces),
        **cross_validated(labels, faces),
        "plateau": plateau(by_threshold, at),
        "by_threshold": {f"{t:g}": f for t, f in by_threshold.items()},
        "faces": len(faces.people),
        "people": len(set(faces.people.tolist())),
    }


def plateau(by_threshold: dict[float, float], at: float) -> list[float] | None:
    """Lowest and highest threshold around the usual one that are nearly as good as the best; None: it is not."""
    best = max(by_threshold.values())
    thresholds = sorted(by_threshold)
    good = [by_threshold[t] >= best - NEAR_BEST for t in thresholds]
    low = high = thresholds.index(at)
    if not good[low]:
        return None
    while low and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return [thresholds[low], thresholds[high]]


def scores(labels: np.ndarray, faces: Faces, some: np.ndarray | None = None) -> dict[str, float]:
    """Pairwise and BCubed precision, recall and F of a clustering, of all faces or `some`."""
    some = np.ones(len(labels), bool) if some is None else some
    people, labels, weights = faces.people[some], labels[some], faces.weights[some]
    same, together = people[:, None] == people, labels[:, None] == labels
    both = same & together
    off = np.outer(weights, weights) * ~np.eye(len(people), dtype=bool)
    hits = (both * off).sum()
    pairwise = hits / max((together * off).sum(), 1e-12), hits / max((same * off).sum(), 1e-12)
    shares = (both @ weights) / (together @ weights), (both @ weights) / (same @ weights)
    bcubed = [float(np.average(share, weights=weights)) for share in shares]
    found = {}
    for kind, (precision, recall) in (("pairwise", pairwise), ("bcubed", bcubed)):
        found |= {f"{kind}_precision": precision, f"{kind}_recall": recall, f"{kind}_f": _f(precision, recall)}
    return {key: round(float(value), 4) for key, value in found.items()}


def cross_validated(labels: dict[float, np.ndarray], faces: Faces) -> dict[str, Any]:
    """Scores on each half of the people at the threshold that is best (BCubed F) for the other half, averaged."""
    held, thresholds = [], []
    for half in (0, 1):
        mine = faces.people % 2 == half
        best = max(labels, key=lambda t: scores(labels[t], faces, ~mine)["bcubed_f"])
        thresholds.append(best)
        held.append(scores(labels[best], faces, mine))
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
    return f"{name:44}{_words(row)}; best for the other half: {row['thresholds']}; plateau {row['plateau']}"


def _floor(vectors: np.ndarray) -> float:
    started = time.process_time()
    _ = vectors @ vectors.T
    return time.process_time() - started


if __name__ == "__main__":
    main()
