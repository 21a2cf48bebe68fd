from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from curate.errors import UsageError
from curate.pretrain import linear_probe
from curate.pretrain.linear_probe import LabelledPictures


def write(path: Path, value: int = 100, size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def test_a_folder_a_class_and_halves_of_each(tmp_path: Path) -> None:
    for label in ("b", "a"):
        for number in range(4):
            write(tmp_path / label / f"{number}.png", 200 if label == "a" else 10)
    (tmp_path / "a/9.jpg").write_bytes(b"no picture")
    found = linear_probe.read(tmp_path, 16, 100, 0)
    assert found.images.shape == (8, 16, 16, 3)
    assert found.label.tolist() == [0] * 4 + [1] * 4
    assert found.train.tolist() == [True, False] * 4
    assert (found.images[found.label == 0] == 200).all()
    assert (found.classes, found.unreadable) == (2, 1)


def test_a_table_decides_the_split(tmp_path: Path) -> None:
    rows = ["image,label,split"]
    for number in range(6):
        write(tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,{'xy'[number % 2]},{'train' if number < 4 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert linear_probe.read(tmp_path, 16, 100, 0).train.tolist() == [True] * 4 + [False] * 2


def test_a_sample_has_all_classes_alike(tmp_path: Path) -> None:
    for label, count in (("few", 4), ("many", 40)):
        for number in range(count):
            write(tmp_path / label / f"{number:02}.png")
    found = linear_probe.read(tmp_path, 16, 12, 0)
    assert np.bincount(found.label).tolist() == [4, 8]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "0 classes of pictures; 2 are needed"),
        ("picture,label", "labels.csv: no column image"),
        ("image,label,split\na.png,x,val", "labels.csv:2: split is train or test"),
        ("image,label\nnone.png,x\nno.png,y", "train has readable pictures of fewer than 2 classes"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, table: str | None, message: str) -> None:
    if table is not None:
        (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(UsageError, match=message):
        linear_probe.read(tmp_path, 16, 10, 0)
    with pytest.raises(UsageError, match="no such folder"):
        linear_probe.read(tmp_path / "none", 16, 10, 0)


def test_accuracy_is_that_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 90)
    features = rng.normal(size=(90, 5)) + 1.5 * np.eye(5)[label]
    train = np.arange(90) < 60
    pictures = LabelledPictures(np.zeros((90, 1, 1, 3), np.uint8), label, train, 3, 0)
    x = (features - features[train].mean(0)) / features[train].std(0, ddof=1)
    named = Ridge(linear_probe.RIDGE * 60).fit(x[train], np.eye(3)[label[train]]).predict(x[~train]).argmax(1)
    expected = np.mean([(named[label[~train] == c] == c).mean() for c in range(3)])
    got = linear_probe.accuracy(torch.from_numpy(features), pictures)
    assert got == pytest.approx(expected)
    assert 0.5 < got < 1
