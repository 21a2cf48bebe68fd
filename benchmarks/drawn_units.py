"""Action units on drawn faces, so that all five tasks have something to show: no labelled faces may be passed on here.

    python benchmarks/drawn_units.py --out results.jsonl

Draws faces (an oval, brows, eyes, a mouth) whose raised brows, smile and parted lips have the intensities 0 to 5 of
AU01, AU12 and AU25, 12 people with 20 pictures each, and measures fresh weights of ResNet-18 by a linear probe of all
and of a tenth of the labels, in three seeds. It says what the task prints, nothing of real faces.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from curate import evaluate

UNITS = ("AU01", "AU12", "AU25")
PEOPLE, PICTURES, SIDE = 12, 20, 96
TEST = 4
"""People of the test part."""


def face(units: NDArray[np.int64], skin: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
    """One drawn face, uint8 [SIDE, SIDE, 3].

    Args:
        units: intensities of `UNITS`, 0 to 5.
        skin: colour of the person.
    """
    brows, smile, parted = (int(value) for value in units)
    picture = np.full((SIDE, SIDE, 3), random.integers(0, 256, 3), np.uint8)
    dx, dy = (int(value) for value in random.integers(-4, 5, 2))
    dark = (30, 20, 20)
    cv2.ellipse(picture, (48 + dx, 50 + dy), (32, 42), 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
    for x in (35 + dx, 61 + dx):
        cv2.circle(picture, (x, 42 + dy), 4, dark, -1, cv2.LINE_AA)
        cv2.ellipse(picture, (x, 34 + dy - brows), (8, 2 + brows), 0, 180, 360, dark, 2, cv2.LINE_AA)
    cv2.ellipse(picture, (48 + dx, 68 + dy), (10 + smile, 2 + 2 * smile), 0, 0, 180, dark, 2, cv2.LINE_AA)
    cv2.ellipse(picture, (48 + dx, 70 + dy), (7, 1 + parted), 0, 0, 360, (120, 30, 40), -1, cv2.LINE_AA)
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def draw(folder: Path) -> None:
    """The data set: pictures and `labels.csv`, people of the test part apart from the others."""
    random = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "split", "subject", *UNITS])
        for person in range(PEOPLE):
            skin = random.integers(120, 240, 3)
            for number in range(PICTURES):
                units = random.integers(0, 6, len(UNITS))
                name = f"{person:02}-{number:02}.png"
                cv2.imwrite(str(folder / name), face(units, skin, random)[:, :, ::-1])
                table.writerow([name, "test" if person < TEST else "train", person, *units])


def main() -> None:
    """Draws, measures and appends to `--out`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name))
        evaluate.run(
            "action_units", "csv", "random", data=name, arch="resnet18", fraction=[1.0, 0.1], seeds=3, out=out,
            overrides={"crop.size": SIDE}, device="cpu",
        )  # fmt: skip
    print(evaluate.render(evaluate.tables(evaluate.read_results(out)), "markdown"))


if __name__ == "__main__":
    main()
