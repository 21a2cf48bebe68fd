"""The frozen protocol against plain loops over images, on the same pictures, subsets and probe.

ours   `curate.evaluate.run`, linear, every share of the training data and every seed; nothing is cached before
peers  loop            for each share and seed, one picture after the other: read, crop, forward; then scikit-learn
       loop, kept      the same, but each picture's feature is kept for all shares and seeds
floor  one batched forward pass of the same network over crops that lie in memory
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate.evaluate import config, encoders, run, subsets
from curate.evaluate.datasets import read
from curate.evaluate.encoders import Encoder
from curate.evaluate.samples import ClassTarget, Dataset
from curate.stages.align import warp

SHARES, STRENGTH, SIZE, CLASSES = (1.0, 0.5, 0.1), 1.0, 112, 6
KEYS = {"crop.size": SIZE, "linear.strengths": [STRENGTH]}


def pictures(root: Path, count: int) -> Path:
    """Turned, scaled and relit pictures of one face; the class is the angle's sector, so it can be learned."""
    random = np.random.default_rng(0)
    face = skimage.data.astronaut()[:300, 80:380]
    rows = []
    (root / "images").mkdir(parents=True)
    for i in range(count):
        sector = int(random.integers(CLASSES))
        angle = (sector + random.uniform(0.1, 0.9)) * 120 / CLASSES - 60
        matrix = cv2.getRotationMatrix2D((150, 150), angle, random.uniform(0.8, 1.3))
        picture = cv2.warpAffine(face, matrix, (300, 300)) * random.uniform(0.6, 1.2) + random.normal(0, 8, face.shape)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(root / "images" / f"{i}.jpg", quality=92)
        rows.append((f"images/{i}.jpg", "test" if i % 3 == 0 else "train", f"sector{sector}"))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "split", "emotion"), *rows])
    return root


def ours(root: Path, encoder: Encoder, seeds: int) -> list[float]:
    """Accuracies by seed, then share."""
    found = run(
        "emotion", "csv", encoder, data=root, fraction=SHARES, seeds=seeds, overrides=KEYS, device="cpu", out=None
    )
    return [r.value for r in found if r.metric == "accuracy"]


def feature(dataset: Dataset, encoder: Encoder, row: int) -> np.ndarray:
    """What a script does for one picture."""
    pixels = np.asarray(Image.open(dataset.samples[row].picture.path).convert("RGB"))
    crop = warp(pixels, dataset.crop.matrix(*pixels.shape[:2]), dataset.crop.size)
    with torch.inference_mode():
        return encoder(torch.from_numpy(crop).permute(2, 0, 1)[None])[0][0].numpy()


def loop(dataset: Dataset, encoder: Encoder, seeds: int, kept: bool) -> list[float]:
    """Accuracies by seed, then share; scikit-learn solves the problem of `curate.evaluate.probes.logistic`."""
    known: dict[int, np.ndarray] = {}

    def features(rows: np.ndarray) -> np.ndarray:
        if kept:
            known.update({int(r): feature(dataset, encoder, int(r)) for r in rows if int(r) not in known})
            return np.stack([known[int(r)] for r in rows])
        return np.stack([feature(dataset, encoder, int(r)) for r in rows])

    target = dataset.targets[0]
    assert isinstance(target, ClassTarget)
    labels, train, test = target.index, dataset.of("train"), dataset.of("test")
    ids, strata = [dataset.samples[i].id for i in train], [int(labels[i]) for i in train]
    accuracies = []
    for seed in range(seeds):
        for share in SHARES:
            rows = train[subsets.take(ids, strata, seed, share)]
            x, z = features(rows), features(test)
            deviation = x.std(0)
            alive = deviation > 1e-6 * deviation.max()
            factor = np.where(alive, 1 / np.where(alive, deviation, 1), 0) / np.sqrt(alive.sum())
            probe = LogisticRegression(C=100 / (STRENGTH * len(rows)), max_iter=2000, tol=1e-6)
            probe.fit((x - x.mean(0)) * factor, labels[rows])
            accuracies.append(float((probe.predict((z - x.mean(0)) * factor) == labels[test]).mean()))
    return accuracies


def floor(crops: torch.Tensor, encoder: Encoder) -> None:
    """The forward pass alone."""
    with torch.inference_mode():
        for part in crops.split(32):
            encoder(part)


def main() -> None:
    """Measures and prints."""
    arguments = measure.arguments(__doc__.splitlines()[0])
    count, seeds = (90, 1) if arguments.quick else (200, 2)
    encoder = encoders.load("random", "resnet18")
    with tempfile.TemporaryDirectory() as folder:
        root = pictures(Path(folder) / "data", count)
        dataset = read("csv", "emotion", root)
        dataset = Dataset(**{**vars(dataset), "crop": dataset.crop.resized(SIZE)})
        crops = torch.randint(0, 255, (count, 3, SIZE, SIZE), dtype=torch.uint8)
        runs = {
            "ours": partial(ours, root, encoder, seeds),
            "loop": partial(loop, dataset, encoder, seeds, False),
            "loop, kept": partial(loop, dataset, encoder, seeds, True),
            "floor": partial(floor, crops, encoder),
        }
        seconds, results = measure.alternate(runs, clock=time.process_time)
    quality: dict[str, Any] = {
        name: {"accuracy": round(float(np.mean(results[name])), 4), "most apart": round(_apart(results, name), 4)}
        for name in ("ours", "loop", "loop, kept")
    }
    measure.report(
        {
            "name": "evaluate",
            "work": f"{count} pictures, crops of {SIZE} px, resnet18, linear probe, shares {SHARES}, {seeds} seeds",
            "clock": "processor",
            "ours_s": seconds["ours"],
            "quality": quality["ours"],
            "peers": {name: {"seconds": seconds[name], "quality": quality[name]} for name in ("loop", "loop, kept")},
            "floor_s": seconds["floor"],
            "floor": "forward pass of crops in memory",
            "keys": config.load(None, KEYS).model_dump(mode="json")["linear"],
        },
        arguments.json,
    )


def _apart(results: dict[str, Any], name: str) -> float:
    """The largest difference to ours among the cells."""
    return float(np.abs(np.array(results[name]) - np.array(results["ours"])).max())


if __name__ == "__main__":
    main()
