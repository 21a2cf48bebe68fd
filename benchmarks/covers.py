"""Covers against what else deduplicates vectors: time, and what each keeps and loses.

work   walks    200,000 x 256: videos of 100 faces that walk on the sphere, 10 % unique at cosine 0.9
       real     200,000 vectors of a real build (`--build BUILD`; else of pictures that packages ship, filmed),
                grown by jitter
       unique   50,000 x 256 without any near-duplicate: the worst case
peers  exact       FAISS flat range search over all, greedy over the lists, FAISS for the nearest representative
       semdedup    spherical k-means, in each cell drop what is near an earlier one, dropped or not (as released)
       corrected   the same, near an earlier one that is kept
       components  FAISS k-NN graph (IVF, k = 32), edges from the threshold on, connected components (as DINOv2)
floor  one blocked float32 product of all vectors with the final representatives

quality: `lost` drops without a kept neighbour, `alike` pairs of kept ones that are near-duplicates, `chained` faces
that stand in one group with a kept one they are not near to.

`--growth` measures 50,000 to 800,000 walks and plots them to covers-growth.png in this folder; `--curve` all
thresholds of the redundancy curve against one cover; `--large` 4,000,000 x 256 mapped from disk, and manifests of
1,000,000 of them. `--work NAME` measures one work alone and `--add` keeps what the file of `--json` holds, so that a
slow measurement can be made in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import covers_peers as peers
import covers_scale as scale
import covers_work as works
import measure

from curate import hardware
from curate.storage.build import open_build

LONE = "one product with representatives"


def compare(name: str, vectors: works.Vectors, rounds: int, exact_rounds: int) -> dict[str, Any]:
    """One work: all methods in turns."""
    priority = np.random.default_rng(1).random(len(vectors))
    kept = peers.ours(vectors, priority).kept
    peak = measure.peak_mb()
    methods = {
        "ours": lambda: peers.ours(vectors, priority),
        "floor": lambda: peers.floor(vectors, kept),
        "semdedup": lambda: peers.semdedup(vectors, priority),
        "semdedup, corrected": lambda: peers.semdedup(vectors, priority, corrected=True),
        "k-NN components": lambda: peers.components(vectors, priority),
        "exact": lambda: peers.exact(vectors, priority),
    }
    seconds, found = measure.alternate(methods, rounds, {"exact": exact_rounds})
    same = bool((found["ours"].kept == found["exact"].kept).all())
    qualities = {method: peers.quality(vectors, result) for method, result in found.items() if method != "floor"}
    return {
        "work": f"{name}: {len(vectors)} x {vectors.shape[1]}, {kept.mean():.1%} unique at {peers.THRESHOLD}",
        "ours_s": seconds["ours"],
        "quality": {**qualities["ours"], "same as exact": same},
        "peers": {
            method: {
                "seconds": seconds[method],
                "runs": exact_rounds if method == "exact" else rounds,
                "quality": qualities[method],
            }
            for method in qualities
            if method != "ours"
        },
        "floor_s": seconds["floor"],
        "floor": LONE,
        "runs": rounds,
        "peak_mb": round(peak),
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


def wishes() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds on 2 cores")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    parser.add_argument("--build", type=Path, help="take the real vectors from this build")
    parser.add_argument("--work", action="append", choices=["walks", "real", "unique", "none"], help="only this work")
    parser.add_argument("--size", type=int, help="vectors of walks and real; unique has a quarter (default: 200,000)")
    parser.add_argument("--exact-rounds", type=int, default=3, help="runs of the exact peer, which takes minutes")
    parser.add_argument("--add", action="store_true", help="keep what the file of --json holds already")
    parser.add_argument("--growth", action="store_true", help="also measure growth, and plot it")
    parser.add_argument("--curve", action="store_true", help="also measure the redundancy curve")
    parser.add_argument("--large", action="store_true", help="also measure 4,000,000 faces")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Runs what is asked for."""
    wish = wishes()
    hardware.limit_threads(hardware.cores())
    if wish.one:
        print(json.dumps(scale.one(wish.one)))
        return
    whole: dict[str, Any] = {"name": "covers", "works": {}}
    if wish.add and wish.json and wish.json.exists():
        whole = json.loads(wish.json.read_text())
    size = wish.size or (10_000 if wish.quick else 200_000)
    base = open_build(wish.build).vectors().astype(np.float32) if wish.build else None
    for name in wish.work or ["walks", "real", "unique"]:
        if name == "none":
            continue
        if name == "real":
            base = works.filmed(300 if wish.quick else 1000) if base is None else base
            vectors = works.grown(base, size)
        else:
            vectors = works.walks(size) if name == "walks" else works.unique(size // 4)
        whole["works"][name] = compare(name, vectors, 3, wish.exact_rounds)
        table(whole["works"][name])
    if wish.growth or wish.quick:
        counts = [2_000, 4_000, 8_000] if wish.quick else [50_000, 100_000, 200_000, 400_000, 800_000]
        whole["growth"] = scale.growth(counts)
    if wish.growth and not wish.quick:
        scale.plot(whole["growth"], Path("covers-growth.png"))
    if wish.curve or wish.quick:
        whole["curve"] = scale.curves(size // 5, base)
    if wish.large:
        whole["large"] = {"cover": scale.large(4_000_000), "manifests": scale.manifests(4_000_000, 1_000_000)}
    first = next(iter(whole["works"].values()), None)
    if first is None:
        raise SystemExit("covers.py: --work none leaves nothing to compare; give --add with a --json file that has it")
    measure.report({**whole, **whole["works"].get("walks", first)}, wish.json)


if __name__ == "__main__":
    main()
