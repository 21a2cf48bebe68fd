"""AffectNet with seven and eight expressions, and the rows that count for all targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets import read
from curate.evaluate.samples import (
    ClassTarget,
    ValueTarget,
)
from tests.evaluate import layouts
from tests.evaluate.test_datasets import all_sound, splits


@pytest.mark.parametrize(("classes", "kept"), [(8, 18), (7, 17)])
def test_rows_of_seven_and_eight_expressions(classes: int, kept: int, tmp_path: Path) -> None:
    dataset = read("affectnet", "emotion", layouts.make_affectnet(tmp_path), DataOptions(classes=classes))
    labels, affect = dataset.targets
    assert isinstance(labels, ClassTarget) and isinstance(affect, ValueTarget) and len(labels.names) == classes
    assert len(dataset.samples) == len(labels.index) == len(affect.values) == kept
    assert labels.index.min() == 0 and labels.index.max() < classes and not np.isnan(affect.values).any()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1;2,3,", "1;2,11,", "expression = 11 is no class of AffectNet, which are 0 to 10"),
        ("1;2,3,", "1;2,-1,", "expression = -1 is no class"),
        ("1;2,0,0.0,", "1;2,0,-5,", "valence = -5 is outside the scale -1 to 1; write -2 for unknown"),
    ],
)
def test_codes_that_are_none_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = layouts.make_affectnet(tmp_path) / "training.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=rf"training\.csv:\d: {message}"):
        read("affectnet", "emotion", tmp_path)


def test_affectnet_drops_what_is_no_face_and_knows_its_later_form(tmp_path: Path) -> None:
    dataset = read("affectnet", "emotion", layouts.make_affectnet(tmp_path / "lists"))
    assert [type(t) for t in dataset.targets] == [ClassTarget, ValueTarget]
    later = read("affectnet", "emotion", layouts.make_affectnet_arrays(tmp_path / "arrays"))
    assert splits(later) == {"train": 8, "test": 4} and all_sound(later)
    assert isinstance(later.targets[1], ValueTarget) and later.targets[1].values[3].tolist() == [
        0.25,
        pytest.approx(-0.3),
    ]


def test_affectnet_that_names_a_picture_again(tmp_path: Path) -> None:
    root = layouts.make_affectnet(tmp_path)
    lines = (root / "training.csv").read_text().splitlines()
    (root / "training.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    dataset = read("affectnet", "emotion", root)
    assert splits(dataset) == {"train": 12, "test": 6} and any(
        "1 lines name a picture again" in n for n in dataset.notes
    )
