"""Scans of Florence."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.datasets.scan import Rendered
from tests.evaluate import layouts
from tests.evaluate.test_datasets import splits


def test_florence_of_a_person_without_the_first_scan(tmp_path: Path) -> None:
    root = layouts.make_florence(tmp_path)
    (root / "subject_02" / "Model" / "frontal1").rename(root / "subject_02" / "Model" / "frontal2")
    assert splits(read("florence", "reconstruction", root)) == {"train": 6, "test": 30}


def test_scans_are_drawn_from_several_sides(tmp_path: Path) -> None:
    dataset = read("florence", "reconstruction", layouts.make_florence(tmp_path))
    drawn = [s.picture for s in dataset.samples if isinstance(s.picture, Rendered)]
    front = next(p for p in drawn if p.yaw == 0)
    side = next(p for p in drawn if p.yaw == 80)
    filled = [(p.read().max(axis=2) > 0).mean() for p in (front, side)]
    assert filled[0] > 0.3 and filled[1] < filled[0]


def test_damaged_texture_of_a_scan_is_named(tmp_path: Path) -> None:
    root = layouts.make_florence(tmp_path)
    (root / "subject_02/Model/frontal1/obj/scan.jpg").write_bytes(b"noise")
    with pytest.raises(UsageError, match=r"scan\.obj: cannot be coloured by scan\.jpg"):
        read("florence", "reconstruction", root)
