"""A user's own data in curate's four formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from tests.evaluate.layouts.base import face, pts, save, shape, table


def make_pairs(root: Path, people: int = 4, train: bool = False) -> Path:
    rows = []
    for fold in (1, 2):
        for person in range(people):
            for shot in range(2):
                save(root / f"p{fold}{person}" / f"p{fold}{person}_{shot}.jpg", fold * 100 + person * 10 + shot)
            rows.append((fold, f"p{fold}{person}_0.jpg", f"p{fold}{person}_1.jpg", 1))
            rows.append((fold, f"p{fold}{person}_0.jpg", f"p{fold}{(person + 1) % people}_1.jpg", 0))
    if train:
        for person in range(3):
            for shot in range(4):
                save(root / "train" / f"t{person}" / f"{shot}.jpg", 1000 + person * 10 + shot)
    table(root / "pairs.csv", ("fold", "image_a", "image_b", "same"), rows)
    return root


def make_pts(root: Path, count: int = 6, points: int = 68) -> Path:
    for part, start in (("train", 0), ("test", 100)):
        for i in range(count):
            save(root / part / f"{part}{i}.jpg", start + i)
            pts(root / part / f"{part}{i}.pts", face(start + i, points))
    return root


def make_csv(root: Path, kind: str = "emotion", count: int = 24, subjects: bool = False, test: bool = True) -> Path:
    header = ["image", "split", *(["subject"] if subjects else [])]
    header += {"emotion": ["emotion"], "affect": ["valence", "arousal"], "units": ["AU01", "AU12"]}[kind]
    rows = []
    for i in range(count):
        split = "test" if test and i % 3 == 0 else "train"
        save(root / "images" / f"{i}.png", i)
        labels = {
            "emotion": [("happy", "sad")[i // 3 % 2]],
            "affect": [np.sin(i), np.cos(i)],
            "units": [i % 6, i // 2 % 6],
        }[kind]
        rows.append([f"images/{i}.png", split, *([f"{split}{i % 4}"] if subjects else []), *labels])
    table(root / "labels.csv", header, rows)
    return root


def make_mat(root: Path, count: int = 5) -> Path:
    for part, start in (("train", 0), ("test", 100)):
        for i in range(count):
            save(root / part / f"{i}.jpg", start + i)
            scipy.io.savemat(root / part / f"{i}.mat", shape(start + i))
    return root
