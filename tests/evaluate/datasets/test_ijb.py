"""IJB-B and IJB-C in both layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.datasets import read
from curate.evaluate.samples import (
    TemplateTrials,
)
from tests.evaluate import layouts
from tests.evaluate.test_datasets import all_sound


@pytest.mark.parametrize(("name", "make"), [("ijbb", layouts.make_ijb_insightface), ("ijbc", layouts.make_ijb_owners)])
def test_ijb_in_the_other_layout(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    dataset = read(name, "recognition", make(tmp_path, name))
    assert all_sound(dataset)
    assert (
        isinstance(dataset.trials, TemplateTrials)
        and len(dataset.trials.galleries) == 2
        and dataset.trials.probes is not None
    )


def test_ijb_has_the_detectors_score_of_each_picture_where_the_file_does(tmp_path: Path) -> None:
    root = layouts.make_ijb_insightface(tmp_path)
    dataset = read("ijbc", "recognition", root)
    assert isinstance(dataset.trials, TemplateTrials) and dataset.trials.score is not None
    np.testing.assert_allclose(dataset.trials.score, 1 - np.arange(1, 25) / 100)
    assert not any("no detector scores" in note for note in dataset.notes)
    landmarks = root / "meta/ijbc_name_5pts_score.txt"
    landmarks.write_text("\n".join(line.rsplit(" ", 1)[0] for line in landmarks.read_text().splitlines()))
    without = read("ijbc", "recognition", root)
    assert isinstance(without.trials, TemplateTrials) and without.trials.score is None
    assert any("no detector scores" in note for note in without.notes)


@pytest.mark.parametrize(
    ("file", "line", "text", "told"),
    [
        ("template_pair_label.txt", 3, "1 99 0", "template 99"),
        ("template_pair_label.txt", 36, "0 7 0", "template 0"),
        ("1N_gallery_G1.csv", 2, "50,0,0.jpg", "template 50"),
        ("1N_probe_mixed.csv", 4, "51,2,2.jpg", "template 51"),
    ],
)
def test_a_template_without_pictures_is_named(file: str, line: int, text: str, told: str, tmp_path: Path) -> None:
    path = layouts.make_ijb_insightface(tmp_path) / "meta" / f"ijbc_{file}"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=rf"{file}:{line}: {told} has no picture in ijbc_face_tid_mid\.txt"):
        read("ijbc", "recognition", tmp_path)


def test_ijbb_of_the_first_release(tmp_path: Path) -> None:
    root = layouts.make_ijb_owners(tmp_path)
    for path in (root / "protocol").glob("*_1N_*.csv"):
        path.write_text(path.read_text().replace("FILENAME", "FILE"))
    assert len(read("ijbb", "recognition", root).samples) == 20
