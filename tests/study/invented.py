"""Invented measurements, so that what a study should find is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from curate.evaluate import Result
from curate.study.results import COLUMNS, Line

Effect = Callable[[dict[str, Any]], float]


def lines(
    effect: Effect, seeds: int = 5, noise: float = 0.1, metric: str = "nme", sizes: tuple[int, ...] = (100, 500),
    title: str = "points", task: str = "landmarks",
) -> list[Line]:  # fmt: skip
    """Covers at redundancy 0 and 0.5, random at equal sizes, and all of 1,000 faces; noise that seeds share and own."""
    arms: list[dict[str, Any]] = [{"rule": "full", "faces": 1000}]
    for size in sizes:
        arms += [{"rule": "random", "faces": size, "size": size}]
        arms += [{"rule": "cover", "faces": size, "size": size, "redundancy": r, "threshold": 0.9} for r in (0.0, 0.5)]
    found = []
    rng = np.random.default_rng(0)
    shared = rng.normal(0, noise, seeds)
    for arm, seed in itertools.product(arms, range(seeds)):
        columns = dict.fromkeys(COLUMNS) | {"training": "swav", "budget": "5 passes", "build": "main"} | arm
        columns |= {"title": title, "kept_share": arm["faces"] / 1000, "unique": arm["faces"] // 2}
        columns |= {"train_images": 5 * arm["faces"], "train_seconds": 3.6 * arm["faces"]}
        columns["cell"] = f"{title}{sorted(arm.items())}{seed}"
        value = effect(arm) + float(shared[seed]) + float(rng.normal(0, noise / 10))
        result = Result(
            "b.pt", "swav", "m.parquet", task, "pts", "test", metric, value, 1.0, "linear", seed, 10, 10, 1.0,
            arch="resnet18",
        )  # fmt: skip
        found.append(Line(result, columns))
    return found


def nothing(_: dict[str, Any]) -> float:
    """No arm differs."""
    return 0.3


def redundancy_hurts(arm: dict[str, Any]) -> float:
    """Errors rise with redundancy; small samples are worse."""
    return 0.3 + 0.5 * (arm.get("redundancy") or 0.0) + (0.2 if arm["faces"] < 200 else 0.0)
