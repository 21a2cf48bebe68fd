"""FER2013 as folders of pictures by class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.samples import ClassTarget
from tests.evaluate import layouts


def test_folders_name_classes_in_any_letters(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("Angry", "neutral"):
            layouts.save(tmp_path / split / name / f"{split}.png", 1, (48, 48))
    dataset = read("fer2013", "emotion", tmp_path)
    target = dataset.targets[0]
    assert Counter(sample.split for sample in dataset.samples) == {"train": 2, "test": 2}
    assert isinstance(target, ClassTarget) and [target.names[i] for i in target.index] == ["angry", "neutral"] * 2
    assert "there are no pictures of disgust, fear, happy, sad, surprise" in dataset.notes


def test_a_folder_that_is_no_class_is_not_lost_in_silence(tmp_path: Path) -> None:
    layouts.save(tmp_path / "train" / "suprise" / "1.png", 1, (48, 48))
    layouts.save(tmp_path / "test" / "angry" / "1.png", 1, (48, 48))
    with pytest.raises(UsageError, match=r"train/suprise: is none of the classes angry, .*; rename or remove it"):
        read("fer2013", "emotion", tmp_path)
