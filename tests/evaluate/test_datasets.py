"""Every reader on a miniature of its data set in the genuine layout, and on what users get wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from curate.errors import UsageError
from curate.evaluate import datasets
from curate.evaluate.datasets import CATALOGUE, read
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.datasets.points import MIRROR, read_pts
from curate.evaluate.features import crop_of
from curate.evaluate.samples import (
    ClassTarget,
    Dataset,
    LandmarkTarget,
    PairTrials,
    ShapeTarget,
)
from tests.evaluate import layouts


def splits(dataset: Dataset) -> Counter[str]:
    return Counter(sample.split for sample in dataset.samples)


def all_sound(dataset: Dataset) -> bool:
    """Whether every picture can be read and cropped."""
    small = dataset.crop.resized(32)
    return all(crop_of(sample, small) is not None for sample in dataset.samples)


MINIATURES: dict[str, tuple[str, Callable[[Path], Path], dict[str, int]]] = {
    "pairs": ("recognition", layouts.make_pairs, {"test": 16}),
    "vggface2": ("recognition", layouts.make_vggface2, {"train": 6, "test": 12}),
    "lfw": ("recognition", layouts.make_lfw, {"test": 40}),
    "cfp_fp": ("recognition", layouts.make_cfp, {"test": 8}),
    "agedb_30": ("recognition", layouts.make_agedb, {"test": 40}),
    "calfw": ("recognition", lambda root: layouts.make_bin(root / "calfw.bin").parent, {"test": 40}),
    "cplfw": ("recognition", lambda root: layouts.make_bin(root / "cplfw.bin").parent, {"test": 40}),
    "ijbc": ("recognition", layouts.make_ijb_insightface, {"test": 24}),
    "ijbb": ("recognition", layouts.make_ijb_owners, {"test": 20}),
    "pts": ("landmarks", layouts.make_pts, {"train": 6, "test": 6}),
    "300w": ("landmarks", layouts.make_300w, {"train": 6, "test": 8}),
    "wflw": ("landmarks", layouts.make_wflw, {"train": 4, "test": 3}),
    "cofw": ("landmarks", layouts.make_cofw, {"train": 4, "test": 3}),
    "aflw19": ("landmarks", layouts.make_aflw19, {"train": 8, "test": 2}),
    "csv": ("emotion", layouts.make_csv, {"train": 16, "test": 8}),
    "bp4d": ("action_units", layouts.make_bp4d, {"train": 16, "test": 8}),
    "disfa": ("action_units", layouts.make_disfa, {"fold1": 12, "fold2": 6, "fold3": 6}),
    "affectnet": ("emotion", layouts.make_affectnet, {"train": 12, "test": 6}),
    "afew_va": ("emotion", layouts.make_afew_va, {"train": 24}),
    "raf_db": ("emotion", layouts.make_raf_db, {"train": 10, "test": 5}),
    "fer2013": ("emotion", layouts.make_fer2013, {"train": 10, "val": 5, "test": 5}),
    "mat": ("reconstruction", layouts.make_mat, {"train": 5, "test": 5}),
    "300w_lp": ("reconstruction", layouts.make_300w_lp, {"train": 6, "test": 6}),
    "aflw2000": ("reconstruction", layouts.make_300w_lp, {"train": 6, "test": 6}),
    "florence": ("reconstruction", layouts.make_florence, {"train": 6, "test": 30}),
}


def test_every_data_set_has_a_miniature() -> None:
    assert set(MINIATURES) == set(CATALOGUE)


@pytest.mark.parametrize("name", MINIATURES)
def test_genuine_layout_is_read(name: str, tmp_path: Path) -> None:
    task, make, expected = MINIATURES[name]
    root = make(tmp_path / "data")
    dataset = read(name, task, root)
    assert splits(dataset) == expected
    assert all_sound(dataset)
    assert len({sample.id for sample in dataset.samples}) == len(dataset.samples)
    for target in dataset.targets:
        rows = (
            target.points
            if isinstance(target, LandmarkTarget | ShapeTarget)
            else target.index
            if isinstance(target, ClassTarget)
            else target.values
        )
        assert len(rows) == len(dataset.samples)
    if task == "recognition":
        assert dataset.trials is not None and 0 < dataset.trials.same.mean() < 1
    for near in (tmp_path, *(part for part in sorted(root.iterdir()) if part.is_dir())):
        try:
            read(name, task, near)  # some are found at any depth, and whole folders of pictures are data sets too
        except UsageError as error:
            assert f"--data {root}" in str(error)


@pytest.mark.parametrize("name", MINIATURES)
def test_empty_and_missing_folders_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    task = MINIATURES[name][0]
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError) as error:
            read(name, task, root)
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of pairs"):
        read("lwf", "recognition", tmp_path)
    with pytest.raises(UsageError, match="is for --task recognition"):
        read("lfw", "emotion", tmp_path)


def test_leak_of_a_subject_is_refused(tmp_path: Path) -> None:
    layouts.make_csv(tmp_path / "csv", subjects=True)
    text = (tmp_path / "csv" / "labels.csv").read_text().replace("test,test0", "test,train1", 1)
    (tmp_path / "csv" / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match="subject train1 is in both"):
        read("csv", "emotion", tmp_path / "csv")
    with pytest.raises(UsageError, match="n000002"):
        read("vggface2", "recognition", layouts.make_vggface2(tmp_path / "vgg", leak=True))


def test_person_to_learn_from_is_not_tested(tmp_path: Path) -> None:
    root = layouts.make_pairs(tmp_path, train=True)
    layouts.save(root / "p10" / "seen.jpg")
    (root / "train" / "t0").rename(root / "train" / "p10")
    with pytest.raises(UsageError, match="p10 is in both"):
        read("pairs", "recognition", root)


def test_picture_to_learn_from_is_not_tested(tmp_path: Path) -> None:
    root = layouts.make_pairs(tmp_path, train=True)
    with (root / "pairs.csv").open("a") as file:
        file.write("2,train/t0/0.jpg,p20_0.jpg,0\n")
    with pytest.raises(UsageError, match=r"pairs.csv:18: .*train/"):
        read("pairs", "recognition", root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,p10_0.jpg,absent.jpg,1", "no picture absent.jpg"),
        ("1,p10_0.jpg,../../etc/passwd,1", "no path inside"),
        ("1,p10_0.jpg,p11_0.jpg,maybe", "same = 'maybe'"),
        ("1,p10_0.jpg", "2 fields"),
    ],
)
def test_wrong_pairs_are_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    root = layouts.make_pairs(tmp_path)
    with (root / "pairs.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match=rf"pairs\.csv:18: .*{message}"):
        read("pairs", "recognition", root)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("affectnet", "training.csv", "1;2,3,", "1;2,,", "training.csv:5: expression = '' is no whole number"),
        ("affectnet", "training.csv", "1;2,3,", "1;2,3.5,", "training.csv:5: expression = '3.5' is no whole"),
        ("bp4d", "AUCoding/AU_INT/AU06/F001_T1_AU06.csv", "5,", ",", "AU06.csv:5: frame = '' is no whole"),
        ("raf_db", "basic/EmoLabel/list_patition_label.txt", "00001.jpg 2", "00001.jpg 12", "label.txt:1: a line is"),
        ("fer2013", "fer2013.csv", "Training", "Trainign", "fer2013.csv:2: a line is"),
        ("ijbb", "protocol/ijbb_1N_gallery_S1.csv", "11,1,", "11,one,", "S1.csv:2: SUBJECT_ID = 'one' is no number"),
        ("ijbc", "meta/ijbc_1N_probe_mixed.csv", "8,1,", "8,,", "mixed.csv:3: SUBJECT_ID = '' is no whole"),
        ("ijbc", "meta/ijbc_face_tid_mid.txt", "jpg 2 3", "jpg two 3", "mid.txt:4: template or medium = 'two'"),
        ("ijbc", "meta/ijbc_template_pair_label.txt", "1 9 0", "1 9 ?", "label.txt:3: template or medium = '\\?'"),
        ("ijbc", "meta/ijbc_name_5pts_score.txt", "1.jpg 30.00", "1.jpg x", "score.txt:1: landmark = 'x' is no"),
        ("florence", "subject_01/Model/frontal1/obj/scan.obj", "f 1/1", "f 1/99999", "scan.obj: cannot be coloured"),
        ("florence", "subject_01/Model/frontal1/obj/scan.obj", "v ", "v one ", "scan.obj: cannot be read as a scan"),
    ],
)
def test_wrong_lines_of_annotations_are_named(
    name: str, file: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    task, make, _ = MINIATURES[name]
    replace_in(make(tmp_path) / file, old, new)
    with pytest.raises(UsageError, match=message) as error:
        read(name, task, tmp_path)
    assert "\n" not in str(error.value)


def test_file_name_in_two_folders_is_ambiguous(tmp_path: Path) -> None:
    root = layouts.make_pairs(tmp_path)
    layouts.save(root / "elsewhere" / "p10_0.jpg")
    with pytest.raises(UsageError, match="ambiguous"):
        read("pairs", "recognition", root)


def test_pts_are_counted_from_one(tmp_path: Path) -> None:
    path = layouts.write(tmp_path / "a.pts", ["version: 1", "n_points: 2", "{", "1.0 1.0", "3.5 2", "}"])
    assert read_pts(path).tolist() == [[0, 0], [2.5, 1]]
    layouts.write(path, ["version: 1", "n_points: 3", "{", "1 1", "3 2", "}"])
    with pytest.raises(UsageError, match="n_points says 3"):
        read_pts(path)
    layouts.write(path, ["n_points: 1", "{", "1 one", "}"])
    with pytest.raises(UsageError, match=r"a\.pts:3"):
        read_pts(path)


def test_schemes_of_points_are_not_mixed(tmp_path: Path) -> None:
    root = layouts.make_pts(tmp_path, points=12)
    layouts.pts(root / "test" / "test0.pts", layouts.face(1, 5))
    with pytest.raises(UsageError, match=r"test0\.pts: 5 points, but others have 12"):
        read("pts", "landmarks", root)


def test_faces_that_cannot_be_scored_are_counted(tmp_path: Path) -> None:
    root = layouts.make_pts(tmp_path, points=12)
    layouts.pts(root / "test" / "test0.pts", np.zeros((12, 2)))
    dataset = read("pts", "landmarks", root)
    assert splits(dataset) == {"train": 6, "test": 5} and "1 faces" in dataset.notes[0]
    eyes = layouts.face(0)
    eyes[36] = eyes[45]
    root = layouts.make_pts(tmp_path / "eyes")
    layouts.pts(root / "test" / "test0.pts", eyes)
    layouts.pts(root / "test" / "test1.pts", np.where(np.arange(68)[:, None] == 36, np.nan, layouts.face(0)))
    assert splits(read("pts", "landmarks", root)) == {"train": 6, "test": 4}


@pytest.mark.parametrize(("name", "suffix"), [("pts", ".pts"), ("mat", ".mat"), ("300w", ".pts")])
def test_annotations_without_a_picture_are_counted(name: str, suffix: str, tmp_path: Path) -> None:
    task, make, _ = MINIATURES[name]
    root = make(tmp_path / "data")
    assert not any("without a picture" in note for note in read(name, task, root).notes)
    for picture in [p for p in sorted(root.rglob("*.*")) if p.suffix in (".jpg", ".png")][::4]:
        picture.unlink()
    (note,) = [note for note in read(name, task, root).notes if "without a picture" in note]
    lost = len(list(root.rglob(f"*{suffix}"))) - len(read(name, task, root).samples)
    assert lost > 1 and note == f"{lost} {suffix} files without a picture of the same stem beside them left out"


@pytest.mark.parametrize("word", ["inf", "-inf", "1e999"])
def test_an_infinite_coordinate_is_named(word: str, tmp_path: Path) -> None:
    path = layouts.make_pts(tmp_path / "pts") / "train" / "train0.pts"
    lines = path.read_text().splitlines()
    lines[4] = f"{word} 3"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"train0\.pts:5: a coordinate is infinite"):
        read("pts", "landmarks", tmp_path / "pts")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pt3d_68": np.full((3, 68), np.inf)}, "pt3d_68 holds an infinite"),
        ({"pt3d_68": np.full((3, 68), "a", dtype=object)}, "holds no pt3d_68 of 3 x 68 numbers"),
        ({"Pose_Para": "frontal"}, "Pose_Para holds no numbers"),
        ({"Pose_Para": np.array(["a", "b", "c"], dtype=object)}, "Pose_Para holds no numbers"),
    ],
)
def test_wrong_matlab_values_are_named(change: dict[str, object], told: str, tmp_path: Path) -> None:
    root = layouts.make_mat(tmp_path)
    scipy.io.savemat(root / "train" / "0.mat", layouts.shape(0) | change)
    with pytest.raises(UsageError, match=rf"0\.mat: {told}"):
        read("mat", "reconstruction", root)


def test_mirrored_points_are_partners() -> None:
    for count, partner in MIRROR.items():
        assert sorted(partner) == list(range(count))
        assert all(partner[partner[i]] == i for i in range(count))


def test_subsets_of_the_literature(tmp_path: Path) -> None:
    w300 = read("300w", "landmarks", layouts.make_300w(tmp_path / "300w"))
    assert {k: len(v) for k, v in w300.subsets.items()} == {"full": 6, "common": 4, "challenging": 2, "private": 2}
    assert all(w300.samples[i].id.startswith("ibug/") for i in w300.subsets["challenging"])
    wflw = read("wflw", "landmarks", layouts.make_wflw(tmp_path / "wflw"))
    assert [len(wflw.subsets[k]) for k in ("pose", "expression", "illumination", "makeup")] == [1, 1, 1, 0]
    assert wflw.samples[wflw.subsets["pose"][0]].id == "test/00001/0--Parade/test0.jpg"
    aflw = read("aflw19", "landmarks", layouts.make_aflw19(tmp_path / "aflw"))
    assert set(aflw.subsets["frontal"]) <= set(aflw.subsets["full"]) == set(aflw.of("test"))


def test_points_and_pictures_of_matlab_files(tmp_path: Path) -> None:
    cofw = read("cofw", "landmarks", layouts.make_cofw(tmp_path))
    target = cofw.targets[0]
    assert isinstance(target, LandmarkTarget)
    np.testing.assert_allclose(target.points[1], layouts.face(1, 29))
    np.testing.assert_array_equal(cofw.samples[1].picture.read(), layouts.picture(1, 80, 90))
    assert cofw.samples[0].picture.read().shape == (80, 90, 3)


def test_lfw_has_folds_and_counts(tmp_path: Path) -> None:
    root = layouts.make_lfw(tmp_path)
    pairs = read("lfw", "recognition", root).trials
    assert isinstance(pairs, PairTrials) and pairs.same.sum() == 20 and np.bincount(pairs.fold).tolist() == [4] * 10
    with (root / "pairs.txt").open("a") as file:
        file.write("Ann_0\t1\t2\n")
    with pytest.raises(UsageError, match="41 pairs"):
        read("lfw", "recognition", root)


def test_real_small_sets(shared: Path) -> None:
    root = shared / "data" / "eval"
    pairs = datasets.read("pairs", "recognition", root / "lfw_small")
    assert isinstance(pairs.trials, PairTrials) and len(pairs.trials.same) == 1682
    assert len(datasets.read("csv", "emotion", root / "fer2013_small").samples) == 700
    shapes = datasets.read("aflw2000", "reconstruction", root / "aflw2000")
    assert splits(shapes) == {"train": 8} and all_sound(shapes)


def test_linked_folders_are_looked_into_and_loops_end(tmp_path: Path) -> None:
    people = tmp_path / "elsewhere"
    for person in ("anna", "ben"):
        (people / person).mkdir(parents=True)
        (people / person / "1.jpg").write_bytes(b"")
    root = tmp_path / "root"
    (root / "train").mkdir(parents=True)
    for person in ("anna", "ben"):
        (root / "train" / person).symlink_to(people / person)
    (root / "train" / "round").symlink_to(root)
    found = Folder(root, "mine", "").pictures("train")
    assert [path.relative_to(root).as_posix() for path in found] == ["train/anna/1.jpg", "train/ben/1.jpg"]
