"""Points that are codes, and mirrored copies beside 300-W."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets import read
from curate.evaluate.pictures import size_of
from curate.evaluate.samples import LandmarkTarget
from tests.evaluate import layouts


@pytest.mark.parametrize("code", ["0 0", "-1 -1", "nan nan"])
def test_a_point_that_is_not_annotated_is_unknown(code: str, tmp_path: Path) -> None:
    root = layouts.make_pts(tmp_path, points=12)
    path = root / "test" / "test0.pts"
    lines = path.read_text().splitlines()
    lines[5] = code
    layouts.write(path, lines)
    dataset = read("pts", "landmarks", root)
    target = dataset.targets[0]
    assert isinstance(target, LandmarkTarget) and np.isnan(target.points).any(axis=2).sum() == 1
    assert "1 points are not annotated (nan, or both coordinates 0 or -1)" in dataset.notes


@pytest.mark.parametrize("code", ["-999 -999", "9999 20"])
def test_a_point_far_outside_its_picture_is_refused(code: str, tmp_path: Path) -> None:
    root = layouts.make_pts(tmp_path, points=12)
    path = root / "train" / "train0.pts"
    lines = path.read_text().splitlines()
    lines[5] = code
    layouts.write(path, lines)
    with pytest.raises(
        UsageError, match=r"train0\.pts: point 3 at .* is far outside its picture of 80 x 80; write nan"
    ):
        read("pts", "landmarks", root)


def test_mirrored_copies_beside_300w_are_left_out_and_parts_are_counted(tmp_path: Path) -> None:
    root = layouts.make_300w(tmp_path)
    for part in ("afw", "ibug"):
        for suffix in ("png", "pts"):
            (root / part / f"0_mirror.{suffix}").write_bytes((root / part / f"0.{suffix}").read_bytes())
    dataset = read("300w", "landmarks", root)
    assert len(dataset.samples) == 14 and not any("mirror" in s.id for s in dataset.samples)
    assert any(note.startswith("2 mirrored copies") for note in dataset.notes)
    assert any("6 train faces (3,148 expected), 6 full faces (689 expected)" in note for note in dataset.notes)


def test_mirrored_copies_are_trained_on_where_they_are_asked_for(tmp_path: Path) -> None:
    """With the points of their originals; one subject with them; never tested; what cannot be a copy is left out."""
    root = layouts.make_300w(tmp_path)
    for part in ("afw", "helen/trainset", "ibug"):
        picture = root / part / "0.png"
        with Image.open(picture) as stored:
            stored.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture.with_stem("0_mirror"))
        picture.with_name("0_mirror.pts").write_text("whatever a script wrote")
    with Image.open(root / "afw/0.png") as stored:
        stored.resize((20, 30)).save(root / "afw/1_mirror.png")
    (root / "afw/gone_mirror.png").write_bytes((root / "afw/0.png").read_bytes())
    dataset = read("300w", "landmarks", root, DataOptions(mirrored=True))
    plain = read("300w", "landmarks", root)
    place = {sample.id: row for row, sample in enumerate(dataset.samples)}
    target = dataset.targets[0]
    assert isinstance(target, LandmarkTarget) and target.mirror is not None
    (width, _) = size_of(root / "afw/0.png")
    original, copy = place["afw/0.png"], place["afw/0_mirror.png"]
    expected = target.points[original][list(target.mirror)]
    np.testing.assert_allclose(target.points[copy][:, 0], width - 1 - expected[:, 0])
    np.testing.assert_allclose(target.points[copy][:, 1], expected[:, 1])
    assert dataset.samples[original].subject == dataset.samples[copy].subject
    assert len(dataset.of("train")) == len(plain.of("train")) + 2 and len(dataset.of("test")) == len(plain.of("test"))
    said = " / ".join(dataset.notes)
    assert "2 mirrored copies are trained on" in said and "1 mirrored copies left out: not of the size" in said
    assert "2 mirrored copies (NAME_mirror.*) left out: they have no original" in said
    assert not any("mirror" in sample.id for sample in plain.samples)
