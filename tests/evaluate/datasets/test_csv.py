"""A user's own labels are held to a declared scale, and pictures are turned upright."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate.config import DataOptions
from curate.evaluate.datasets import read
from curate.evaluate.samples import ClassTarget, OccurrenceTarget, TaskName, ValueTarget
from tests.evaluate import layouts


def make(root: Path, header: str, rows: list[str]) -> Path:
    for i in range(len(rows)):
        layouts.save(root / f"{i}.png", i, (40, 40))
    lines = [f"image,split,{header}", *(f"{i}.png,{'test' if i % 2 else 'train'},{row}" for i, row in enumerate(rows))]
    (root / "labels.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    return root


@pytest.mark.parametrize("code", ["-1", "9", "999", "5.5", "-0.01"])
def test_an_intensity_outside_the_scale_is_refused(code: str, tmp_path: Path) -> None:
    root = make(tmp_path, "AU02,AU12", ["0,1", "0,2", f"0,{code}", "0,3"])
    with pytest.raises(UsageError, match=rf"labels\.csv:4: AU12 = {code} is outside the scale 0 to 5; leave .* empty"):
        read("csv", "action_units", root)


@pytest.mark.parametrize("code", ["", "nan"])
def test_what_is_not_coded_is_unknown(code: str, tmp_path: Path) -> None:
    target = read("csv", "action_units", make(tmp_path, "AU02,AU12", ["0,1", "0,2", f"0,{code}", "0,3"])).targets[0]
    assert isinstance(target, ValueTarget) and (target.low, target.high) == (0, 5)
    assert np.isnan(target.values[2, 1]) and np.isnan(target.values).sum() == 1


def test_the_scale_is_declared_and_not_learned(tmp_path: Path) -> None:
    rows = ["0.5,-0.5", "1,-1", "-2,0"]
    with pytest.raises(UsageError, match=r"labels\.csv:4: valence = -2 is outside the scale -1 to 1"):
        read("csv", "emotion", make(tmp_path / "a", "valence,arousal", rows))
    by_recipe = read("csv", "emotion", tmp_path / "a", DataOptions(scale=(-10, 10))).targets[0]
    in_file = read("csv", "emotion", make(tmp_path / "b", "valence[-10..10],arousal[-10 .. 10]", rows)).targets[0]
    for target in (by_recipe, in_file):
        assert isinstance(target, ValueTarget) and (target.low, target.high) == (-10, 10)
        assert target.names == ("valence", "arousal") and target.values[2, 0] == -2
    with pytest.raises(UsageError, match="must be below the second"):
        read("csv", "emotion", make(tmp_path / "c", "valence[1..-1],arousal", rows))


def test_a_negative_class_among_numbers_is_a_code(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv:3: emotion = -1 is no class; leave what is not known empty"):
        read("csv", "emotion", make(tmp_path / "a", "emotion", ["0", "-1", "2"]))
    target = read("csv", "emotion", make(tmp_path / "b", "emotion", ["sad", "", "N/A", "happy"])).targets[0]
    assert (
        isinstance(target, ClassTarget) and target.names == ("happy", "sad") and target.index.tolist() == [1, -1, -1, 0]
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int, tmp_path: Path) -> None:
    """As OpenCV turns them, which reads the flag itself."""
    root = make(tmp_path, "emotion", ["a", "b"])
    exif = layouts.Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("jpg", "png"):
        layouts.Image.fromarray(layouts.picture(1, 30, 50)).save(root / f"turned.{suffix}", exif=exif, quality=100)
        with (root / "labels.csv").open("a") as file:
            file.write(f"turned.{suffix},test,a\r\n")
    *_, jpeg, png = read("csv", "emotion", root).samples
    for sample in (jpeg, png):
        expected = cv2.imread(str(tmp_path / Path(sample.id).name))[..., ::-1]
        found = sample.picture.read()
        assert found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 3


def test_occurrence_is_0_or_1(tmp_path: Path) -> None:
    root, options = make(tmp_path, "AU02,AU12", ["0,1", "1,", "0,0"]), DataOptions(labels="occurrence")
    target = read("csv", "action_units", root, options).targets[0]
    assert isinstance(target, OccurrenceTarget) and np.isnan(target.values[1, 1])
    with pytest.raises(UsageError, match=r"AU12 = 0\.5: occurrence is 0 or 1; leave"):
        read("csv", "action_units", make(tmp_path, "AU02,AU12", ["0,1", "1,0.5"]), options)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["sad", "happy", "unknown"], "labels.csv:4: emotion = unknown is no class; leave what is not known empty"),
        (["sad", "happy", "?"], "labels.csv:4: emotion = . is no class"),
        (["sad", "happy", "-1"], "labels.csv:4: emotion = -1 is no class"),
        (["sad", "happy", "9"], "labels.csv:4: emotion = 9 is no class"),
        (
            ["0", "1", "2", "9"],
            r"labels.csv:5: emotion = 9 is none of 0 to 2; leave .* declare the classes: emotion\[LOW",
        ),
        (["0", "1", "255"], "labels.csv:4: emotion = 255 is none of 0 to 1"),
        (["Sad", "happy", "sad"], "labels.csv:4: emotion = sad is Sad in an earlier line; spell a class in one way"),
    ],
)
def test_what_may_stand_for_no_class_is_refused(rows: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read("csv", "emotion", make(tmp_path, "emotion", rows))


def test_yes_and_no_are_classes(tmp_path: Path) -> None:
    target = read("csv", "emotion", make(tmp_path, "emotion", ["yes", "no", "", "yes"])).targets[0]
    assert isinstance(target, ClassTarget) and target.names == ("no", "yes") and target.index.tolist() == [1, 0, -1, 1]


def test_classes_may_be_declared(tmp_path: Path) -> None:
    """Then a number may be missing among them, and codes beyond them are refused."""
    target = read("csv", "emotion", make(tmp_path / "a", "Emotion[0..7]", ["0", "4", "", "7"])).targets[0]
    assert isinstance(target, ClassTarget) and target.names == ("0", "4", "7")
    for name, code in (("b", "8"), ("c", "sad")):
        with pytest.raises(UsageError, match=rf"labels\.csv:3: emotion = {code} is none of 0 to 7"):
            read("csv", "emotion", make(tmp_path / name, "emotion[0..7]", ["0", code, "7"]))


@pytest.mark.parametrize(
    ("task", "header", "row", "told"),
    [
        ("action_units", "AU01,AU12_r", "1,2", "labels.csv:1: AU12_r is no column of labels; write AU12, or AU12"),
        ("action_units", "AU01,AU12[0-5]", "1,2", r"labels.csv:1: AU12\[0-5\] is no column of labels; write AU12"),
        ("action_units", "AU12,au12", "1,2", "labels.csv:1: two columns are named AU12; remove one"),
        ("emotion", "emotion,emotion", "a,b", "labels.csv:1: two columns are named emotion; remove one"),
        ("emotion", "emotion,valence", "a,0.1", "labels.csv:1: valence stands alone; name valence and arousal"),
        ("emotion", "valence[-10-10],arousal", "1,1", r"labels.csv:1: valence\[-10-10\] is no column of labels"),
        ("action_units", "AU12", "2,5", "labels.csv:2: 4 fields, but the first line names 3 .*decimals need a point"),
        ("action_units", "AU12", '"2,5"', "labels.csv:2: AU12 = '2,5' is no number; leave what is unknown empty"),
    ],
)
def test_a_column_or_field_that_would_be_passed_over_is_refused(
    task: TaskName, header: str, row: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        read("csv", task, make(tmp_path, header, [row, row]))


def test_columns_beside_labels_may_be_anything(tmp_path: Path) -> None:
    root = make(tmp_path, "AU12,AU12_c,Confidence,AU01[0..1]", ["2,1,0.9,NA", "3,1,,1"])
    target = read("csv", "action_units", root).targets[0]
    assert isinstance(target, ValueTarget) and target.names == ("AU12", "AU01")
    assert target.values[1].tolist() == [3, 1] and np.isnan(target.values[0, 1])
    root = make(tmp_path / "b", "valence,arousal,emotion_confidence,AU12_r", ["0.5,0,0.9,1", "0,0.5,1,2"])
    assert [type(found) for found in read("csv", "emotion", root).targets] == [ValueTarget]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image;split;emotion\n0.png;train;a\n", "no column image; .*, with commas, not ';'"),
        ("image\tsplit\temotion\n", r"no column image; .*, with commas, not '\\t'"),
    ],
)
def test_other_separators_and_encodings_are_named(text: str, told: str, tmp_path: Path) -> None:
    root = make(tmp_path, "emotion", ["a", "b"])
    (root / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=told):
        read("csv", "emotion", root)
    (root / "labels.csv").write_text(text, encoding="utf-16")
    with pytest.raises(UsageError, match=r"labels\.csv: is no UTF-8 text; save it as CSV in UTF-8"):
        read("csv", "emotion", root)
