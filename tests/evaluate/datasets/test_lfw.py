"""LFW in the forms that people hold it in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import lfw, read
from curate.evaluate.samples import PairTrials
from tests.evaluate import layouts


@pytest.mark.parametrize(
    ("suffix", "place"), [("png", "lfw"), ("JPG", "lfw-deepfunneled/lfw-deepfunneled"), ("bmp", ".")]
)
def test_pictures_of_any_suffix_and_depth(suffix: str, place: str, tmp_path: Path) -> None:
    root = layouts.make_lfw(tmp_path)
    before = len(read("lfw", "recognition", root).samples)
    (root / "lfw").rename(root / "old")
    for picture in sorted((root / "old").rglob("*.jpg")):
        new = (root / place / picture.parent.name / picture.name).with_suffix(f".{suffix}")
        new.parent.mkdir(parents=True, exist_ok=True)
        layouts.save(new, 1, (8, 8))
        picture.unlink()
    dataset = read("lfw", "recognition", root)
    assert len(dataset.samples) == before and isinstance(dataset.trials, PairTrials)
    assert len(dataset.trials.same) == 40


def test_pairs_without_a_picture_are_counted_and_folds_stay(tmp_path: Path) -> None:
    root = layouts.make_lfw(tmp_path)
    whole = read("lfw", "recognition", root).trials
    gone = next(iter(sorted((root / "lfw").rglob("*.jpg"))))
    lost = sum(gone.stem.rsplit("_", 1)[0] in line.split() for line in (root / "pairs.txt").read_text().splitlines())
    gone.unlink()
    dataset = read("lfw", "recognition", root)
    assert isinstance(dataset.trials, PairTrials) and isinstance(whole, PairTrials)
    assert 40 - lost <= len(dataset.trials.same) < 40 and np.bincount(dataset.trials.fold, minlength=10).max() == 4
    (note,) = [note for note in dataset.notes if "left out" in note]
    assert note.startswith(
        f"{40 - len(dataset.trials.same)} pairs without one of their pictures left out, the first on"
    )
    for picture in (root / "lfw").rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(UsageError, match=r"none of the pictures that pairs\.txt names is there"):
        read("lfw", "recognition", root)


def test_the_owners_pictures_are_cropped_and_aligned_ones_are_not(tmp_path: Path) -> None:
    root = layouts.make_lfw(tmp_path)
    owners = read("lfw", "recognition", root)
    assert owners.crop == lfw.CROP and not any("taken whole" in note for note in owners.notes)
    for picture in (root / "lfw").rglob("*.jpg"):
        layouts.save(picture, 1, (112, 112))
    aligned = read("lfw", "recognition", root)
    assert aligned.crop == lfw.ALIGNED and any("taken whole" in note for note in aligned.notes)
