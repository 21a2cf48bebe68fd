"""Labels and pictures of DISFA are joined by the number that both carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets import disfa, read
from curate.evaluate.samples import (
    Dataset,
    OccurrenceTarget,
    ValueTarget,
)
from tests.evaluate import layouts

PEOPLE = ("SN001", "SN002", "SN013")


def make(root: Path, first: int, dropped: set[int] = frozenset(), unlabelled: set[int] = frozenset()) -> Path:
    """Twelve frames a person; the level of every unit of frame n is n % 6, and so is the grey of its picture / 40."""
    for subject in PEOPLE:
        for unit in disfa.UNITS:
            lines = [f"{n + 1},{n % 6}" for n in range(12) if n not in unlabelled]
            layouts.write(root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt", lines)
        for n in set(range(12)) - dropped:
            path = root / "Images" / "Left" / subject / f"frame_{n + first:05d}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            layouts.Image.fromarray(np.full((40, 40, 3), 40 * (n % 6), np.uint8)).save(path)
        box = root / "Landmark_Points" / subject / "l0001_lm.mat"  # one for all frames, so that none is looked for
        box.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(box, {"pts": layouts.face(0, 66)})
    return root


def agree(dataset: Dataset) -> bool:
    target = dataset.targets[0]
    assert isinstance(target, ValueTarget)
    return [s.picture.read()[0, 0, 0] // 40 for s in dataset.samples] == target.values[:, 0].tolist()


@settings(max_examples=6)
@given(st.sampled_from([0, 1]), st.sets(st.integers(1, 10), max_size=4), st.sets(st.integers(1, 10), max_size=4))
def test_each_frame_keeps_its_own_label(
    tmp_path_factory: pytest.TempPathFactory, first: int, dropped: set[int], unlabelled: set[int]
) -> None:
    dataset = read("disfa", "action_units", make(tmp_path_factory.mktemp("disfa"), first, dropped, unlabelled))
    assert agree(dataset) and len(dataset.samples) == 3 * (12 - len(dropped | unlabelled))
    for what, gone in (("frames without a picture", dropped - unlabelled), ("without labels", unlabelled - dropped)):
        told = [note for note in dataset.notes if what in note]
        assert len(told) == bool(gone) and all(note.startswith(f"{3 * len(gone)} ") for note in told)
        assert not gone or f"SN001: {min(gone) + 1}" in told[0]


def test_pictures_whose_numbering_cannot_be_known_are_told(tmp_path: Path) -> None:
    dataset = read("disfa", "action_units", make(tmp_path, 1, {0, 11}))
    assert agree(dataset) and any("taken as numbered from 1" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [("3,9", "3: intensity = 9 is outside the scale 0 to 5"), ("3,-1", "outside the scale"), ("2,1", "listed twice")],
)
def test_wrong_labels_are_named(line: str, message: str, tmp_path: Path) -> None:
    root = make(tmp_path, 1)
    path = root / "ActionUnit_Labels" / "SN001" / "SN001_au4.txt"
    lines = path.read_text().splitlines()
    lines[2] = line
    layouts.write(path, lines)
    with pytest.raises(UsageError, match=rf"SN001_au4\.txt:.*{message}"):
        read("disfa", "action_units", root)


def test_a_copy_with_a_few_people_says_so(tmp_path: Path) -> None:
    notes = read("disfa", "action_units", make(tmp_path, 1)).notes
    assert "not the whole data set as its owners give it out: 3 people (27 expected)" in notes


def test_occurrence_is_level_2_and_above_of_eight_units(tmp_path: Path) -> None:
    target = read("disfa", "action_units", make(tmp_path, 1), DataOptions(labels="occurrence")).targets[0]
    assert isinstance(target, OccurrenceTarget) and target.names == tuple(f"AU{u:02d}" for u in disfa.DETECTED)
    assert target.values[:6, 0].tolist() == [0, 0, 1, 1, 1, 1]


def test_disfa_without_landmarks_looks_for_faces(tmp_path: Path) -> None:
    dataset = read("disfa", "action_units", layouts.make_disfa(tmp_path, landmarks=False))
    assert {sample.box for sample in dataset.samples} == {(0.0, 0.0, 80.0, 80.0)}  # no face in noise: the whole frame


def test_disfa_of_one_fold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two folds"):
        read("disfa", "action_units", layouts.make_disfa(tmp_path, subjects=("SN001", "SN002")))


@pytest.mark.parametrize("first", ["l0001_lm.mat", "SN001_0000_lm.mat"])
def test_landmarks_of_disfa_in_both_numberings(first: str, tmp_path: Path) -> None:
    """One of six files is missing: the frame takes the box of its neighbour before it."""
    root = layouts.make_disfa(tmp_path)
    place = root / "Landmark_Points" / "SN001" / "tmp_frame_lm"
    for k in range(6):
        name = f"l{k + 1:04d}_lm.mat" if first.startswith("l") else f"SN001_{k:04d}_lm.mat"
        (place / f"l{k + 1:04d}_lm.mat").rename(place / name)
    sorted(place.iterdir())[3].unlink()
    own = [s.box for s in read("disfa", "action_units", root).samples if s.subject == "SN001"]
    expected = [layouts.face(k, 66) for k in (0, 1, 2, 2, 4, 5)]
    np.testing.assert_allclose(own, [(*(p.min(0) - 1), *(p.max(0) - 1)) for p in expected])


def test_disfa_frames_in_the_folders_of_others(tmp_path: Path) -> None:
    root = layouts.make_disfa(tmp_path, landmarks=False)
    (root / "Videos_LeftCamera_frames").mkdir()
    for subject in ("SN001", "SN002", "SN013", "SN003"):
        (root / "Images" / "Left" / subject).rename(root / "Videos_LeftCamera_frames" / f"LeftVideo{subject}_comp")
    assert len(read("disfa", "action_units", root).samples) == 24
