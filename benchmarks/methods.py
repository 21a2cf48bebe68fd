"""Every self-supervised method against random initialisation: a few minutes of training on two cores each.

python benchmarks/methods.py --manifest F.parquet --pairs DIR --points DIR --out DIR [--methods swav moco] [--table]

Trains with pipelines/pretrain/laptop.yaml, `--seeds` times each, and measures with `curate.evaluate`: face verification
by the cosine of frozen features (`--mode knn`, data set `pairs`) and landmarks by a linear probe (`--mode linear`, data
set `pts`). What is done lies in OUT/results.jsonl and is not done again, and what was begun goes on from its last
checkpoint, so that the script can be stopped at any time. The teacher of `distillation` is the SimCLR of the same seed
and as many steps, which comes first. `--table` only prints.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import ttest_ind

from curate import evaluate, pretrain
from curate.choices import METHODS
from curate.pretrain.methods import CATALOGUE

RECIPE = Path(__file__).parents[1] / "pipelines/pretrain/laptop.yaml"
SGD = {"optimiser.name": "sgd", "optimiser.lr": 0.1, "optimiser.weight_decay": 1e-4}
CHANGED: dict[str, dict[str, Any]] = {
    # without negatives, AdamW lets the features shrink to a few directions within a hundred steps
    "byol": SGD,
    "simsiam": SGD,
    "dinov2": {"arch": "vit_s"},
    "mae": {"arch": "vit_s", "crops": [{"count": 1, "size": 224, "scale": [0.5, 1.0]}], "augment.jitter_p": 0.0},
}
"""What the laptop recipe says to change for a method."""
MEASURED = (
    ("accuracy", "pairs, accuracy %", "greater"),
    ("roc_auc", "pairs, AUC %", "greater"),
    ("nme", "landmarks, NME %", "less"),
)
"""Metric, its name in the table, and which side is better."""


def main() -> None:
    """Trains what is not trained yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, help="what is learned from")
    parser.add_argument("--pairs", type=Path, help="folder with pairs.csv and its pictures")
    parser.add_argument("--points", type=Path, help="folder with train/ and test/ of pictures and .pts files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["random", *(name for name in METHODS if name != "supervised")])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--crop-size", type=int, default=48, help="pixels: of training, and of the faces in pairs")
    parser.add_argument("--points-size", type=int, default=112, help="pixels: of the faces with landmarks")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for method in options.methods:
                for arch in ("resnet18", "vit_s") if method == "random" else (arch_of(method),):
                    one(options, method, arch, seed)
    print(table(read(options.out)))


def arch_of(method: str) -> str:
    """Some need a transformer, others learn faster with a small ResNet."""
    return "vit_s" if CATALOGUE[method].needs_transformer else "resnet18"


def one(options: argparse.Namespace, method: str, arch: str, seed: int) -> None:
    """Trains and measures one backbone, unless it is done."""
    steps = 0 if method == "random" else options.steps
    if any((r["method"], r["arch"], r["seed"], r["steps"]) == (method, arch, seed, steps) for r in read(options.out)):
        return
    started = time.process_time()
    # of 48 pixels a transformer makes nine patches, and mae hides seven of them
    side = options.points_size if arch == "vit_s" else options.crop_size
    backbone: str | Path = "random"
    if method != "random":
        keys: dict[str, Any] = {"precision": options.precision, "probe.images": 0, "data.workers": 1}
        keys |= CHANGED.get(method, {}) | {"checkpoint_steps": 50}
        if method == "distillation":
            keys["distillation.teacher"] = options.out / f"simclr-{steps}-{seed}/backbone.pt"
        backbone = pretrain.run(
            options.manifest,
            options.out / f"{method}-{steps}-{seed}",
            recipe=RECIPE,
            overrides=keys,
            method=method,
            steps=steps,
            crop_size=side,
            seed=seed,
            device="cpu",
        )
    trained = time.process_time() - started
    size = {"crop.size": side, "seed": seed, "extract.mirror": False}
    pairs = evaluate.run(
        "recognition", "pairs", backbone, data=options.pairs, mode="knn", arch=arch, overrides=size, out=None
    )
    size["crop.size"] = options.points_size
    points = evaluate.run(
        "landmarks", "pts", backbone, data=options.points, mode="linear", arch=arch, overrides=size, out=None
    )
    values = {r.metric: r.value for r in pairs + points}
    line = {"method": method, "arch": arch, "seed": seed, "steps": steps, "cpu_s": round(trained, 1)} | values
    with (options.out / "results.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)


def read(out: Path) -> list[dict[str, Any]]:
    """Lines of OUT/results.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(lines: list[dict[str, Any]]) -> str:
    """Means and standard deviations over seeds; p of a one-sided Welch test against the same random backbone."""
    heads = [
        "method",
        "backbone",
        "steps",
        "seeds",
        "seconds",
        *(part for _, name, _ in MEASURED for part in (name, "p")),
    ]
    out = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    kinds = {(line["method"] != "random", line["arch"], line["method"], line["steps"]) for line in lines}
    for _, arch, method, steps in sorted(kinds):
        own = [line for line in lines if (line["method"], line["arch"], line["steps"]) == (method, arch, steps)]
        base = [line for line in lines if (line["method"], line["arch"]) == ("random", arch)]
        shown = [method, arch, str(steps), str(len(own)), f"{statistics.mean(line['cpu_s'] for line in own):.0f}"]
        for metric, _, better in MEASURED:
            values, others = ([100 * line[metric] for line in part] for part in (own, base))
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            shown.append(f"{statistics.mean(values):.2f}{spread}")
            tested = method != "random" and len(values) > 1 and len(others) > 1
            test = ttest_ind(values, others, equal_var=False, alternative=better) if tested else None
            shown.append(f"{test.pvalue:.3f}" if test else "")
        out.append("| " + " | ".join(shown) + " |")
    return "\n".join(out)


if __name__ == "__main__":
    main()
