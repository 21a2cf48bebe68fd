"""Which space tells the same picture again from the same person changed: candidates side by side on pairs of any build.

    python benchmarks/near_duplicates.py BUILD [--pictures DIR] [--backbone RUN/backbone.pt] [--quick] [--json FILE]

Both sides of a pair are weighted so that each video counts alike. Thresholds are chosen on four fifths of the videos
and judged on the rest, five times; whitening takes its statistics from the same four fifths.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import numpy as np
from near_duplicates_pairs import MOVED, Pairs, gather
from near_duplicates_spaces import Candidate, candidates, whitening

from curate.calibration.calibrate import cosines
from curate.calibration.recall import PRECISION, recall_curve
from curate.hardware import limit_threads
from curate.recipe import Dedupe
from curate.stages import align
from curate.stages.appearance import APPEARANCE
from curate.stages.backend import unit
from curate.storage.build import open_build

FOLDS = 5
BATCH = 64
TIMED = 64
AROUND = (0.985, 0.99, 0.993, 0.994, 0.995, 0.996)
"""Thresholds at which recall and false matches are reported as well."""


def main() -> None:
    options = _options()
    limit_threads(1)
    built = open_build(options.build)
    recipe = built.info.recipe
    per_video, most = (2, 6) if options.quick else (options.per_video, options.videos)
    folder = options.pictures or Path(options.build) / "work" / "edited"
    pairs = gather(built, folder, per_video, most, print)
    models = Path(recipe["faces"]["models"]) if recipe["faces"]["models"] else None
    spaces = candidates(recipe["crop"]["margin"], models, recipe["faces"]["pack"], options.backbone, pairs.crops)
    if options.quick:
        spaces = [
            space for space in spaces if not space.name.startswith(("identity", "backbone", "appearance and Arc"))
        ]
    rows = {space.name: judge(space, pairs) for space in spaces}
    table(rows)
    ours = rows["appearance"]
    for name, share in ours["by_edit"].items():
        print(f"  {name:48} {share:7.1%}")
    result = {
        "name": "near_duplicates",
        "work": f"{len(pairs.copies):,} edited copies of {len(np.unique(pairs.original)):,} faces of "
        f"{len(np.unique(pairs.video[pairs.original])):,} videos and "
        f"{len(pairs.altered[0]):,} pairs of one person changed, from {len(np.unique(pairs.video)):,} videos; "
        "seconds for 1,000 faces",
        "space_version": APPEARANCE.version,
        "quality": _words(ours),
        "ours_s": ours["ms"],
        "peers": {
            name: {"seconds": row["ms"], "quality": _words(row)} for name, row in rows.items() if name != "appearance"
        },
        "floor": "decoding the JPEG",
        "floor_s": _decoding(pairs),
        "candidates": rows,
        "missed": {name: count for name, count in pairs.missed.items() if count},
    }
    if options.plots:
        from near_duplicates_plots import draw

        draw(rows, options.plots)
    measure.report(result, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="a finished build whose sources are still there")
    parser.add_argument("--pictures", type=Path, help="folder for edited crops; default: BUILD/work/edited")
    parser.add_argument("--per-video", type=int, default=4, help="faces of each video that are edited")
    parser.add_argument("--videos", type=int, default=10**9, help="videos at most, those edited before first")
    parser.add_argument("--backbone", type=Path, help="also a backbone of curate pretrain")
    parser.add_argument("--plots", type=Path, help="also draw the plots of docs/alike.md into this folder")
    parser.add_argument("--quick", action="store_true", help="few faces, no identity networks")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    return parser.parse_args()


def judge(space: Candidate, pairs: Pairs) -> dict[str, Any]:
    """Everything that the tables say of one candidate."""
    stored, edited = (_vectors(space.vectors, crops) for crops in (pairs.crops, pairs.copies))
    crops = np.stack(pairs.crops[:TIMED])
    started = time.perf_counter()
    space.vectors(crops)
    ms = (time.perf_counter() - started) / len(crops) * 1e3

    mirrored = np.array([kind == "mirrored" for kind in pairs.kinds])[pairs.edit]
    fold = np.random.default_rng(0).permutation(len(np.unique(pairs.video)))[pairs.video] % FOLDS
    first, second, changed = pairs.altered
    same, other = np.zeros(len(edited)), np.zeros(len(first))
    recall, false, thresholds = np.zeros(len(edited), bool), np.zeros(len(first), bool), []
    for held in range(FOLDS):
        here, there = stored, edited
        if space.whitened:
            mean, projection = whitening(stored[fold != held].astype(np.float64), space.whitened)
            here, there = (unit((vectors - mean) @ projection) for vectors in (stored, edited))
        else:
            here, there = unit(stored), unit(edited)
        scores = np.einsum("nd,nd->n", there, here[pairs.original]), cosines(here, first, second)
        mine = fold[pairs.original] == held, fold[first] == held
        known = ~mine[0] & ~mirrored, ~mine[1]
        point = recall_curve(
            scores[0][known[0]],
            scores[1][known[1]],
            _even(pairs.video[pairs.original[known[0]]]),
            _even(pairs.video[first[known[1]]]),
        ).at(PRECISION)
        thresholds.append(point.threshold)
        same[mine[0]], other[mine[1]] = scores[0][mine[0]], scores[1][mine[1]]
        recall[mine[0]], false[mine[1]] = same[mine[0]] >= point.threshold, other[mine[1]] >= point.threshold
    plain = ~mirrored
    weigh = _even(pairs.video[pairs.original[plain]]), _even(pairs.video[first])
    whole = recall_curve(same[plain], other, *weigh)
    points = {name: whole.at(level) for name, level in (("99", 0.99), ("99.5", PRECISION))}
    threshold = Dedupe().threshold if space.name == "appearance" else points["99.5"].threshold
    compared = unit(stored) if not space.whitened else here
    apart = cosines(compared, *pairs.strangers)
    elsewhere = cosines(compared, *pairs.elsewhere)
    following = cosines(compared, *pairs.following[:2])
    bins = np.digitize(pairs.following[2], MOVED) - 1
    return {
        "ms": ms,
        "bytes": stored.shape[1] * space.bits / 8 if not space.whitened else space.whitened * 2,
        "recall_99": points["99"].recall,
        "recall_99.5": points["99.5"].recall,
        "equal_error": whole.equal_error(),
        "threshold_99.5": points["99.5"].threshold,
        "thresholds_of_folds": thresholds,
        "held_out_recall": float(np.average(recall[plain], weights=weigh[0])),
        "held_out_false": float(np.average(false, weights=weigh[1])),
        "threshold": threshold,
        "around": {
            f"{t:g}": [
                float(np.average(values >= t, weights=w)) for values, w in zip((same[plain], other), weigh, strict=True)
            ]
            for t in AROUND
        },
        "by_edit": _by_edit(same, pairs, threshold),
        "by_change": {name: _share(other[rows], threshold) for name, rows in changed.items()},
        "by_motion": {f"{low:g}": _share(following[bins == i], threshold) for i, low in enumerate(MOVED)},
        "elsewhere": _share(elsewhere, threshold),
        "strangers": _share(apart, threshold),
        "strangers_highest": float(apart.max()) if len(apart) else None,
        "curve": _thinned(whole),
    }


def _vectors(vectors: Callable[[np.ndarray], np.ndarray], crops: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([vectors(np.stack(crops[at : at + BATCH])) for at in range(0, len(crops), BATCH)])


def _even(videos: np.ndarray) -> np.ndarray:
    """Weights by which each video counts alike."""
    _, which, counts = np.unique(videos, return_inverse=True, return_counts=True)
    return 1 / counts[which]


def _share(values: np.ndarray, threshold: float) -> float | None:
    return float((values >= threshold).mean()) if len(values) else None


def _by_edit(same: np.ndarray, pairs: Pairs, threshold: float) -> dict[str, float]:
    found = {}
    for place, name in enumerate(pairs.names):
        rows = pairs.edit == place
        if rows.any():
            found[name] = float((same[rows] >= threshold).mean())
    return found


def _thinned(whole: Any) -> dict[str, list[float]]:
    """Recall and precision at 200 places, for plots."""
    at = np.unique(np.linspace(0, len(whole.recall) - 1, 200).round().astype(int))
    return {"recall": whole.recall[at].round(5).tolist(), "precision": whole.precision[at].round(5).tolist()}


def _decoding(pairs: Pairs) -> float:
    jpegs = [align.encode(crop, 95) for crop in pairs.crops[:TIMED]]
    started = time.perf_counter()
    for jpeg in jpegs:
        align.decode(jpeg)
    return (time.perf_counter() - started) / len(jpegs) * 1e3


def _words(row: dict[str, Any]) -> str:
    return f"recall {row['recall_99.5']:.1%} at 99.5 %, equal error {row['equal_error']:.1%}"


def table(rows: dict[str, dict[str, Any]]) -> None:
    """One line a candidate."""
    print(
        f"{'':26}{'ms':>7}{'bytes':>7}{'R@99':>8}{'R@99.5':>8}{'EER':>7}{'held out R':>12}{'false':>8}{'strangers':>11}"
    )
    for name, row in rows.items():
        print(
            f"{name:26}{row['ms']:7.2f}{row['bytes']:7.0f}{row['recall_99']:8.3f}{row['recall_99.5']:8.3f}"
            f"{row['equal_error']:7.3f}{row['held_out_recall']:12.3f}{row['held_out_false']:8.4f}"
            f"{row['strangers_highest'] if row['strangers_highest'] is not None else float('nan'):11.4f}"
        )


if __name__ == "__main__":
    main()
