"""How far the near-duplicates of a build can be trusted: on videos that nothing was fitted to, with intervals.

    python benchmarks/near_duplicates_held_out.py BUILD [--pictures DIR] [--per-video N] [--json FILE]

Videos that aligner or network were trained on are left out. Each video counts alike. Intervals (95 %) are of videos
drawn again with replacement, since faces of one video succeed and fail together; where no video has a match, up to
which share of videos that may be chance. *Halves*: the threshold of 99.5 % precision is from half of the videos and
judged on the others, many times.

appearance         as it is
with the aligner   `embed.aligner=true`
at the landmarks   copies cut out where the original's landmarks come to lie: what a perfect detector would reach
network            `embed.descriptor=network`
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
from near_duplicates_pairs import Pairs, gather

from curate.calibration.calibrate import cosines
from curate.calibration.recall import PRECISION, RecallCurve, recall_curve
from curate.hardware import limit_threads
from curate.recipe import USUAL_THRESHOLD
from curate.stages import align, appearance
from curate.storage.build import open_build

AROUND = {
    "spectrum": (0.985, 0.99, 0.993, 0.994, 0.995, 0.996, 0.997),
    "network": (0.96, 0.97, 0.975, 0.98, 0.983, 0.985, 0.986, 0.988, 0.99),
}
DRAWS, HALVES = 1000, 50
TIMED = 128
Sides = Sequence[tuple[np.ndarray, np.ndarray]]
"""Scores of copies and of changed faces, each with the video that it is of."""
TRAINED = tuple(Path(__file__).with_name(f"{name}_pictures.json") for name in ("aligner", "descriptor"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="a finished build whose sources are still there")
    parser.add_argument("--pictures", type=Path, help="folder for edited crops; default: BUILD/work/edited")
    parser.add_argument("--per-video", type=int, default=2, help="faces of each video that are edited")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    options = parser.parse_args()
    limit_threads(1)
    built = open_build(options.build)
    trained = {entry["sha256"] for file in TRAINED for entry in json.loads(file.read_text())}
    known = built.videos.select(["video_id", "content_sha256"]).to_pylist()
    without = frozenset(row["video_id"] for row in known if row["content_sha256"] in trained)
    folder = options.pictures or Path(options.build) / "work" / "edited"
    pairs = gather(built, folder, options.per_video, 10**9, print, without)
    margin = built.info.recipe["crop"]["margin"]
    rows = {
        name: judge(pairs, space, _vectors(pairs.crops, margin, space), _vectors(copies, margin, space))
        for name, space, copies in (
            ("appearance", appearance.APPEARANCE, pairs.copies),
            ("with the aligner", appearance.ALIGNED, pairs.copies),
            ("at the landmarks", appearance.APPEARANCE, pairs.placed),
            ("network", appearance.LEARNED, pairs.copies),
        )
    }
    for name, row in rows.items():
        print(name, {key: value for key, value in row.items() if not key.startswith("by_")})
    result = _result(pairs, rows, len(without)) | _seconds(pairs.crops[:TIMED], margin, rows)
    measure.report(result, options.json)


def _vectors(crops: list[np.ndarray], margin: float, space: appearance.Space) -> np.ndarray:
    return appearance.describe(np.stack(crops), margin, space)


def judge(pairs: Pairs, space: appearance.Space, stored: np.ndarray, edited: np.ndarray) -> dict[str, Any]:
    """What is said of one way to describe."""
    threshold = USUAL_THRESHOLD[space.descriptor]
    plain = np.flatnonzero(~np.array([kind == "mirrored" for kind in pairs.kinds])[pairs.edit])
    first, second, changed = pairs.altered
    copies, partners = _edited_against_changed(pairs, plain)
    every, owners = np.einsum("nd,nd->n", edited, stored[pairs.original]), pairs.video[pairs.original]
    other, apart = cosines(stored, first, second), cosines(stored, *pairs.strangers)
    elsewhere = cosines(stored, *pairs.elsewhere)
    crossed = np.einsum("nd,nd->n", edited[copies], stored[partners])
    sides = (every[plain], owners[plain]), (other, pairs.video[first])
    curve = _curve(sides)
    by_edit = {name: _share((every, owners), pairs.edit == k, threshold) for k, name in enumerate(pairs.names)}
    by_change = {name: _share(sides[1], rows, threshold) for name, rows in changed.items()}
    return {
        "threshold": threshold,
        "recall": interval(sides[0][0] >= threshold, sides[0][1]),
        "false": interval(other >= threshold, sides[1][1]),
        "false_edited": interval(crossed >= threshold, pairs.video[partners]),
        "precision": _precision(sides, threshold),
        "recall_99.5": curve.at(PRECISION).recall,
        "threshold_99.5": curve.at(PRECISION).threshold,
        "equal_error": curve.equal_error(),
        "halves": _halves(sides),
        "around": {
            f"{t:g}": [*(interval(s >= t, v)[0] for s, v in sides), *_precision(sides, t)]
            for t in AROUND[space.descriptor]
        },
        "elsewhere": float((elsewhere >= threshold).mean()) if len(elsewhere) else None,
        "copied": {
            "threshold": space.copied,
            "false": interval(other >= space.copied, sides[1][1]),
            "elsewhere": float((elsewhere >= space.copied).mean()) if len(elsewhere) else None,
            "strangers": int((apart >= space.copied).sum()),
            "by_edit": {
                name: _share((every, owners), pairs.edit == k, space.copied) for k, name in enumerate(pairs.names)
            },
        },
        "strangers_highest": float(apart.max()) if len(apart) else None,
        "by_edit": {name: found[0] for name, found in by_edit.items() if found},
        "by_change": {name: found[0] for name, found in by_change.items() if found},
        "by_change_interval": {name: found[1:] for name, found in by_change.items() if found},
        "pairs_by_change": {name: int(rows.sum()) for name, rows in changed.items()},
        "videos_of_false": len(np.unique(sides[1][1][other >= threshold])),
    }


def _curve(sides: Sides) -> RecallCurve:
    (same, of_same), (other, of_other) = sides
    return recall_curve(same, other, _even(of_same), _even(of_other))


def _share(side: tuple[np.ndarray, np.ndarray], rows: np.ndarray, threshold: float) -> list[float]:
    scores, videos = side
    return interval(scores[rows] >= threshold, videos[rows], even=False)


def _edited_against_changed(pairs: Pairs, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copies of a face, and faces that differ from their original."""
    first, second, _ = pairs.altered
    partners: dict[int, list[int]] = {}
    for one, other in zip([*first.tolist(), *second.tolist()], [*second.tolist(), *first.tolist()], strict=True):
        partners.setdefault(one, []).append(other)
    found = [(k, b) for k in plain.tolist() for b in partners.get(int(pairs.original[k]), [])]
    both = np.array(found, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def interval(hits: np.ndarray, videos: np.ndarray, even: bool = True) -> list[float]:
    """Share, and where 95 % of the shares lie if videos are drawn again; `even`: each video counts alike."""
    if not len(hits):
        return []
    _, which = np.unique(videos, return_inverse=True)
    total = np.bincount(which).astype(float)
    good = np.bincount(which, hits.astype(float))
    if even:
        good, total = good / total, np.ones(len(total))
    drawn = np.random.default_rng(0).integers(0, len(total), (DRAWS, len(total)))
    low, high = np.quantile(good[drawn].sum(1) / total[drawn].sum(1), (0.025, 0.975)).tolist()
    share = float(good.sum() / total.sum())
    chance = 1 - 0.05 ** (1 / len(total))
    return [share, 1 - chance if share == 1 else low, chance if share == 0 else high]


def _precision(sides: Sides, threshold: float) -> list[float]:
    """Of as many copies as changed faces; with its interval, over the videos of both."""
    names = np.unique(np.concatenate([videos for _, videos in sides]))
    shares = np.full((2, len(names)), np.nan)
    for row, (scores, videos) in enumerate(sides):
        for place, name in enumerate(names):
            if (videos == name).any():
                shares[row, place] = (scores[videos == name] >= threshold).mean()
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    recall, false = (np.nanmean(one[drawn], axis=1) for one in shares)
    whole = np.nanmean(shares[0]) / (np.nanmean(shares[0]) + np.nanmean(shares[1]))
    return [float(whole), *np.quantile(recall / (recall + false), (0.025, 0.975)).tolist()]


def _halves(sides: Sides) -> dict[str, list[float]]:
    """Median and 95 % of the draws: recall, false matches and precision on the half that the threshold is not from."""
    names = np.unique(np.concatenate([videos for _, videos in sides]))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(HALVES):
        mine = rng.permutation(names)[: len(names) // 2]
        inside = [np.isin(videos, mine) for _, videos in sides]
        here = [(scores[i], videos[i]) for (scores, videos), i in zip(sides, inside, strict=True)]
        there = [(scores[~i], videos[~i]) for (scores, videos), i in zip(sides, inside, strict=True)]
        threshold = _curve(here).at(PRECISION).threshold
        recall, false = (float(np.average(scores >= threshold, weights=_even(videos))) for scores, videos in there)
        found.append((threshold, recall, false, recall / (recall + false) if recall else 1.0))
    quantiles = np.quantile(np.array(found), (0.5, 0.025, 0.975), axis=0).T
    return dict(zip(("threshold", "recall", "false", "precision"), quantiles.tolist(), strict=True))


def _even(videos: np.ndarray) -> np.ndarray:
    """Weights by which each video counts alike."""
    _, which, counts = np.unique(videos, return_inverse=True, return_counts=True)
    return 1 / counts[which]


def _seconds(crops: list[np.ndarray], margin: float, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Processor time of 1,000 faces: the machine may be busy with other work."""

    def of(run: Callable[[], object]) -> float:
        started = time.process_time()
        run()
        return (time.process_time() - started) / len(crops) * 1e3

    jpegs = [align.encode(crop, 95) for crop in crops]
    seconds = {space: of(lambda space=space: _vectors(crops, margin, space)) for space in appearance.SPACES}
    names = "appearance", "with the aligner", "network"
    peers = dict(zip(names, seconds.values(), strict=True))
    return {
        "ours_s": peers.pop("appearance"),
        "peers": {name: {"seconds": s, "quality": _quality(rows[name])} for name, s in peers.items()},
        "floor": "decoding the JPEG",
        "floor_s": of(lambda: [align.decode(jpeg) for jpeg in jpegs]),
    }


def _quality(row: dict[str, Any]) -> str:
    return f"recall {row['recall'][0]:.1%}, precision {row['precision'][0]:.1%} at {row['threshold']:g}"


def _result(pairs: Pairs, rows: dict[str, dict[str, Any]], trained: int) -> dict[str, Any]:
    ours, crops = rows["appearance"], np.unique(pairs.original)
    videos = [len(np.unique(pairs.video[rows])) for rows in (crops, pairs.altered[0])]
    return {
        "name": "near_duplicates_held_out",
        "work": f"{len(pairs.copies):,} edited copies of {len(crops)} faces of {videos[0]} videos and "
        f"{len(pairs.altered[0]):,} pairs of one person changed in {videos[1]}; {trained} videos that networks were "
        "trained on are left out; seconds for 1,000 faces",
        "videos": videos,
        "space_version": appearance.APPEARANCE.version,
        "quality": _quality(ours),
        "candidates": rows,
        "missed": {name: count for name, count in pairs.missed.items() if count},
    }


if __name__ == "__main__":
    main()
