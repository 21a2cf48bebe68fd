"""BP4D in the folders of its releases, with gaps and codes for unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets import bp4d, read
from curate.evaluate.samples import (
    OccurrenceTarget,
    ValueTarget,
)
from tests.evaluate import layouts


def test_codes_and_frames_are_found_in_folders_of_any_name_and_behind_links(tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    (root / "AUCoding").rename(root / "AU Coding (FERA 2015)")
    (root / "2D+3D").rename(root / "2D + 3D frames")
    for subject in ("F001", "F002"):
        (root / "2D + 3D frames" / subject / "T1").rename(tmp_path.parent / f"{tmp_path.name}-{subject}")
        (root / f"{subject}_T1").symlink_to(tmp_path.parent / f"{tmp_path.name}-{subject}")
    assert len(read("bp4d", "action_units", root).samples) == 24


def test_missing_codes_name_the_folder_that_was_searched(tmp_path: Path) -> None:
    layouts.save(tmp_path / "F001" / "T1" / "0001.jpg")
    with pytest.raises(UsageError, match=rf"{tmp_path}: no file like F001_T1_AU06\.csv in it or any folder below"):
        read("bp4d", "action_units", tmp_path)


def test_gaps_are_counted_and_named(tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    for frame in (2, 5):
        (root / "2D+3D" / "F001" / "T1" / f"{frame:04d}.jpg").unlink()
    layouts.save(root / "2D+3D" / "F002" / "T1" / "0100.jpg")
    dataset = read("bp4d", "action_units", root)
    assert "2 coded frames without a picture left out (F001/T1: 2, 5)" in dataset.notes
    assert "1 pictures without codes left out (F002/T1: 100)" in dataset.notes
    assert any("3 people (41 expected), 3 clips (328 expected)" in note for note in dataset.notes)


@pytest.mark.parametrize("level", ["-1", "6", "99"])
def test_an_intensity_outside_the_scale_is_named(level: str, tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    path = root / "AUCoding" / "AU_INT" / "AU10" / "F001_T1_AU10.csv"
    path.write_text("\ufefffr,int\n1,0\n2," + level + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=rf"AU10\.csv:3: intensity = {level} is outside the scale 0 to 5; write 9"):
        read("bp4d", "action_units", root)


def test_occurrence_in_three_folds_of_people(tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    units = [int(unit[2:]) for unit in bp4d.DETECTED]
    for subject in ("F001", "F002", "M003"):
        rows = [f"{k + 1},5,{','.join('9' if u == 1 else str((k + u) % 2) for u in units)}" for k in range(8)]
        layouts.write(root / "AUCoding" / "AU_OCC" / f"{subject}_T1.csv", [f"0,3,{','.join(map(str, units))}", *rows])
    dataset = read("bp4d", "action_units", root, DataOptions(labels="occurrence"))
    target = dataset.targets[0]
    assert isinstance(target, OccurrenceTarget) and target.names == bp4d.DETECTED and len(dataset.samples) == 24
    assert np.isnan(target.values[:, 0]).all() and target.values[0, 1:].tolist() == [u % 2 for u in units[1:]]
    assert dataset.folds == ("fold1", "fold3") and {len(fold) for fold in bp4d.FOLDS} == {14, 13}
    assert len({person for fold in bp4d.FOLDS for person in fold}) == 41
    path = root / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    path.write_text(path.read_text().replace("\n1,5,9,", "\n1,5,2,"))
    with pytest.raises(UsageError, match=r"F001_T1\.csv:2: AU01 = 2: occurrence is 0 or 1, or 9 for not coded"):
        read("bp4d", "action_units", root, DataOptions(labels="occurrence"))


def test_a_frame_that_one_unit_lacks_is_counted_and_unknown_there(tmp_path: Path) -> None:
    """Joined by its number: the frames after it keep their own codes. A 9 is a code, and no gap."""
    root = layouts.make_bp4d(tmp_path)
    path = next(root.rglob("F001_T1_AU06.csv"))
    before = read("bp4d", "action_units", root)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2].split(",")[0] + ",9", *lines[3:]]))
    found = read("bp4d", "action_units", root)
    assert [s.id for s in found.samples] == [s.id for s in before.samples]
    values, wanted = (d.targets[0].values.copy() for d in (found, before))  # type: ignore[union-attr]
    wanted[1:3, 0] = np.nan
    np.testing.assert_array_equal(values, wanted)
    assert any("1 frames without a code for some of the units, unknown there (F001/T1: 2)" in n for n in found.notes)


def test_unknown_intensities_of_bp4d(tmp_path: Path) -> None:
    dataset = read("bp4d", "action_units", layouts.make_bp4d(tmp_path))
    target = dataset.targets[0]
    assert (
        isinstance(target, ValueTarget)
        and np.isnan(target.values[:, 0]).sum() == 3
        and not np.isnan(target.values[:, 1:]).any()
    )
    assert {s.subject for s in dataset.samples if s.split == "test"} == {"F002"}
