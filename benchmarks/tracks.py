"""Tracks of people who walk past each other, by geometry alone and by what faces look like, too.

    python benchmarks/tracks.py --build BUILD [--quick] [--json FILE]

Real identity vectors on drawn paths, so that the right tracks are known: every walker has the vectors of one track of
BUILD, in their order (one track a person of its identity clusters), and crosses the picture at an even speed of its
own. The one behind is not seen while another hides it, and one face in twenty is missed. Half of the people are for
choosing constants (`--tune`), the other half for the figures.

ours   the linker with vectors
peer   the same linker without
floor  the products of the vectors
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np
from scipy.optimize import linear_sum_assignment

import curate
from curate.records import Detection
from curate.stages.backend import overlaps
from curate.stages.track import Linker

RATES = (2.0, 5.0, 10.0)
WIDTH, SECONDS, WALKERS, SCENES = 1280, 20.0, 8, 12
MISSED, HIDDEN = 0.05, 0.3
FEWEST = 10
"""Faces that a track must have to lend a walker its vectors."""

Look = tuple[np.ndarray, np.ndarray]
"""Seconds [n] and vectors [n, D] of one person's track."""


def people_of(path: Path) -> tuple[list[Look], float]:
    """One track, the longest, of each person of a build; and the threshold of its identity space."""
    built = curate.open_build(path)
    faces = built.faces(["face_id", "video_id", "track", "time_s"]).to_pydict()
    vectors = np.asarray(built.vectors("identity"), np.float32)
    named = dict(zip(*(built.clusters("identity")[name].to_pylist() for name in ("face_id", "cluster")), strict=True))
    tracks: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(zip(faces["video_id"], faces["track"], strict=True)):
        tracks.setdefault(key, []).append(row)
    longest: dict[int, list[int]] = {}
    for rows in sorted(tracks.values(), key=len, reverse=True):
        clusters = {named[faces["face_id"][row]] for row in rows}
        if len(rows) >= FEWEST and not clusters & longest.keys():
            longest |= dict.fromkeys(clusters, rows)
    chosen = {id(rows): rows for rows in longest.values()}.values()
    times = np.array(faces["time_s"])
    return [(times[rows] - times[rows[0]], vectors[rows]) for rows in chosen], built.info.spaces["identity"].threshold


def scene(people: list[Look], fps: float, rng: np.random.Generator) -> list[list[tuple[int, Detection, np.ndarray]]]:
    """The faces of each frame: who it is, where, and the vector."""
    cast = rng.permutation(len(people))[:WALKERS]
    size = rng.uniform(40, 110, len(cast))
    speed = rng.uniform(0.3, 3.0, len(cast)) * size * rng.choice([-1, 1], len(cast))
    start = rng.uniform(-2, 0.7 * SECONDS, len(cast))
    height = 200 + rng.uniform(-0.5, 0.5, len(cast)) * size
    frames = []
    for now in np.arange(0, SECONDS, 1 / fps):
        here: list[tuple[int, Detection, np.ndarray]] = []
        for k in np.argsort(-size):  # the largest stands in front
            went = speed[k] * (now - start[k])
            x = went if speed[k] > 0 else WIDTH + went
            if now < start[k] or not 0 < x < WIDTH:
                continue
            centre = np.array([x, height[k]]) + rng.normal(0, 0.02, 2) * size[k]
            box = np.concatenate([centre - size[k] / 2, centre + size[k] / 2]).astype(np.float32)
            hidden = any(overlaps(box[None], one.bbox[None])[0, 0] > HIDDEN for _, one, _ in here)
            if hidden or rng.random() < MISSED:
                continue
            times, vectors = people[cast[k]]
            row = int(np.argmin(np.abs(times - (now - start[k]) % max(times[-1], 1e-3))))
            here.append((int(cast[k]), Detection(box, np.zeros((5, 2), np.float32), 0.9), vectors[row]))
        frames.append(here)
    return frames


def linked(frames: list[list[tuple[int, Detection, np.ndarray]]], fps: float, same: float | None) -> list[int]:
    linker, tracks = Linker(same), []
    for index, here in enumerate(frames):
        vectors = np.stack([v for _, _, v in here]) if here else None
        tracks += linker.link(0, index / fps, [one for _, one, _ in here], vectors if same else None)
    return tracks


def score(tracks: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """IDF1 (Ristani et al. 2016), tracks a person, and the share of tracks that hold several people."""
    table = np.zeros((tracks.max() + 1, people.max() + 1), int)
    np.add.at(table, (tracks, people), 1)
    rows, columns = linear_sum_assignment(-table)
    persons = int((table.sum(0) > 0).sum())
    return {
        "idf1": float(table[rows, columns].sum() / len(tracks)),
        "tracks_a_person": len(table) / persons,
        "mixed": float(((table > 0).sum(1) > 1).mean()),
    }


def run(people: list[Look], same: float | None, scenes: int) -> dict[str, dict[str, float]]:
    found = {}
    for fps in RATES:
        scores = []
        for seed in range(scenes):
            frames = scene(people, fps, np.random.default_rng(seed))
            people_of_faces = np.array([who for here in frames for who, _, _ in here])
            scores.append(score(np.array(linked(frames, fps, same)), people_of_faces))
        found[f"{fps:g} fps"] = {key: round(float(np.mean([s[key] for s in scores])), 4) for key in scores[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="a build with an identity space and a dozen people")
    parser.add_argument("--tune", action="store_true", help="the half of the people that constants are chosen on")
    parser.add_argument("--quick", action="store_true", help="three scenes")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    asked = parser.parse_args()
    everyone, same = people_of(asked.build)
    people = everyone[0 if asked.tune else 1 :: 2]
    scenes = 3 if asked.quick else SCENES
    seconds: dict[str, float] = {}
    quality: dict[str, Any] = {}
    for name, limit in (("ours", same), ("geometry alone", None)):
        started = time.process_time()
        quality[name] = run(people, limit, scenes)
        seconds[name] = time.process_time() - started
    started = time.process_time()
    for _, vectors in people:
        _ = vectors @ vectors.T
    floor = time.process_time() - started
    measure.report(
        {
            "name": "tracks",
            "work": {"people": len(people), "scenes": scenes, "rates": RATES, "quality": quality},
            "ours_s": seconds["ours"],
            "quality": str(quality["ours"]),
            "peers": {
                "geometry alone": {"seconds": seconds["geometry alone"], "quality": str(quality["geometry alone"])}
            },
            "floor_s": floor,
            "floor": "products",
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
